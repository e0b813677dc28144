"""The momentum teacher and the queues beyond what the recorded steps show."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from albef_paddle.config import AlbefConfig, TextConfig, VisionConfig
from albef_paddle.network.classification import AlbefForReasoning
from albef_paddle.network.queues import FeatureQueue
from pyutils.optim import OptimizerConfig, build_optimizer

TINY = {
    "vision": VisionConfig(image_size=16, patch_size=8, width=12, depth=2, num_heads=3, drop_path=0.2),
    "text": TextConfig(
        vocab_size=120, hidden_size=8, num_layers=2, fusion_layer=1, num_heads=2, intermediate_size=8, max_positions=12
    ),
}


def inputs() -> tuple[paddle.Tensor, ...]:
    paddle.seed(1)
    return paddle.rand([2, 2, 3, 16, 16]), paddle.randint(1, 100, [2, 5]), paddle.ones([2, 5], dtype="int64")


@pytest.mark.parametrize("dropout", [False, True])
def test_the_teacher_has_no_dropout_by_default(dropout):
    model = AlbefForReasoning(AlbefConfig(**TINY, teacher_dropout=dropout))
    model.train()
    given = inputs()
    with paddle.no_grad():
        teacher = [model.classify(model.teacher, *given).numpy() for _ in range(2)]
        own = [model.classify(model, *given).numpy() for _ in range(2)]
    assert np.array_equal(*teacher) is not dropout
    assert not np.array_equal(*own)


def test_the_teacher_is_not_trained_but_saved():
    model = AlbefForReasoning(AlbefConfig(**TINY))
    optimizer = build_optimizer(OptimizerConfig(), dict(model.named_parameters()))
    assert not [entry.name for entry in optimizer.trained if entry.name.startswith("teacher.")]
    trained = {f"teacher.{name}" for name in (entry.name for entry in optimizer.trained)}
    assert trained == {name for name in model.state_dict() if name.startswith("teacher.")}


def test_update_and_copy():
    model = AlbefForReasoning(AlbefConfig(**TINY, momentum=0.9))
    own, slow = model.classifier[0].weight, model.teacher.classifier[0].weight
    before = slow.numpy()
    own.set_value(paddle.ones_like(own))
    model.teacher.update(model)
    np.testing.assert_allclose(slow.numpy(), 0.9 * before + 0.1, rtol=1e-6, atol=1e-7)
    model.teacher.copy_from(model)
    np.testing.assert_array_equal(slow.numpy(), np.ones_like(before))


def test_a_pair_of_layers_stores_its_projections_once():
    model = AlbefForReasoning(AlbefConfig(**TINY))
    names = [name for name in model.state_dict() if "cross_attention.attend.key.weight" in name]
    assert names == [
        "text.fusion_layers.layers.0.cross_attention.attend.key.weight",
        "teacher.text.fusion_layers.layers.0.cross_attention.attend.key.weight",
    ]


def columns(numbers) -> paddle.Tensor:
    """Features `[n, 2]` whose entries tell them apart."""
    return paddle.to_tensor(np.array(numbers, dtype="float32")[:, None] * np.ones([1, 2], dtype="float32"))


def test_the_queue_wraps_inside_a_batch():
    queue = FeatureQueue(2, 5, with_identities=True)
    np.testing.assert_allclose(np.linalg.norm(queue.images.numpy(), axis=0), 1.0, rtol=1e-5)
    assert queue.identities.tolist() == [[-100] * 5]
    queue.enqueue(columns([1, 2, 3]), columns([-1, -2, -3]), paddle.to_tensor([10, 20, 30]))
    assert queue.pointer.item() == 3
    queue.enqueue(columns([4, 5, 6]), columns([-4, -5, -6]), paddle.to_tensor([40, 50, 60]))
    assert queue.pointer.item() == 1
    assert queue.images[0].tolist() == [6, 2, 3, 4, 5]
    assert queue.texts[1].tolist() == [-6, -2, -3, -4, -5]
    assert queue.identities.tolist() == [[60, 20, 30, 40, 50]]


def test_a_batch_larger_than_the_queue_leaves_its_last():
    queue = FeatureQueue(2, 3)
    queue.enqueue(columns([9]), columns([9]))
    queue.enqueue(columns(range(1, 8)), columns(range(1, 8)))
    # Column by column as if each had been written in turn: 1 at column 1, …, 7 at column 1.
    assert queue.images[0].tolist() == [6, 7, 5]
    assert queue.pointer.item() == 2
    assert sorted(queue.state_dict()) == ["images", "pointer", "texts"]
