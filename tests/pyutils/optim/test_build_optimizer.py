"""Groups, states and messages of the optimizers."""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest

from pyutils.errors import InputError
from pyutils.optim import NO_DECAY, RULES, OptimizerConfig, build_optimizer, trained_parameters
from tests.support import golden

ALL_RULES = [*sorted(RULES), "lookahead_adamw", "lookahead_original_sgd"]


def parameters(seed=0):
    """Four small parameters with structured names, one of them 4-d."""
    rng = np.random.default_rng(seed)
    shapes = {"encoder.fc.weight": [3, 4], "conv.weight": [2, 2, 3, 3], "encoder.fc.bias": [4], "norm1.weight": [4]}
    made = {}
    for name, shape in shapes.items():
        value = rng.normal(size=shape).astype("float32")
        made[name] = paddle.create_parameter(shape, "float32", default_initializer=paddle.nn.initializer.Assign(value))
    return made


def take_steps(optimizer, named, first, last):
    """Steps `first` to before `last` on gradients that depend on the step number alone."""
    for step in range(first, last):
        paddle.seed(step)
        rng = np.random.default_rng(step)
        factors = {name: paddle.to_tensor(rng.normal(size=p.shape).astype("float32")) for name, p in named.items()}
        total = 0.0
        for name, parameter in named.items():
            total = total + (parameter * factors[name]).sum() + 0.5 * (parameter * parameter).sum()
        optimizer.backward(total)
        optimizer.step()
        optimizer.clear_grad()


@pytest.mark.parametrize("name", ALL_RULES)
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(name):
    cfg = OptimizerConfig(name=name, lr=1e-2, weight_decay=0.1, options={"k": 2} if "lookahead" in name else {})
    whole = parameters()
    take_steps(build_optimizer(cfg, whole), whole, 0, 7)

    begun = parameters()
    optimizer = build_optimizer(cfg, begun)
    take_steps(optimizer, begun, 0, 3)
    state = optimizer.state_dict()
    values = {key: parameter.numpy() for key, parameter in begun.items()}

    resumed = parameters(seed=1)
    for key, parameter in resumed.items():
        parameter.set_value(values[key])
    optimizer = build_optimizer(cfg, resumed)
    optimizer.load_state_dict(state)
    take_steps(optimizer, resumed, 3, 7)
    for key, parameter in whole.items():
        np.testing.assert_array_equal(resumed[key].numpy(), parameter.numpy())


@pytest.mark.parametrize("name", ALL_RULES)
def test_parameter_without_gradient_neither_moves_nor_decays(name):
    named = parameters()
    optimizer = build_optimizer(OptimizerConfig(name=name, lr=1e-2, weight_decay=0.5), named)
    take_steps(optimizer, named, 0, 2)
    before = {key: parameter.numpy().copy() for key, parameter in named.items()}
    state = optimizer.state_dict()
    optimizer.backward((named["encoder.fc.bias"] ** 2).sum())
    optimizer.step()
    assert not np.array_equal(named["encoder.fc.bias"].numpy(), before["encoder.fc.bias"])
    for key in set(named) - {"encoder.fc.bias"}:
        np.testing.assert_array_equal(named[key].numpy(), before[key])
        assert optimizer.state_dict()[f"{key}/step"] == state[f"{key}/step"] == 2


@pytest.mark.parametrize("name", ALL_RULES)
def test_gradients_are_left_as_they_were(name):
    named = parameters()
    optimizer = build_optimizer(OptimizerConfig(name=name, clip="none"), named)
    for _ in range(2):
        optimizer.clear_grad()
        optimizer.backward(sum((parameter**2).sum() for parameter in named.values()))
        before = {key: parameter.grad.numpy().copy() for key, parameter in named.items()}
        optimizer.step()
        for key, parameter in named.items():
            np.testing.assert_array_equal(parameter.grad.numpy(), before[key])


def test_step_without_any_gradient_does_nothing():
    named = parameters()
    optimizer = build_optimizer(OptimizerConfig(), named)
    optimizer.step()
    assert set(optimizer.state_dict()) == {"lr"}


def test_state_is_keyed_by_structured_names():
    named = parameters()
    optimizer = build_optimizer(OptimizerConfig(frozen=["conv"]), named)
    take_steps(optimizer, named, 0, 1)
    slots = ("moment1", "moment2", "step")
    trained = ("encoder.fc.weight", "encoder.fc.bias", "norm1.weight")
    assert set(optimizer.state_dict()) == {"lr", *(f"{name}/{slot}" for name in trained for slot in slots)}
    assert isinstance(optimizer.state_dict()["norm1.weight/moment1"], np.ndarray)


def test_saved_state_is_not_changed_by_later_steps():
    named = parameters()
    optimizer = build_optimizer(OptimizerConfig(), named)
    take_steps(optimizer, named, 0, 1)
    state = optimizer.state_dict()
    copies = {key: np.array(value) for key, value in state.items()}
    take_steps(optimizer, named, 1, 3)
    for key, value in copies.items():
        np.testing.assert_array_equal(state[key], value)


def test_decay_rates_and_frozen_parameters():
    cfg = OptimizerConfig(weight_decay=0.1, lr_multipliers={"fc": 2.0, r"fc\.bias$": 5.0}, frozen=["^conv"])
    groups = {entry.name: (entry.lr_factor, entry.weight_decay) for entry in trained_parameters(cfg, parameters())}
    assert groups == {"encoder.fc.weight": (2.0, 0.1), "encoder.fc.bias": (5.0, 0.0), "norm1.weight": (1.0, 0.0)}


def test_multiplier_scales_the_step():
    moved = {}
    for factor in (1.0, 10.0):
        named = parameters()
        start = named["encoder.fc.weight"].numpy().copy()
        cfg = OptimizerConfig(lr=1e-3, weight_decay=0.0, lr_multipliers={"fc": factor})
        take_steps(build_optimizer(cfg, named), named, 0, 1)
        moved[factor] = named["encoder.fc.weight"].numpy() - start
    np.testing.assert_allclose(moved[10.0], 10.0 * moved[1.0], rtol=1e-3)


def test_tied_and_stopped_parameters():
    named = parameters()
    named["decoder.weight"] = named["encoder.fc.weight"]
    named["conv.weight"].stop_gradient = True
    names = [entry.name for entry in trained_parameters(OptimizerConfig(), named)]
    assert names == ["encoder.fc.weight", "encoder.fc.bias", "norm1.weight"]


def layer_norm_names(rows):
    """Names of the recorded parameters that the original decays although they normalise."""
    return {name for name, _, decay in rows if decay and re.search(r"LayerNorm\d\.weight$", name)}


@pytest.mark.parametrize("case", sorted(golden("vilbert/optim").json("param_groups.json")))
def test_vilbert_groups(case):
    rows = golden("vilbert/optim").json("param_groups.json")[case]
    rates = {rate for _, rate, _ in rows}
    base = max(rate or 1.0 for rate in rates)
    heads = {"^vil_": 0.1} if len(rates) > 1 else {}
    fake = {name: paddle.create_parameter([1], "float32") for name, _, _ in rows}
    original = (r"bias$", r"LayerNorm\.weight$")
    cfg = OptimizerConfig(lr=base, weight_decay=0.01, lr_multipliers=heads, no_decay=list(original))
    found = {entry.name: (entry.lr_factor * base, entry.weight_decay) for entry in trained_parameters(cfg, fake)}
    expected = {name: (rate or 1.0, decay) for name, rate, decay in rows}
    assert found.keys() == expected.keys()
    for name, settings in expected.items():
        assert found[name] == pytest.approx(settings), name

    corrected = OptimizerConfig(lr=base, weight_decay=0.01, no_decay=list(NO_DECAY))
    undecayed = {entry.name for entry in trained_parameters(corrected, fake) if not entry.weight_decay}
    assert undecayed == {name for name, _, decay in rows if not decay} | layer_norm_names(rows)
    assert layer_norm_names(rows)


@pytest.mark.parametrize("mode", ["global", "per_parameter", "none"])
def test_clipping(mode):
    named = parameters()
    cfg = OptimizerConfig(name="momentum", momentum=0.0, lr=1.0, weight_decay=0.0, clip=mode, clip_norm=0.5)
    optimizer = build_optimizer(cfg, named)
    start = {key: parameter.numpy().copy() for key, parameter in named.items()}
    gradients = {key: np.full(parameter.shape, 0.3, "float32") for key, parameter in named.items()}
    gradients["norm1.weight"] *= 0.01
    for key, parameter in named.items():
        parameter.grad = paddle.to_tensor(gradients[key])
    optimizer.step()
    moved = {key: start[key] - parameter.numpy() for key, parameter in named.items()}
    total = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    for key, gradient in gradients.items():
        norm = {"global": total, "per_parameter": np.sqrt((gradient**2).sum()), "none": 0.0}[mode]
        factor = min(1.0, 0.5 / (norm + 1e-6))
        np.testing.assert_allclose(moved[key], gradient * factor, rtol=1e-4, atol=1e-6)
    if mode == "global":
        assert float(optimizer.grad_norm) == pytest.approx(total, rel=1e-5)
    else:
        assert optimizer.grad_norm is None


def test_default_clipping_is_the_rules_own():
    named = parameters()
    assert build_optimizer(OptimizerConfig(name="bert_adam"), named).clip == "per_parameter"
    assert build_optimizer(OptimizerConfig(name="lookahead_bert_adam"), named).clip == "per_parameter"
    assert build_optimizer(OptimizerConfig(name="bert_adam", clip="none"), named).clip == "none"
    assert build_optimizer(OptimizerConfig(), named).clip == "none"


def test_lookahead_follows_the_fast_weights_from_the_start():
    named, plain = parameters(), parameters()
    start = {key: parameter.numpy().copy() for key, parameter in named.items()}
    cfg = OptimizerConfig(name="lookahead_momentum", lr=1e-2, options={"k": 3, "alpha": 0.25})
    take_steps(build_optimizer(cfg, named), named, 0, 3)
    take_steps(build_optimizer(OptimizerConfig(name="momentum", lr=1e-2), plain), plain, 0, 3)
    for key, parameter in named.items():
        expected = start[key] + 0.25 * (plain[key].numpy() - start[key])
        np.testing.assert_allclose(parameter.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_novograd_decays_and_its_original_does_not():
    ends = {}
    for name in ("novograd", "novograd_original"):
        for decay in (0.0, 0.5):
            named = parameters()
            take_steps(build_optimizer(OptimizerConfig(name=name, lr=1e-2, weight_decay=decay), named), named, 0, 2)
            ends[name, decay] = named["encoder.fc.weight"].numpy()
    assert np.abs(ends["novograd", 0.5] - ends["novograd", 0.0]).max() > 1e-3
    np.testing.assert_array_equal(ends["novograd_original", 0.5], ends["novograd_original", 0.0])


def test_agrees_with_paddles_own_adamw():
    ours, theirs = parameters(), parameters()
    optimizer = build_optimizer(OptimizerConfig(lr=1e-2, weight_decay=0.1, no_decay=[]), ours)
    reference = paddle.optimizer.AdamW(1e-2, parameters=list(theirs.values()), weight_decay=0.1)
    reference.backward = lambda loss: loss.backward()
    take_steps(optimizer, ours, 0, 5)
    take_steps(reference, theirs, 0, 5)
    for key, parameter in ours.items():
        np.testing.assert_allclose(parameter.numpy(), theirs[key].numpy(), rtol=1e-5, atol=1e-6)


def test_rate_zero_moves_nothing_but_fills_the_moments():
    named = parameters()
    optimizer = build_optimizer(OptimizerConfig(name="bert_adam", lr=1.0, weight_decay=0.1), named)
    optimizer.set_lr(0.0)
    before = {key: parameter.numpy().copy() for key, parameter in named.items()}
    take_steps(optimizer, named, 0, 1)
    for key, parameter in named.items():
        np.testing.assert_array_equal(parameter.numpy(), before[key])
    assert optimizer.state_dict()["norm1.weight/moment1"].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adamv"}, r"optimizer\.name: .*'adamv': did you mean \"adam"),
        ({"name": "lookahead_sgdd"}, r"'lookahead_sgdd': did you mean \"sgd"),
        ({"options": {"amsgrat": True}}, r"adamw has no 'amsgrat': did you mean \"amsgrad\""),
        ({"correct_bias": False}, r"correct_bias: false needs optimizer\.name adamw_transformers, found 'adamw'"),
        ({"lr": None}, r"optimizer\.lr: adamw needs a learning rate"),
        ({"frozen": ["."]}, r"nothing to train: optimizer\.frozen \['\.'\] covers all 4"),
        ({"no_decay": ["(bias"]}, r"no_decay: expected regular expressions .*'\(bias'"),
        ({"name": "adafactor", "lr": None, "options": {"eps_scale": 0.1, "wrong": 1}}, r"adafactor has no 'wrong'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        build_optimizer(OptimizerConfig(**settings), parameters())


def test_patterns_that_match_nothing_are_errors_where_they_would_be_lost():
    with pytest.raises(InputError, match=r"optimizer\.frozen: 'embedings' matches no parameter"):
        build_optimizer(OptimizerConfig(frozen=["embedings"]), parameters())
    with pytest.raises(InputError, match=r"optimizer\.lr_multipliers: '\^head' matches no parameter"):
        build_optimizer(OptimizerConfig(lr_multipliers={"^head": 10.0}), parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "head.weight/step": 1}, r"'head.weight'.*no such parameter.*Resume with"),
        (lambda state: {k: v for k, v in state.items() if k != "norm1.weight/moment2"}, "norm1.weight.*moment2"),
        (
            lambda state: {**state, "norm1.weight/moment1": np.zeros([5])},
            r"norm1.weight.*moment1': \[5\].*needs.*moment1': \[4\]",
        ),
        (lambda state: {**state, "norm1.weight/slow": np.zeros([4])}, "norm1.weight.*slow.*AdamW needs"),
    ],
)
def test_state_of_another_run_is_refused_and_nothing_changes(change, message):
    named = parameters()
    optimizer = build_optimizer(OptimizerConfig(), named)
    take_steps(optimizer, named, 0, 2)
    state = optimizer.state_dict()
    with pytest.raises(InputError, match=message):
        optimizer.load_state_dict(change(state))
    for key, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, state[key])


def test_loss_scaler_unscales_and_skips():
    named = parameters()
    optimizer = build_optimizer(OptimizerConfig(name="momentum", momentum=0.0, lr=1.0, weight_decay=0.0), named)
    scaler = paddle.amp.GradScaler(init_loss_scaling=8.0)
    if not scaler.is_enable():
        pytest.skip("loss scaling is off on this device")
    start = named["norm1.weight"].numpy().copy()
    scaler.scale(named["norm1.weight"].sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    np.testing.assert_allclose(named["norm1.weight"].numpy(), start - 1.0, rtol=1e-6)
    optimizer.clear_grad()
    scaler.scale((named["norm1.weight"] * float("inf")).sum()).backward()
    scaler.step(optimizer)
    np.testing.assert_allclose(named["norm1.weight"].numpy(), start - 1.0, rtol=1e-6)
