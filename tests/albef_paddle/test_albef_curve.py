"""A hundred pre-training steps against the original's recorded run: losses, rates, state, and where the weights end."""

from __future__ import annotations

import numpy as np

from albef_paddle.config import DECAY_PRESETS
from albef_paddle.network.pretraining import AlbefForPretraining
from pyutils.layers.contrast import Negatives
from pyutils.optim import OptimizerConfig, build_optimizer
from pyutils.schedule import ScheduleConfig, build_schedule
from pyutils.schedule.config import EpochConfig
from tests.albef_paddle.support import config_of, fill_from_original, masked, original_state, tensors
from tests.support import golden

CASE = "albef/curve"


def norm(arrays) -> float:
    return float(np.sqrt(sum(np.square(value.astype("float64")).sum() for value in arrays)))


def rates(settings: dict, steps: int):
    """Our schedule for the recorded `schedular` block."""
    block = settings["schedular"]
    epochs = EpochConfig(
        min_lr=block["min_lr"],
        warmup_lr=block["warmup_lr"],
        warmup_epochs=block["warmup_epochs"],
        warmup_block=settings["step_size"],
        epochs=block["epochs"],
        cooldown_epochs=block["cooldown_epochs"],
        decay_rate=block["decay_rate"],
    )
    cfg = ScheduleConfig(name="albef_cosine", albef=epochs)
    return build_schedule(cfg, steps, settings["iterations_per_epoch"], block["lr"])


def batch_of(arrays: dict, step: int, config: dict) -> dict[str, np.ndarray]:
    """The recorded batch of a step with its draws, masked ids and labels."""
    chosen = arrays["batch"][step]
    batch = {name: arrays[name][chosen] for name in ("image", "input_ids", "attention_mask")}
    drawn = [name for name in arrays if name.startswith(("neg_", "mlm_"))]
    batch.update({name: arrays[name][step] for name in drawn})
    batch["masked_ids"], batch["labels"] = masked(batch, config)
    return batch


def test_training_curve():
    recorded = golden(CASE)
    settings, arrays, expected = recorded.config, recorded.inputs, recorded.outputs
    tolerance = recorded.json("tolerance.json")
    config = config_of(settings)
    model = AlbefForPretraining(config)
    fill_from_original(model, recorded, config)
    model.train()
    optimizer = build_optimizer(
        OptimizerConfig(
            lr=settings["optimizer"]["lr"],
            weight_decay=settings["optimizer"]["weight_decay"],
            no_decay=list(DECAY_PRESETS["original"]),
            clip="none",
        ),
        dict(model.named_parameters()),
    )
    start = original_state(model, config)
    watched = [name[6:] for name in expected if name.startswith("final.")]
    trained = {n for n in watched if "_m." not in n and "queue" not in n}
    schedule = rates(settings, len(arrays["batch"]))
    for step in range(len(arrays["batch"])):
        batch = batch_of(arrays, step, settings)
        np.testing.assert_array_equal(batch["masked_ids"], expected["mlm_input_ids"][step])
        np.testing.assert_array_equal(batch["labels"], expected["mlm_labels"][step])
        alpha = settings["alpha"] * min(1.0, step / settings["iterations_per_epoch"])
        np.testing.assert_allclose(alpha, expected["alpha"][step], rtol=1e-6)
        np.testing.assert_allclose(schedule.rate(step), expected["lr"][step], rtol=1e-6)
        figures = take_step(model, optimizer, batch, alpha, schedule.rate(step))
        state = original_state(model, config)
        figures["param_change"] = norm([state[name] - start[name] for name in trained])
        assert state["queue_ptr"].item() == expected["queue_ptr"][step]
        check(figures, step, expected, tolerance)
    check_end(original_state(model, config), start, expected, recorded.json("final_norms.json"))


def take_step(model, optimizer, batch, alpha, rate) -> dict[str, float]:
    """One optimizer step; the figures of it that are recorded."""
    model.teacher.update(model)
    names = ("image", "input_ids", "attention_mask", "masked_ids", "labels", "neg_image_idx", "neg_text_idx")
    *given, image_rows, text_rows = tensors(batch, *names)
    losses = model(*given, alpha, Negatives(image_rows, text_rows))
    sum(losses).backward()
    figures = {"loss_mlm": losses.mlm, "loss_ita": losses.itc, "loss_itm": losses.itm}
    figures = {name: float(value) for name, value in figures.items()}
    figures["temp"] = float(model.temperature)
    figures["grad_norm"] = norm([p.grad.numpy() for p in model.parameters() if p.grad is not None])
    optimizer.set_lr(rate)
    optimizer.step()
    optimizer.clear_grad()
    return figures


def check(figures, step, expected, tolerance):
    place = next(n for n, (first, last) in enumerate(tolerance["ranges"]) if first <= step <= last)
    for figure in tolerance["figures"]:
        difference, allowed = abs(figures[figure] - expected[figure][step]), tolerance["atol"][figure][place]
        assert difference <= allowed, f"{figure} at step {step}: off by {difference}, allowed {allowed}"


def check_end(final, start, expected, norms):
    checked = 0
    for name, row in norms.items():
        if row.get("noise"):
            continue
        allowed = 20 * row.get("drift", 0.0) + 1e-5 * row["norm"]
        assert abs(norm([final[name]]) - row["norm"]) <= allowed, name
        assert abs(norm([final[name] - start[name]]) - row["change"]) <= allowed, name
        if f"final.{name}" in expected:
            assert norm([final[name] - expected[f"final.{name}"]]) <= allowed, name
        checked += 1
    assert checked > 150
