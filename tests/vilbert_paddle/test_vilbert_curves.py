"""A hundred training steps against the authors' recorded runs: losses, gradient norms, and where the weights end."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.losses import IGNORE
from pyutils.optim import OptimizerConfig, build_optimizer
from pyutils.schedule import ScheduleConfig, build_schedule
from tests.vilbert_paddle.support import gradients_of, inputs_of, norm, originals, pretraining_of, tasks_of
from vilbert_paddle.data.pretrain import keep_aligned
from vilbert_paddle.network.heads import HEADS, PRETRAINING
from vilbert_paddle.network.objectives import OBJECTIVES, PretrainingLabels, pretraining_losses
from vilbert_paddle.tasks.parameter_groups import with_groups

WHOLE_PICTURE = np.array([0, 0, 1, 1, 1], "float32")


def within(figure, step, value, expected, tolerance):
    for (first, last), atol in zip(tolerance["ranges"], tolerance["atol"][figure]):
        if first <= step <= last:
            assert abs(value - expected) <= atol, f"{figure} at step {step}: {value}, recorded {expected}, atol {atol}"
            return
    raise AssertionError(f"no tolerance for step {step}")


def referring_losses(model, arrays, step):
    pool = {name: arrays[name][arrays["batch"][step]] for name in arrays if name != "batch"}
    objective = OBJECTIVES["refer"]
    scores = model(objective.head, **inputs_of(pool))
    return {"loss": objective.loss(scores, paddle.to_tensor(pool["target"]).squeeze(-1))}


def pretraining_inputs(arrays, step):
    """The batch that the original's loader and data set made of the pool at `step`."""
    chosen = arrays["batch"][step]
    features = np.where(arrays["region_zeroed"][step][..., None], 0, arrays["features"][chosen])
    places = np.broadcast_to(WHOLE_PICTURE, (len(chosen), 1, 5))
    return {
        "input_ids": arrays["input_ids"][step],
        "attention_mask": arrays["caption_mask"][arrays["caption"][step]],
        "image_feat": np.concatenate([arrays["global_feat"][step][:, None], features], axis=1),
        "image_loc": np.concatenate([places, arrays["image_loc"][chosen]], axis=1),
    }


def masked_losses(model, arrays, step):
    words, replaced = arrays["lm_label_ids"][step], arrays["is_next"][step]
    masked = {
        "word_labels": np.where(words == -1, IGNORE, words),
        "region_labels": (arrays["image_label"][step] == 1).astype(np.int64),
        "replaced": replaced,
    }
    keep_aligned(masked)
    labels = PretrainingLabels(
        paddle.to_tensor(masked["word_labels"]),
        paddle.to_tensor(masked["region_labels"]),
        paddle.to_tensor(arrays["image_target"][arrays["batch"][step]]),
        paddle.to_tensor(replaced),
    )
    scores = model(**inputs_of(pretraining_inputs(arrays, step)))
    losses = pretraining_losses(scores, labels)
    named = zip(("masked_loss_t", "masked_loss_v", "next_sentence_loss"), losses.values())
    return {"loss": sum(losses.values()), **dict(named)}


RUNS = {
    "refcoco": (tasks_of, HEADS, referring_losses, {"correct_bias": False}, "original"),
    "pretrain": (pretraining_of, PRETRAINING, masked_losses, {"betas": (0.9, 0.98), "eps": 1e-8}, "none"),
}
# In pre-training the original moves its schedule before the step, so the first step does not have rate 0.
FIRST_STEP = {"refcoco": 0, "pretrain": 1}


@pytest.mark.parametrize("case", sorted(RUNS))
def test_training_curve(case):
    build, heads, losses_of, rule, rates = RUNS[case]
    model, recorded = build(f"vilbert/curve/{case}")
    arrays, expected = recorded.inputs, recorded.outputs
    settings, tolerance = recorded.json("settings.json"), recorded.json("tolerance.json")
    config = OptimizerConfig(name="adamw_transformers", lr=settings["lr"], weight_decay=0.01, **rule)
    config = with_groups(config, heads, decay="original", rates=rates)
    optimizer = build_optimizer(config, dict(model.named_parameters()))
    steps = len(arrays["batch"])
    linear = ScheduleConfig(name="linear", warmup=settings["warmup_proportion"], first_step=FIRST_STEP[case])
    if settings.get("lr_scheduler") == "mannul":
        linear = ScheduleConfig(
            name="vilbert_original", warmup=settings["warmup_proportion"], milestones=[5, 7], gamma=0.2
        )
    schedule = build_schedule(linear, steps, settings.get("iterations", steps), settings["lr"])
    start = originals(model, {name: p.numpy() for name, p in model.named_parameters()})
    watched = [name[6:] for name in expected if name.startswith("final.")]
    for step in range(steps):
        losses = losses_of(model, arrays, step)
        losses["loss"].backward()
        figures = {name: float(value) for name, value in losses.items()}
        figures["grad_norm"] = norm(*gradients_of(model).values())
        rate = schedule.rate(step)
        np.testing.assert_allclose(rate, expected["lr"][step], rtol=1e-6)
        optimizer.set_lr(rate)
        optimizer.step()
        optimizer.clear_grad()
        now = originals(model, {name: p.numpy() for name, p in model.named_parameters()})
        figures["param_change"] = norm(*(now[name] - start[name] for name in watched))
        for figure in tolerance["figures"]:
            within(figure, step, figures[figure], expected[figure][step], tolerance)
    check_end(start, now, expected, recorded.json("final_norms.json"))


def check_end(start, final, expected, norms):
    checked = 0
    for name, row in norms.items():
        if row.get("no_grad") and name in start and "q_dense" not in name:
            np.testing.assert_array_equal(final[name], start[name], err_msg=name)
        if row.get("noise") or row.get("no_grad"):
            continue
        allowed = 20 * row["drift"] + 1e-5 * row["norm"]
        assert abs(norm(final[name]) - row["norm"]) <= allowed, name
        assert abs(norm(final[name] - start[name]) - row["change"]) <= allowed, name
        if f"final.{name}" in expected:
            assert norm(final[name] - expected[f"final.{name}"]) <= allowed, name
        checked += 1
    assert checked > 100
