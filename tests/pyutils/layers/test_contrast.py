"""The contrastive head: features, loss and negatives against NumPy."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.errors import InputError
from pyutils.layers.bert_config import ContrastConfig
from pyutils.layers.contrast import ContrastiveHead, Negatives, itm_rows, mean_of_tokens
from pyutils.losses import IGNORE


def head(temperature=0.2):
    paddle.seed(1)
    return ContrastiveHead(ContrastConfig(dim=8, temperature=temperature), 5, 6, init_std=0.5)


def test_features_ignore_padding_and_have_length_one():
    rng = np.random.default_rng(0)
    states, mask = (
        rng.standard_normal((3, 4, 5)).astype("float32"),
        np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]),
    )
    model = head()
    found = model.image_features(paddle.to_tensor(states), paddle.to_tensor(mask)).numpy()
    for row, own, kept in zip(found, states, mask):
        projected = own[kept == 1].mean(axis=0) @ model.image_projection.weight.numpy()
        np.testing.assert_allclose(row, projected / np.linalg.norm(projected), rtol=1e-5, atol=1e-6)
    assert not mean_of_tokens(paddle.to_tensor(states), paddle.zeros([3, 4])).numpy().any()


def test_loss_equals_numpy_with_two_captions_of_one_image():
    rng = np.random.default_rng(2)
    images, texts = (rng.standard_normal((4, 8)).astype("float32") for _ in range(2))
    identities = np.array([3, 7, 3, 9])
    scores = images.astype("float64") @ texts.T / 0.2
    targets = (identities[:, None] == identities).astype("float64")
    targets /= targets.sum(axis=1, keepdims=True)

    def cross_entropy(logits):
        return -(targets * (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))).sum(axis=1).mean()

    found = head()(*(paddle.to_tensor(value) for value in (images, texts, identities)))
    assert float(found.loss) == pytest.approx((cross_entropy(scores) + cross_entropy(scores.T)) / 2, rel=1e-5)


def test_negatives_are_wrong_pairs_and_follow_the_similarity():
    """A caption of the same image is never a negative; the most similar wrong one is drawn where it dominates."""
    images = np.eye(4, 8, dtype="float32")
    texts = images[[0, 1, 0, 1]]  # text 3 belongs to image 3 but looks like image 1
    identities = np.array([5, 6, 5, 8])
    rows = head(0.01)(*(paddle.to_tensor(value) for value in (images, texts, identities))).rows
    pairs = np.stack([rows.images.numpy(), rows.texts.numpy()]).reshape(2, 3, 4)
    assert (pairs[:, 0] == np.arange(4)).all()
    wrong = identities[pairs[0, 1:]] != identities[pairs[1, 1:]]
    assert wrong.all()
    assert pairs[0, 1, 3] == 1 and pairs[1, 2, 1] == 3
    assert rows.labels.numpy().tolist() == [1] * 4 + [0] * 8


def test_a_batch_of_one_image_has_no_negatives():
    negatives = Negatives(paddle.zeros([2], "int64"), paddle.zeros([2], "int64"))
    rows = itm_rows(negatives, paddle.ones([2, 2], "bool"))
    assert rows.labels.numpy().tolist() == [1, 1] + [IGNORE] * 4


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match="temperature"):
        ContrastConfig(dim=4, temperature=0.0)
