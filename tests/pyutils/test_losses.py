"""Losses against recorded values of the originals, and their behaviour when nothing is labelled."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils import losses
from tests.support import golden


def tensor(array):
    return paddle.to_tensor(np.asarray(array))


def close(value, recorded, **tolerance):
    np.testing.assert_allclose(value.numpy(), np.asarray(recorded).reshape(value.shape), **tolerance)


LOSS = {"rtol": 2e-5, "atol": 1e-6}


def test_visualbert_pretraining():
    case = golden("visualbert/pretrain")
    inputs, outputs = case.inputs, case.outputs
    words = losses.masked_cross_entropy(tensor(outputs["prediction_logits"]), tensor(inputs["labels"]))
    pair = losses.masked_cross_entropy(
        tensor(outputs["seq_relationship_logits"]), tensor(inputs["sentence_image_labels"])
    )
    close(words, outputs["loss_mlm"], **LOSS)
    close(pair, outputs["loss_sentence_image"], **LOSS)
    close(words + pair, outputs["loss"], **LOSS)
    text_only = tensor(outputs["prediction_logits"])[:, : inputs["labels_authors"].shape[1]]
    authors = losses.masked_cross_entropy(text_only, tensor(inputs["labels_authors"]), ignore_index=-1)
    close(authors, outputs["loss_mlm"], **LOSS)


@pytest.mark.parametrize("types", ["vt0", "vt1"])
def test_visualbert_vqa(types):
    case = golden("visualbert/vqa")
    logits, targets = tensor(case.outputs[f"{types}.logits"]), tensor(case.inputs["labels"])
    close(losses.kl_unnormalised(logits, targets), case.outputs[f"{types}.loss_kldiv"], **LOSS)
    close(losses.vqa_bce(logits, targets), case.outputs[f"{types}.loss_bce_sum_answers"], **LOSS)
    nothing = losses.kl_unnormalised(logits, paddle.zeros_like(targets))
    assert float(nothing) == float(case.outputs["loss_kldiv_none_zero_label"]) == 0.0


def test_visualbert_classes_and_choices():
    nlvr, vcr = golden("visualbert/nlvr2"), golden("visualbert/vcr")
    pairs = losses.masked_cross_entropy(tensor(nlvr.outputs["logits"]), tensor(nlvr.inputs["labels"]))
    close(pairs, nlvr.outputs["loss"], **LOSS)
    for kind in ("plain", "align"):
        choices = losses.masked_cross_entropy(tensor(vcr.outputs[f"{kind}.logits"]), tensor(vcr.inputs["labels"]))
        close(choices, vcr.outputs[f"{kind}.loss"], **LOSS)


def test_visualbert_phrases_with_masked_boxes():
    case = golden("visualbert/flickr")
    logits = tensor(case.outputs["logits"])
    logits.stop_gradient = False
    loss = losses.kl_unnormalised(logits, tensor(case.inputs["labels"]))
    close(loss, case.outputs["loss"], **LOSS)
    loss.backward()
    assert np.isfinite(logits.grad.numpy()).all()


def test_albef_pretraining():
    case = golden("albef/pretrain")
    outputs, alpha = case.outputs, case.config["alpha"]
    logits, teacher = tensor(outputs["mlm_logits"]), tensor(outputs["logits_m"])
    loss = losses.distilled_cross_entropy(logits, tensor(outputs["mlm_labels"]), teacher, alpha)
    close(loss, outputs["loss_mlm"], rtol=2e-5)
    matching = losses.masked_cross_entropy(tensor(outputs["vl_output"]), tensor(outputs["itm_labels"]))
    close(matching, outputs["loss_itm"], rtol=2e-5)
    batch, columns = outputs["sim_i2t"].shape
    check_contrast(outputs, paddle.eye(batch, columns), paddle.eye(batch), alpha)


def test_albef_retrieval_with_shared_images():
    case = golden("albef/retrieval")
    outputs, identities = case.outputs, tensor(case.inputs["idx"])
    positives = losses.contrastive_positives(identities, tensor(outputs["idx_all"][0]))
    close(positives, outputs["sim_targets"], rtol=1e-6)
    in_batch = identities.unsqueeze(0) == identities.unsqueeze(1)
    check_contrast(outputs, positives, in_batch, case.config["alpha"])


def check_contrast(outputs, positives, in_batch, alpha):
    """Targets, loss and negative weights of both directions."""
    batch = outputs["sim_i2t"].shape[0]
    targets = {}
    for way in ("i2t", "t2i"):
        targets[way] = losses.contrastive_targets(tensor(outputs[f"sim_{way}_m"]), positives, alpha)
        close(targets[way], outputs[f"sim_{way}_targets"], rtol=3e-5, atol=3e-5)
        weights = losses.hard_negative_weights(tensor(outputs[f"sim_{way}"])[:, :batch], in_batch)
        close(weights, outputs[f"weights_{way}"], rtol=3e-5, atol=3e-5)
        half = losses.soft_target_cross_entropy(tensor(outputs[f"sim_{way}"]), targets[way])
        close(half, outputs[f"loss_{way}"], rtol=2e-5)
    similarities = [tensor(outputs["sim_i2t"]), tensor(outputs["sim_t2i"])]
    close(losses.itc_loss(*similarities, targets["i2t"], targets["t2i"]), outputs["loss_ita"], rtol=2e-5)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_vilbert_masked_regions(kind):
    case = golden(f"vilbert/pretrain_vt{kind}")
    inputs, outputs = case.inputs, case.outputs
    predicted = tensor(outputs["prediction_scores_v"])[:, 1:]
    features, masked = tensor(inputs["image_target"]), tensor(inputs["image_label"]) == 1
    if kind == 0:
        loss = losses.masked_region_kl(predicted, features, masked)
    elif kind == 1:
        loss = losses.masked_region_regression(predicted, features, masked)
    else:
        loss = losses.masked_region_nce(predicted, features, tensor(outputs["final_index"]), masked)
    close(loss, outputs["masked_loss_v"], rtol=1e-4, atol=2e-5)
    words = losses.masked_cross_entropy(
        tensor(outputs["prediction_scores_t"]), tensor(inputs["masked_lm_labels"]), ignore_index=-1
    )
    close(words, outputs["masked_loss_t"], rtol=1e-4, atol=2e-5)


def test_nothing_labelled_is_zero_with_zero_gradients():
    logits = paddle.randn([2, 3, 5])
    logits.stop_gradient = False
    labels = paddle.full([2, 3], losses.IGNORE, dtype="int64")
    nowhere = paddle.zeros([2, 3])
    targets = paddle.nn.functional.softmax(paddle.randn([2, 3, 5]))
    total = losses.masked_cross_entropy(logits, labels) + losses.masked_cross_entropy(logits, labels, smoothing=0.1)
    total = total + losses.soft_target_cross_entropy(logits, targets, nowhere)
    total = total + losses.distilled_cross_entropy(logits, labels, targets, 0.4)
    total = total + losses.masked_region_kl(logits, targets, nowhere)
    total = total + losses.masked_region_regression(logits, targets, nowhere)
    total = total + losses.masked_region_nce(logits, targets, paddle.zeros([2, 3, 4], dtype="int64"), nowhere)
    total.backward()
    assert float(total) == 0.0
    assert not logits.grad.numpy().any()


def test_mean_is_over_the_valid_labels_only():
    logits = paddle.randn([6, 4])
    labels = paddle.to_tensor([losses.IGNORE] * 5 + [2])
    expected = -paddle.nn.functional.log_softmax(logits, axis=-1)[5, 2]
    assert float(losses.masked_cross_entropy(logits, labels)) == pytest.approx(float(expected), rel=1e-6)


def test_smoothing_spreads_its_share_over_all_classes():
    logits, labels = paddle.randn([3, 4]), paddle.to_tensor([0, 2, 3])
    targets = 0.9 * paddle.nn.functional.one_hot(labels, 4) + 0.1 / 4
    smoothed = losses.masked_cross_entropy(logits, labels, smoothing=0.1)
    assert float(smoothed) == pytest.approx(float(losses.soft_target_cross_entropy(logits, targets)), rel=1e-5)


def test_half_precision_logits_are_reduced_in_float32():
    logits, labels = paddle.randn([3, 4]).astype("bfloat16"), paddle.to_tensor([0, 2, 3])
    loss = losses.masked_cross_entropy(logits, labels)
    assert loss.dtype == paddle.float32
    assert float(loss) == float(losses.masked_cross_entropy(logits.astype("float32"), labels))


def test_teacher_gets_no_gradient():
    logits, teacher = paddle.randn([2, 5]), paddle.randn([2, 5])
    logits.stop_gradient = teacher.stop_gradient = False
    losses.distilled_cross_entropy(logits, paddle.to_tensor([1, 2]), teacher, 0.4).backward()
    assert logits.grad is not None
    assert teacher.grad is None


def test_log_softmax_keeps_far_apart_logits():
    rows = np.array([[1e4, 1e4 - 2.0, -3e38, 0.0], [-1e4, -1e4, -1e4, -1e4], [0.5, 1.5, -2.0, 3.0]], np.float32)
    logits = paddle.to_tensor(rows, stop_gradient=False)
    found = losses.log_softmax(logits)
    exact = rows.astype(np.float64) - rows.max(axis=1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-6, atol=1e-6)
    found[:, 1].sum().backward()
    np.testing.assert_allclose(logits.grad.numpy(), np.eye(4)[[1, 1, 1]] - np.exp(exact), atol=1e-6)
