"""Pre-training with each visual target against the recorded scores, losses, gradients and optimizer steps."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.losses import IGNORE
from pyutils.optim import OptimizerConfig, build_optimizer
from tests.vilbert_paddle.support import (
    GRADIENTS,
    STATES,
    gradients_of,
    inputs_of,
    norm,
    originals,
    pretraining_of,
)
from vilbert_paddle.data.masking import negatives_of_draws, region_negatives
from vilbert_paddle.data.pretrain import keep_aligned
from vilbert_paddle.network.heads import PRETRAINING
from vilbert_paddle.network.objectives import PretrainingLabels, pretraining_losses
from vilbert_paddle.tasks.parameter_groups import with_groups

TARGETS = ("classes", "features", "nce")
LOSSES = {"words": "masked_loss_t", "regions": "masked_loss_v", "alignment": "next_sentence_loss"}
NETWORK = ("input_ids", "image_feat", "image_loc", "token_type_ids", "attention_mask", "image_attention_mask")


def labels_of(arrays) -> PretrainingLabels:
    words = np.where(arrays["masked_lm_labels"] == -1, IGNORE, arrays["masked_lm_labels"])
    negatives = None
    if "draw.row_across" in arrays:
        draws = (arrays[f"draw.{name}"] for name in ("row_across", "col_across", "col_inside"))
        negatives = paddle.to_tensor(negatives_of_draws(*draws))
    return PretrainingLabels(
        paddle.to_tensor(words),
        paddle.to_tensor((arrays["image_label"] == 1).astype("int64")),
        paddle.to_tensor(arrays["image_target"]),
        paddle.to_tensor(arrays["next_sentence_label"]),
        negatives,
    )


def network(arrays):
    return inputs_of({name: arrays[name] for name in NETWORK})


def losses_of(model, recorded, kind):
    scores = model(**network(recorded.inputs))
    return scores, pretraining_losses(scores, labels_of(recorded.inputs), TARGETS[kind])


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_scores_losses_and_gradients(kind):
    model, recorded = pretraining_of(f"vilbert/pretrain_vt{kind}")
    expected = recorded.outputs
    scores, losses = losses_of(model, recorded, kind)
    np.testing.assert_allclose(scores.words.numpy(), expected["prediction_scores_t"], **STATES)
    np.testing.assert_allclose(scores.regions.numpy(), expected["prediction_scores_v"], **STATES)
    np.testing.assert_allclose(scores.alignment.numpy(), expected["seq_relationship_score"], **STATES)
    for name, value in losses.items():
        np.testing.assert_allclose(float(value), expected[LOSSES[name]].item(), **STATES, err_msg=name)
    total = sum(losses.values())
    np.testing.assert_allclose(float(total), expected["loss"].item(), **STATES)
    total.backward()
    gradients = originals(model, gradients_of(model))
    checked = [name for name in expected if name.startswith("grad.")]
    assert checked
    for name in checked:
        rows = len(expected[name])  # tables are recorded in part
        np.testing.assert_allclose(gradients[name[5:]][:rows], expected[name], **GRADIENTS, err_msg=name)
    norms = recorded.json("grad_norms.json")
    for name, value in norms.items():
        if value is None:
            assert "q_dense" in name
        else:
            np.testing.assert_allclose(norm(gradients[name]), value, rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_added_pooled_vectors(kind):
    model, recorded = pretraining_of(f"vilbert/pretrain_vt{kind}", fusion_method="sum")
    with paddle.no_grad():
        scores, losses = losses_of(model, recorded, kind)
    np.testing.assert_allclose(scores.alignment.numpy(), recorded.outputs["sum.seq_relationship_score"], **STATES)
    for name, value in losses.items():
        np.testing.assert_allclose(float(value), recorded.outputs[f"sum.{LOSSES[name]}"].item(), **STATES)


def test_scores_of_chosen_positions():
    model, recorded = pretraining_of("vilbert/pretrain_vt0")
    arrays, expected = recorded.inputs, recorded.outputs
    words = np.flatnonzero(arrays["masked_lm_labels"] != -1)
    with paddle.no_grad():
        scores = model(paddle.to_tensor(words), **network(arrays))
    whole = expected["prediction_scores_t"]
    np.testing.assert_allclose(scores.words.numpy(), whole.reshape([-1, whole.shape[-1]])[words], **STATES)


def test_each_head_alone():
    model, recorded = pretraining_of("vilbert/pretrain_vt0")
    heads = super(type(model), model)
    names = dict(zip(PRETRAINING, ("prediction_scores_t", "prediction_scores_v", "seq_relationship_score")))
    with paddle.no_grad():
        for head, name in names.items():
            found = heads.forward(head, **network(recorded.inputs))
            np.testing.assert_allclose(found.numpy(), recorded.outputs[name], **STATES, err_msg=head)


RULES = {
    "concap": {"betas": (0.9, 0.98), "eps": 1e-8},
    "heavy": {"betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 1.0},
    "tasks": {"correct_bias": False},
}


def check_values(model, expected, prefix, moved):
    """Values after a step: all but 0.1 % (at least 2) within 2e-5, those within `moved`."""
    after = originals(model, {name: p.numpy() for name, p in model.named_parameters()})
    checked = [name for name in expected if name.startswith(f"{prefix}.")]
    assert checked
    for name in checked:
        error = np.abs(after[name[len(prefix) + 1 :]][: len(expected[name])] - expected[name])
        assert (error > 2e-5).sum() <= max(2, 0.001 * error.size), name
        assert error.max() <= moved, name


@pytest.mark.parametrize(
    "kind, rule, steps", [(0, "concap", (1, 3)), (0, "heavy", (1,)), (0, "tasks", (1,)), (1, "concap", (1,))]
)
def test_values_after_optimizer_steps(kind, rule, steps):
    model, recorded = pretraining_of(f"vilbert/pretrain_vt{kind}")
    expected = recorded.outputs
    settings = {"name": "adamw_transformers", "lr": 1e-3, "weight_decay": 0.01, **RULES[rule]}
    config = with_groups(OptimizerConfig(**settings), PRETRAINING, decay="original", rates="none")
    optimizer = build_optimizer(config, dict(model.named_parameters()))
    for step in range(1, max(steps) + 1):
        _, losses = losses_of(model, recorded, kind)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.clear_grad()
        if step in steps:
            check_values(model, expected, f"{rule}_step{step}", 2 * 1e-3 * step)


def test_negatives_are_those_of_the_recorded_draws():
    _, recorded = pretraining_of("vilbert/pretrain_vt2")
    np.testing.assert_array_equal(labels_of(recorded.inputs).negatives.numpy(), recorded.outputs["final_index"])


def test_drawn_negatives_are_other_regions():
    batch, regions = 3, 5
    drawn = region_negatives(np.random.default_rng(1), batch, regions, 200)
    assert drawn.shape == (batch, regions, 200)
    own = np.arange(batch * regions).reshape(batch, regions, 1)
    assert (drawn != own).all()
    pictures = drawn // regions
    assert (pictures[..., :140] != own // regions).all()
    assert (pictures[..., 140:] == own // regions).all()
    for region in range(regions):  # every other place is reached
        assert set(drawn[0, region].tolist()) == set(range(batch * regions)) - {region}


@pytest.mark.parametrize("batch, regions", [(1, 5), (3, 1)])
def test_negatives_need_others(batch, regions):
    with pytest.raises(ValueError, match="two images and two regions"):
        region_negatives(np.random.default_rng(0), batch, regions)


def test_masks_of_foreign_captions_are_left_out():
    model, recorded = pretraining_of("vilbert/pretrain_vt0")
    labels = labels_of(recorded.inputs)
    paired = labels.unpaired.numpy() == 0
    assert 0 < paired.sum() < len(paired)
    with paddle.no_grad():
        scores = model(**network(recorded.inputs))
        batch = {"word_labels": labels.words.numpy(), "region_labels": labels.masked_regions.numpy()}
        keep_aligned({**batch, "replaced": labels.unpaired.numpy()})
        aligned = labels._replace(**dict(zip(("words", "masked_regions"), map(paddle.to_tensor, batch.values()))))
        some = pretraining_losses(scores, aligned)
        rows = paddle.to_tensor(np.flatnonzero(paired))
        part = type(scores)(*(paddle.gather(value, rows) for value in scores))
        kept = PretrainingLabels(*(paddle.gather(value, rows) for value in labels[:4]))
        expected = pretraining_losses(part, kept)
        without = pretraining_losses(scores, labels, alignment=False)
    for name in ("words", "regions"):
        np.testing.assert_allclose(float(some[name]), float(expected[name]), rtol=1e-6)
    assert set(without) == {"words", "regions"}
    nothing = labels._replace(
        words=paddle.full_like(labels.words, IGNORE), masked_regions=paddle.zeros_like(labels.masked_regions)
    )
    found = pretraining_losses(scores, nothing)
    assert float(found["words"]) == float(found["regions"]) == 0.0
