"""Every update rule against recorded trajectories of the originals."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.optim import OptimizerConfig, build_optimizer
from pyutils.optim.rule import At
from tests.support import golden

ALBEF = golden("albef/optim")
INPUTS, OUTPUTS = ALBEF.inputs, ALBEF.outputs
RUNS = {run["name"]: run for run in ALBEF.config["runs"]}
NAMES = ALBEF.config["parameter_order"]
DECAY = ALBEF.config["weight_decay"]
# Classes that the recorded runs name -> rules, where the class's name is not the rule's.
RULES = {
    "AdamW": "adamw",
    "AdamP": "adamp",
    "SGDP": "sgdp",
    "Adafactor": "adafactor",
    "RMSpropTF": "rmsprop_tf",
    "Nadam": "nadam",
    "NovoGrad": "novograd",
    "NvNovoGrad": "nvnovograd",
    "PlainRAdam": "radam",
    "Adahessian": "adahessian",
    "Lookahead(AdamW)": "lookahead_original_adamw",
}
# What the recorded factory does and our defaults do not.
ORIGINAL = {"radam": "radam_original", "novograd": "novograd_original"}
PLAIN = {"lr", "weight_decay", "momentum", "betas", "eps", "opt", "opt_betas", "opt_eps"}


def config(run):
    """OptimizerConfig of one recorded run."""
    args = run["args"]
    if run["via"] == "create_optimizer":
        name = args["opt"].lower().replace("lookahead_", "lookahead_original_")
        name = ORIGINAL.get(name, name)
    else:
        name = RULES[run["via"]]
    fields = {key: args[key] for key in ("momentum", "betas", "eps") if args.get(key) is not None}
    fields.update({key: args[f"opt_{key}"] for key in ("betas", "eps") if args.get(f"opt_{key}") is not None})
    decay = args.get("weight_decay", DECAY)
    everywhere = run["name"] == "novograd_wd_avg"  # that class decays every parameter alike
    options = {key: value for key, value in args.items() if key not in PLAIN}
    if run["via"] == "RMSpropTF" and "momentum" not in args:
        fields["momentum"] = 0.0
    no_decay = {"no_decay": []} if everywhere else {}
    return OptimizerConfig(name=name, lr=args["lr"], weight_decay=decay, options=options, **fields, **no_decay)


def start():
    """Fresh parameters at the recorded initial values."""
    values = {name: INPUTS[f"init.{name}"] for name in NAMES}
    return {
        name: paddle.create_parameter(
            list(value.shape), "float32", default_initializer=paddle.nn.initializer.Assign(value)
        )
        for name, value in values.items()
    }


def recorded_loss(parameters):
    """The loss of the adahessian runs."""
    total = 0.0
    for name, value in parameters.items():
        a, b, d = (paddle.to_tensor(INPUTS[f"loss_{letter}.{name}"]) for letter in "abd")
        square = value * value
        total = total + 0.5 * (a * square).sum() + 0.25 * (b * square * square).sum()
        total = total + 0.5 * ALBEF.config["hessian_loss_c"] * (d * value).sum() ** 2
    return total


def give_gradients(optimizer, parameters, run, step):
    """Put the recorded gradients of `step` into the parameters."""
    if "adahessian" in run["name"]:
        optimizer.backward(recorded_loss(parameters))
        for name, parameter in parameters.items():
            expected = OUTPUTS[f"gradients.{run['name']}/{name}"][step]
            np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-4, atol=1e-5)
        return
    for name, parameter in parameters.items():
        key = f"proj_grads.{run['name']}/{name}"
        gradients = INPUTS[key] if key in INPUTS else INPUTS[f"grads.{name}"]
        parameter.grad = paddle.to_tensor(gradients[step])


def replay_signs(optimizer, name):
    """Let the sampled Hessian use the recorded signs in the order they were drawn."""
    streams = {key: iter(INPUTS[f"hutchinson.{name}/{key}"]) for key in NAMES}
    optimizer.draw_signs = lambda key, parameter: paddle.to_tensor(next(streams[key]))


@pytest.mark.parametrize("name", sorted(RUNS))
def test_trajectory(name):
    run = RUNS[name]
    parameters = start()
    optimizer = build_optimizer(config(run), parameters)
    if "adahessian" in name:
        replay_signs(optimizer, name)
    for step in range(run["steps"]):
        if "lr_per_step" in run:
            optimizer.set_lr(run["lr_per_step"][step])
        give_gradients(optimizer, parameters, run, step)
        optimizer.step()
        optimizer.clear_grad()
        for key, parameter in parameters.items():
            expected = OUTPUTS[f"{name}/{key}"][step]
            np.testing.assert_allclose(parameter.numpy(), expected, rtol=1e-5, atol=2e-6, err_msg=f"{key} step {step}")


@pytest.mark.parametrize("name", sorted(RUNS))
def test_decay_groups(name):
    optimizer = build_optimizer(config(RUNS[name]), start())
    undecayed = {entry.name for entry in optimizer.trained if entry.weight_decay == 0.0}
    groups = RUNS[name]["groups"]
    without = {"adamw_no_filter_wd0": set(NAMES), "novograd_wd_avg": set()}
    assert undecayed == without.get(name, set(groups[0]))


@pytest.mark.parametrize("name", ["adafactor_relative", "adafactor_warmup", "adafactor_lr"])
def test_adafactor_rates(name):
    run = RUNS[name]
    parameters = start()
    optimizer = build_optimizer(config(run), parameters)
    for step, recorded in enumerate(run["group_lr_after_step"]):
        at = At(step + 1, run["args"]["lr"], 0.0, None)
        rates = [float(optimizer.rule.rate(parameters[group[-1]], at)) for group in run["groups"]]
        np.testing.assert_allclose(rates, recorded, rtol=1e-6)
        give_gradients(optimizer, parameters, run, step)
        optimizer.step()


VILBERT = golden("vilbert/optim")
VILBERT_RUNS = {
    "adamw_concap": OptimizerConfig(name="adamw_transformers", lr=1e-3, betas=(0.9, 0.98), eps=1e-8),
    "adamw_tasks": OptimizerConfig(name="adamw_transformers", lr=1e-3, correct_bias=False),
    "adamw_heavy": OptimizerConfig(name="adamw_transformers", lr=1e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=1.0),
    "adamw_nodecay": OptimizerConfig(name="adamw_transformers", lr=1e-3, correct_bias=False, weight_decay=0.0),
    "radam": OptimizerConfig(name="radam", lr=1e-3),
    "plain_radam": OptimizerConfig(name="radam", lr=1e-3),
}


def vector(values):
    return paddle.create_parameter(
        list(values.shape), "float32", default_initializer=paddle.nn.initializer.Assign(values)
    )


@pytest.mark.parametrize("name", sorted(VILBERT_RUNS))
def test_vilbert_trajectory(name):
    inputs, expected = VILBERT.inputs, VILBERT.outputs[f"optimizer.{name}"]
    weight = vector(inputs["optimizer.start"])
    optimizer = build_optimizer(VILBERT_RUNS[name], {"weight": weight})
    for step, gradient in enumerate(inputs["optimizer.grads"]):
        weight.grad = paddle.to_tensor(gradient)
        optimizer.step()
        np.testing.assert_allclose(weight.numpy(), expected[step], rtol=1e-5, atol=2e-6)


def two_groups(rule):
    """The two weights after every step, rates 1e-3 and 1e-4, `[steps, 2, 7]`."""
    inputs = VILBERT.inputs
    weights = {name: vector(inputs["optimizer.start"]) for name in ("first.weight", "second.weight")}
    cfg = OptimizerConfig(name=rule, lr=1e-3, weight_decay=0.0, lr_multipliers={"^second": 0.1})
    optimizer = build_optimizer(cfg, weights)
    steps = []
    for gradient in inputs["optimizer.grads"]:
        for weight in weights.values():
            weight.grad = paddle.to_tensor(gradient)
        optimizer.step()
        steps.append(np.stack([weight.numpy() for weight in weights.values()]))
    return np.stack(steps)


def test_radam_original_moves_every_group_at_the_first_rate():
    recorded = VILBERT.outputs["optimizer.radam_two_groups"]
    np.testing.assert_allclose(two_groups("radam_original"), recorded, rtol=1e-5, atol=2e-6)


def test_radam_moves_each_group_at_its_own_rate():
    start_value = VILBERT.inputs["optimizer.start"]
    moved = two_groups("radam") - start_value
    np.testing.assert_allclose(moved[:, 1], 0.1 * moved[:, 0], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("case", ["decayed", "not_decayed"])
def test_bert_adam_is_that_of_the_authors(case):
    recorded = golden("visualbert/optimizer")
    schedule = recorded.outputs["schedule"]
    weight = vector(recorded.inputs[case])
    decay = 0.01 if case == "decayed" else 0.0
    optimizer = build_optimizer(OptimizerConfig(name="bert_adam", lr=1e-2, weight_decay=decay), {"weight": weight})
    for step, gradient in enumerate(recorded.inputs[f"{case}.grads"]):
        weight.grad = paddle.to_tensor(gradient)
        optimizer.set_lr(1e-2 * float(schedule[step]))
        optimizer.step()
        np.testing.assert_allclose(weight.numpy(), recorded.outputs[f"{case}.steps"][step], rtol=1e-5, atol=2e-6)
