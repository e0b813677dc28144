"""ViLBERT as a dual encoder: ITC before co-attention, ITM by the alignment head, re-ranked candidates."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.engine.answers import Example
from pyutils.engine.evaluation import evaluate, evaluating
from pyutils.errors import InputError
from pyutils.losses import masked_cross_entropy
from vilbert_paddle.config import RegionStreamConfig, VilbertConfig
from vilbert_paddle.data.regions import region_arrays
from vilbert_paddle.data.texts import text_batch
from vilbert_paddle.network.objectives import network_inputs
from vilbert_paddle.tasks.retrieval import RetrievalTask


def built(build, *settings):
    return build(RetrievalTask, "retrieval", "model.contrast.dim=16", "model.init_std=0.3", *settings)


def tensors(arrays):
    return {name: paddle.to_tensor(array) for name, array in arrays.items()}


def inputs_of(task, records, captions):
    texts = text_batch(task.tokenizer, captions, task.config.max_text)
    return tensors({**texts, **region_arrays(task.reader.read([record.image for record in records]))})


def features(task, batch):
    """Unit features by the definition: mean over the stream before co-attention, projected."""
    encoder, contrast, found = task.model.encoder, task.model.contrast, []
    words = encoder.begin_text(batch["input_ids"], batch["text_mask"], batch["token_type_ids"])
    boxes = encoder.begin_regions(batch["region_features"], batch["region_boxes"], batch["region_mask"])
    for stream, layer in ((words, contrast.text_projection), (boxes, contrast.image_projection)):
        means = [s[m == 1].mean(axis=0) for s, m in zip(stream.states.numpy(), stream.mask.numpy())]
        vectors = np.stack(means) @ layer.weight.numpy() + layer.bias.numpy()
        found.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return found


@pytest.mark.parametrize("tasks", [0, 20])
def test_ranks_are_those_of_every_pair_scored_alone(tasks, build):
    task = built(build, "retrieval.k_test=1000", f"model.task_tokens={tasks}")
    records = task.records("val")
    with evaluating(task.model):
        metrics, found = evaluate(task, task.config.train, "val")
        rows = []
        for caption in [text for record in records for text in record.captions]:
            batch = task.with_task(inputs_of(task, records, [caption] * len(records)))
            logits = task.model("alignment", **network_inputs(tensors(batch))).numpy()
            rows.append(logits[:, 0] - logits[:, 1])
    matrix = np.stack(rows)
    owners = np.repeat(np.arange(len(records)), [len(record.captions) for record in records])
    assert np.ptp(matrix, axis=1).min() > 1e-3  # the order is no accident of rounding
    own = matrix[np.arange(len(owners)), owners]
    np.testing.assert_array_equal(found.image_ranks, (matrix > own[:, None]).sum(axis=1))
    best = np.array([matrix[owners == image, image].max() for image in range(len(records))])
    np.testing.assert_array_equal(found.text_ranks, (matrix > best).sum(axis=0))
    assert metrics["img_r1"] == pytest.approx(100 * (found.image_ranks < 1).mean())


def test_without_candidates_the_order_is_that_of_the_features(build):
    task = built(build, "retrieval.k_test=0")
    records = task.records("val")
    captions = [text for record in records for text in record.captions]
    owners = np.repeat(np.arange(len(records)), [len(record.captions) for record in records])
    with evaluating(task.model):
        _, found = evaluate(task, task.config.train, "val")
        texts, _ = features(task, inputs_of(task, [records[int(owner)] for owner in owners], captions))
        _, images = features(task, inputs_of(task, records, [record.captions[0] for record in records]))
    matrix = texts @ images.T
    own = matrix[np.arange(len(owners)), owners]
    np.testing.assert_array_equal(found.image_ranks, (matrix > own[:, None]).sum(axis=1))


def test_loss_is_itc_plus_itm_of_the_drawn_pairs(build):
    task = built(build)
    table = task.train_records()
    batch = tensors(task.collate([table[n] for n in (0, 1, 7, 20)], np.random.default_rng(0), True))
    task.model.eval()
    paddle.seed(3)
    loss, logs = task.loss(batch)
    texts, images = features(task, batch)
    paddle.seed(3)
    contrast = task.model.contrast
    itc = contrast(paddle.to_tensor(images), paddle.to_tensor(texts), batch["identities"])
    assert float(logs["itc"]) == pytest.approx(float(itc.loss), rel=1e-4)
    pairs = {
        name: batch[name].index_select(itc.rows.images if name.startswith("region") else itc.rows.texts)
        for name in batch
        if name not in ("identities", "index")
    }
    logits = task.model("alignment", **network_inputs(pairs))
    itm = masked_cross_entropy(logits, paddle.where(itc.rows.labels >= 0, 1 - itc.rows.labels, itc.rows.labels))
    assert float(logs["itm"]) == pytest.approx(float(itm), rel=1e-4)
    assert float(loss) == pytest.approx(float(itc.loss + itm), rel=1e-4)
    assert len(set(batch["identities"].tolist())) < 4  # the first two captions are of one image


def test_every_trained_parameter_gets_a_gradient(build):
    task = built(build)
    table = task.train_records()
    task.loss(tensors(task.collate([table[n] for n in range(0, 40, 8)], np.random.default_rng(0), True)))[0].backward()
    names = [name for name, value in task.model.named_parameters() if value.grad is None]
    assert not [name for name in names if name.startswith(("contrast", "heads"))], names


def test_matches_and_a_gallery_agree(build):
    task = built(build)
    records = task.records("val")
    keys = [record.image for record in records]
    gallery = task.open_gallery(lambda: iter([keys[:2], keys[2:]]))
    scores = gallery.scores([records[0].captions[0]])
    gallery.close()
    matches = task.match([Example((key,), records[0].captions[0]) for key in keys])
    np.testing.assert_allclose(scores[0], [match.score for match in matches], rtol=1e-3, atol=1e-4)


def test_gated_visual_layers_cannot_be_contrasted():
    regions = RegionStreamConfig(connect_at=(1, 2, 3, 4, 5, 6))
    with pytest.raises(InputError, match="contrast.dim"):
        VilbertConfig(regions=regions, gated_regions=True, contrast=VilbertConfig().contrast.__class__(dim=8))


def test_the_first_stage_trains_itc_alone(build):
    task = built(build, "model.contrast.itm=false")
    table = task.train_records()
    batch = tensors(task.collate([table[n] for n in range(0, 40, 8)], np.random.default_rng(0), True))
    loss, logs = task.loss(batch)
    loss.backward()
    assert float(loss) == float(logs["itc"])
    assert task.model.contrast.text_projection.weight.grad is not None
    assert task.model.heads["alignment"].weight.grad is None
