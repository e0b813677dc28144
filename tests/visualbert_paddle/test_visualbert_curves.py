"""A hundred training steps against the authors' recorded runs: losses, gradient norms, and where the weights end."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.losses import kl_unnormalised, masked_cross_entropy
from pyutils.optim import OptimizerConfig, build_optimizer
from tests.support import golden
from tests.visualbert_paddle.support import as_tensors, config_of, load_golden_weights, network_inputs, to_reference
from visualbert_paddle.network import heads

# Repeated in the recorded figures: the rate the optimizer is given is the recorded one, checked on its own with the
# schedules.
ANSWERS = golden("visualbert/curve/vqa").config["num_labels"]
NETWORK = ("input_ids", "attention_mask", "token_type_ids", "visual_embeds", "visual_attention_mask")


def vqa_losses(model, batch):
    logits = model(**as_tensors(network_inputs({name: batch[name] for name in NETWORK})))
    return {"loss": kl_unnormalised(logits, paddle.to_tensor(batch["labels"]))}


def pretraining_losses(model, batch):
    scores = model(**as_tensors(network_inputs({name: batch[name] for name in NETWORK})))
    words = scores.words[:, : batch["input_ids"].shape[1]]
    masked = masked_cross_entropy(words, paddle.to_tensor(batch["masked_lm_labels"]), ignore_index=-1)
    matching = masked_cross_entropy(scores.sentence_image, paddle.to_tensor(batch["sentence_image_labels"]))
    return {"loss": masked + matching, "masked_lm_loss": masked, "next_sentence_loss": matching}


def batches(arrays):
    """Yields the arrays of every step: pools are indexed by `batch`, per-step arrays [steps, …] by the step."""
    steps = arrays["batch"]
    for step, chosen in enumerate(steps):
        yield {
            name: value[step] if len(value) == len(steps) else value[chosen]
            for name, value in arrays.items()
            if name != "batch"
        }


def norm(arrays) -> float:
    return float(np.sqrt(sum(np.square(value.astype("float64")).sum() for value in arrays)))


def within(figure, step, value, expected, tolerance):
    for (first, last), atol in zip(tolerance["ranges"], tolerance["atol"][figure]):
        if first <= step <= last:
            assert abs(value - expected) <= atol, f"{figure} at step {step}: {value}, recorded {expected}, atol {atol}"
            return
    raise AssertionError(f"no tolerance for step {step}")


def clipped_norm(gradients) -> float:
    return float(np.sqrt(sum(min(norm([g]), 1.0) ** 2 for g in gradients)))


@pytest.mark.parametrize(
    "case, kind, args, losses_of",
    [
        ("vqa", heads.VisualBertForQuestionAnswering, (ANSWERS,), vqa_losses),
        ("pretrain", heads.VisualBertForPretraining, (), pretraining_losses),
    ],
)
def test_training_curve(case, kind, args, losses_of):
    recorded = golden(f"visualbert/curve/{case}")
    tolerance, expected, settings = recorded.json("tolerance.json"), recorded.outputs, recorded.json("settings.json")
    model = kind(config_of(recorded.config), *args)
    load_golden_weights(model, recorded.weights)
    optimizer = build_optimizer(
        OptimizerConfig(
            name="bert_adam",
            lr=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            eps=settings["e"],
            frozen=[r"\.pooler\."],
        ),
        dict(model.named_parameters()),
    )
    trained = {entry.name for entry in optimizer.trained}
    start = {name: p.numpy() for name, p in model.named_parameters()}
    watched = [name[6:] for name in expected if name.startswith("final.")]
    for step, batch in enumerate(batches(recorded.inputs)):
        losses = losses_of(model, batch)
        losses["loss"].backward()
        gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
        figures = {name: float(value) for name, value in losses.items()}
        figures["grad_norm"] = norm(gradients.values())
        figures["grad_norm_clipped"] = clipped_norm([g for n, g in gradients.items() if n in trained])
        optimizer.set_lr(float(expected["lr"][step]))
        optimizer.step()
        optimizer.clear_grad()
        changes = to_reference({name: p.numpy() - start[name] for name, p in model.named_parameters()})
        figures["param_change"] = norm([changes[name] for name in watched])
        for figure in tolerance["figures"]:
            within(figure, step, figures[figure], expected[figure][step], tolerance)
    check_end(model, start, expected, recorded.json("final_norms.json"))


def check_end(model, start, expected, norms):
    final = to_reference({name: p.numpy() for name, p in model.named_parameters()})
    begun = to_reference(start)
    for name, row in norms.items():
        if row.get("noise") or name not in final:
            continue
        allowed = 20 * row.get("drift", 0.0) + 1e-5 * row["norm"]
        assert abs(norm([final[name]]) - row["norm"]) <= allowed, name
        assert abs(norm([final[name] - begun[name]]) - row["change"]) <= allowed, name
        if f"final.{name}" in expected:
            assert norm([final[name] - expected[f"final.{name}"]]) <= allowed, name
