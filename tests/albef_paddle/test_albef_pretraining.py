"""Pre-training against the recorded step: losses, what lies between, gradients, state, and values after AdamW."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from albef_paddle.checkpoints.weights import to_original
from albef_paddle.config import DECAY_PRESETS
from albef_paddle.network.itc import encode_pairs, teacher_features
from albef_paddle.network.pretraining import AlbefForPretraining
from pyutils.layers.contrast import Negatives, draw_negatives
from pyutils.optim import OptimizerConfig, build_optimizer, trained_parameters
from tests.albef_paddle.support import (
    STATES,
    check_gradients,
    check_momentum,
    config_of,
    fill_from_original,
    itc_arrays,
    masked,
    original_gradients,
    original_state,
    tensors,
)
from tests.support import golden

CASE = "albef/pretrain"


@pytest.fixture
def model():
    recorded = golden(CASE)
    config = config_of(recorded.config)
    built = AlbefForPretraining(config)
    fill_from_original(built, recorded, config)
    built.train()
    return built


def losses_of(model, **replaced):
    recorded = golden(CASE)
    arrays = recorded.inputs
    ids, labels = masked(arrays, recorded.config)
    images, input_ids, mask, image_rows, text_rows = tensors(
        arrays, "image", "input_ids", "attention_mask", "neg_image_idx", "neg_text_idx"
    )
    given = {"negatives": Negatives(image_rows, text_rows), "alpha": recorded.config["alpha"], **replaced}
    return model(images, input_ids, mask, paddle.to_tensor(ids), paddle.to_tensor(labels), **given)


def test_masking_replays_the_recorded_draws():
    ids, labels = masked(golden(CASE).inputs, golden(CASE).config)
    np.testing.assert_array_equal(ids, golden(CASE).outputs["mlm_input_ids"])
    np.testing.assert_array_equal(labels, golden(CASE).outputs["mlm_labels"])


def test_losses_gradients_queue_and_teacher(model):
    expected = golden(CASE).outputs
    model.teacher.update(model)
    losses = losses_of(model)
    for ours, theirs in (("mlm", "loss_mlm"), ("itc", "loss_ita"), ("itm", "loss_itm")):
        np.testing.assert_allclose(float(getattr(losses, ours)), expected[theirs], rtol=2e-5, err_msg=theirs)
    sum(losses).backward()
    check_gradients(model, model.config, expected)
    check_momentum(model, model.config, expected)
    np.testing.assert_allclose(model.queue.images.numpy(), expected["image_queue_after"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(model.queue.texts.numpy(), expected["text_queue_after"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(model.queue.pointer.numpy(), expected["queue_ptr_after"])
    np.testing.assert_allclose(float(model.temperature), expected["temp_after_forward"], rtol=1e-6)


def test_intermediate_values(model):
    arrays, expected = golden(CASE).inputs, golden(CASE).outputs
    images, input_ids, mask, image_rows, text_rows = tensors(
        arrays, "image", "input_ids", "attention_mask", "neg_image_idx", "neg_text_idx"
    )
    model.teacher.update(model)
    model.clamp_temperature()  # as forward does first
    fused = []
    model.matching.register_forward_pre_hook(lambda layer, given: fused.append(given[0]))
    with paddle.no_grad():
        own = encode_pairs(model, images, input_ids, mask)
        teacher = encode_pairs(model.teacher, images, input_ids, mask)
        itc = model.itc(own, teacher_features(teacher), golden(CASE).config["alpha"])
        memories = model.text.memories(own.image_states)
        itm = model.itm(own, mask, memories, itc, Negatives(image_rows, text_rows))
        ids = paddle.to_tensor(expected["mlm_input_ids"])
        slow = model.teacher
        slow_memories = slow.text.memories(teacher.image_states)
        found = {
            **itc_arrays(own, teacher, itc, itm),
            "image_embeds": own.image_states,
            "text_embeds": own.text_states,
            "image_embeds_m": teacher.image_states,
            "vl_embeddings": fused[0],
            "itm_labels": itm.labels,
            "mlm_logits": model.words(model.text(ids, mask, memories), model.text.word_table),
            "logits_m": slow.words(slow.text(ids, mask, slow_memories), slow.text.word_table),
        }
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[name], **STATES, err_msg=name)


@pytest.mark.parametrize("prefix, lr, decay", [("adamw.", 1e-3, 0.02), ("adamw_big.", 1e-2, 0.5)])
def test_step_after_adamw(model, prefix, lr, decay):
    expected = golden(CASE).outputs
    optimizer = build_optimizer(
        OptimizerConfig(name="adamw", lr=lr, weight_decay=decay, no_decay=list(DECAY_PRESETS["original"]), clip="none"),
        dict(model.named_parameters()),
    )
    model.teacher.update(model)
    sum(losses_of(model)).backward()
    before = original_state(model, model.config)  # the forward has clamped the temperature
    gradients = original_gradients(model, model.config)
    optimizer.step()
    after, checked = original_state(model, model.config), 0
    for key, value in expected.items():
        if key.startswith(prefix):
            name = key[len(prefix) :]
            clear = np.abs(gradients[name]) > 1e-5
            np.testing.assert_allclose(after[name][clear], value[clear], rtol=0, atol=2e-6, err_msg=key)
            largest = lr * (1 + decay * np.abs(before[name])) * 1.001
            assert (np.abs(after[name] - before[name]) <= largest).all(), key
            checked += 1
    assert checked == 20


def test_decay_groups(model):
    """The preset `original` gives the recorded groups; the default spares scalars, class token and image positions."""
    shared = {"text_encoder.cls.predictions.decoder.weight", "text_encoder.cls.predictions.decoder.bias"}

    def groups(preset: str) -> list[set[str]]:
        cfg = OptimizerConfig(weight_decay=0.02, no_decay=list(DECAY_PRESETS[preset]))
        entries = trained_parameters(cfg, dict(model.named_parameters()))
        found = []
        for decayed in (False, True):
            names = {entry.name for entry in entries if (entry.weight_decay > 0) == decayed}
            marked = {n: np.float32(n in names) + np.zeros(p.shape) for n, p in model.named_parameters()}
            theirs = to_original(marked, model.config)
            found.append({n for n, v in theirs.items() if v.all() and "position_ids" not in n} - shared)
        return found

    recorded = golden(CASE).json("param_groups.json")
    assert [group["weight_decay"] for group in recorded] == [0.0, "weight_decay"]
    original, default = groups("original"), groups("default")
    assert original == [set(group["params"]) for group in recorded]
    assert original[1] - default[1] == {"temp", "visual_encoder.cls_token", "visual_encoder.pos_embed"}


def test_a_step_without_distillation_or_masked_words(model):
    arrays = golden(CASE).inputs
    labels = paddle.full(arrays["input_ids"].shape, -100, dtype="int64")
    images, input_ids, mask = tensors(arrays, "image", "input_ids", "attention_mask")
    losses = model(images, input_ids, mask, input_ids, labels, alpha=0.4)
    assert float(losses.mlm) == 0.0
    sum(losses).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters() if p.grad is not None)


def test_temperature_is_clamped(model):
    model.temperature.set_value(np.array(0.9, dtype="float32"))
    losses_of(model)
    assert float(model.temperature) == 0.5
    model.temperature.set_value(np.array(0.0, dtype="float32"))
    losses_of(model)
    np.testing.assert_allclose(float(model.temperature), 0.001, rtol=1e-6)


def test_negatives_are_drawn_by_weight_and_never_a_positive():
    paddle.seed(5)
    similar = paddle.to_tensor(np.log(np.array([[0.5, 0.4, 0.1], [0.3, 0.3, 0.4], [0.8, 0.1, 0.1]], dtype="float32")))
    counts = np.zeros([2, 3, 3])
    for _ in range(600):
        drawn = draw_negatives(similar, similar.t(), paddle.eye(3) > 0)
        for side, rows in enumerate((drawn.texts, drawn.images)):
            counts[side, np.arange(3), rows.numpy()] += 1
    assert (counts[:, np.arange(3), np.arange(3)] == 0).all()
    np.testing.assert_allclose(counts[0] / 600, [[0, 0.8, 0.2], [3 / 7, 0, 4 / 7], [8 / 9, 1 / 9, 0]], atol=0.07)


def test_negatives_survive_an_underflowing_softmax():
    peaked = paddle.to_tensor(np.array([[900.0, 0.0], [0.0, 900.0]], dtype="float32"))
    drawn = draw_negatives(peaked, peaked, paddle.eye(2) > 0)
    assert drawn.images.tolist() == drawn.texts.tolist() == [1, 0]
