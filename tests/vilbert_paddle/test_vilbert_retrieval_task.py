"""Retrieval with ViLBERT: four-way training, ranks over the whole gallery, zero-shot."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.data.hard_negatives import HardNegatives
from vilbert_paddle.data.regions import region_arrays
from vilbert_paddle.data.texts import text_batch
from vilbert_paddle.network.objectives import network_inputs
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.gallery import ImageGallery
from vilbert_paddle.tasks.retrieval import RetrievalTask


def scores_one_by_one(task, split):
    """[captions, pictures]: every pair through the network's ordinary forward, a caption at a time."""
    records, head = task.records(split), task.config.retrieval.head
    pictures = {
        name: paddle.to_tensor(array)
        for name, array in region_arrays(task.reader.read([record.image for record in records])).items()
    }
    rows = []
    for record in records:
        for caption in record.captions:
            text = text_batch(task.tokenizer, [caption] * len(records), task.config.max_text)
            text = {name: paddle.to_tensor(array) for name, array in text.items()}
            scores = task.model(head, **network_inputs({**text, **pictures})).numpy()
            rows.append(scores if head == "match" else scores[:, 0] - scores[:, 1])
    return np.stack(rows)


@pytest.mark.parametrize("head", ["match", "alignment"])
def test_ranks_of_blocks_are_those_of_the_whole_matrix(head, build):
    task = build(RetrievalTask, "retrieval", f"retrieval.head={head}", "train.eval_batch_size=2")
    with evaluating(task.model):
        matrix = scores_one_by_one(task, "val")
        gallery = ImageGallery(task, task.records("val"), head, task.config.retrieval.text_block)
        found = gallery.ranks(split_loader(task, task.config.train, "val"))
    owners = np.repeat(np.arange(len(task.records("val"))), [len(record.captions) for record in task.records("val")])
    by_image = [np.isin(np.argsort(-row, kind="stable"), np.flatnonzero(owners == n)) for n, row in enumerate(matrix.T)]
    by_caption = np.argsort(-matrix, axis=1, kind="stable") == owners[:, None]
    np.testing.assert_array_equal(found[0], np.argmax(by_image, axis=1))
    np.testing.assert_array_equal(found[1], np.argmax(by_caption, axis=1))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_picture_is_embedded_once_where_that_is_exact(dropout, build, monkeypatch):
    """Without dropout: 2 pictures a record are embedded, not 4, and gradients are those of embedding all of them."""
    places = ("text.hidden", "text.attention", "regions.hidden", "regions.attention")
    settings = [f"model.{place}_dropout={dropout}" for place in places]
    task = build(RetrievalTask, "retrieval", *settings, "head_dropout=0", "model.init_std=0.3")
    table = task.train_records()
    batch = task.collate([table[place] for place in range(3)], np.random.default_rng(0), True)
    tensors = {name: paddle.to_tensor(array) for name, array in batch.items()}
    embedded = []
    layer = task.model.encoder.region_embeddings
    hook = layer.register_forward_pre_hook(lambda _, inputs: embedded.append(inputs[0].shape[0]))
    found = {}
    for alike in (task._embeds_images_once(), False):
        monkeypatch.setattr(task, "_embeds_images_once", lambda value=alike: value)
        task.model.clear_gradients()
        scores = task.scores(tensors)
        (scores * paddle.arange(12, dtype="float32").reshape([3, 4])).sum().backward()
        found[len(found)] = [scores.numpy(), *(p.grad.numpy() for p in task.model.parameters() if p.grad is not None)]
    hook.remove()
    assert embedded == ([12, 12] if dropout else [6, 12])
    if not dropout:
        for one, other in zip(found[0], found[1]):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


def test_four_pairs_are_scored_with_their_own_pictures(build):
    task = build(RetrievalTask, "retrieval")
    task.model.eval()
    table = task.train_records()
    batch = task.collate([table[place] for place in range(3)], np.random.default_rng(0), True)
    tensors = {name: paddle.to_tensor(array) for name, array in batch.items()}
    scores = task.scores(tensors).numpy()
    assert scores.shape == (3, 4)
    for row, choice in ((0, 0), (1, 2), (2, 3)):
        picture = batch["image_rows"][row, choice]
        one = {name: tensors[name][row, choice].unsqueeze(0) for name in ("input_ids", "text_mask", "token_type_ids")}
        for name in ("region_features", "region_mask", "region_boxes"):
            one[name] = tensors[name][int(picture)].unsqueeze(0)
        assert task.model("match", **one).item() == pytest.approx(scores[row, choice], abs=1e-5)


def test_training_and_evaluation(yaml_of, tmp_path):
    config = load_config(RetrievalTask.config_class, yaml_of("retrieval"), ("train.epochs=2", "new_head_lr=1e-3"))
    run_task(Run(None), with_recipe(config, ["match"]), RetrievalTask, load_initial)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["best"]
    ranks = json.loads((tmp_path / "run/val/ranks.json").read_text())
    assert metrics["txt_r1"] == pytest.approx(100 * np.mean(np.array(ranks["text_ranks"]) < 1))
    assert metrics["img_r10"] == pytest.approx(100 * np.mean(np.array(ranks["image_ranks"]) < 10))


def test_hard_negatives_of_another_data_set_are_refused(build, tmp_path, capsys):
    records = build(RetrievalTask, "retrieval").records("train")
    for images, message in (("zzz", "has none of the"), (str(records[0].image), "has 1 of")):
        HardNegatives([images, "yyy"], np.array([[1], [0]])).save(tmp_path / "hard.npz")
        task = build(RetrievalTask, "retrieval", f"retrieval.hard_negatives={tmp_path}/hard.npz")
        if "none" in message:
            with pytest.raises(InputError, match=message):
                task.train_records()
        else:
            task.train_records()
            assert message in capsys.readouterr().err


def test_zero_shot_does_not_train(build):
    with pytest.raises(InputError, match="zero-shot"):
        build(RetrievalTask, "retrieval", "retrieval.head=alignment").train_records()
