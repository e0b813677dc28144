"""Flickr30k Entities with VisualBERT: files, phrases and boxes, training, recalls, bad input."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.data.annotations import entities
from pyutils.data.annotations.entities import Boxes, read_sentence
from pyutils.data.features import FeatureSpec, PackedWriter, RegionFeatures
from pyutils.data.records import Phrase, PhraseRecord
from pyutils.engine.answers import Example
from pyutils.engine.determinism import seed_initial
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.metrics.grounding import NEVER, first_hits, phrase_recall
from tests.support import golden
from tests.visualbert_paddle.support import (
    DIMENSION,
    as_tensors,
    config_of,
    load_golden_weights,
    network_inputs,
    tiny_yaml,
)
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.commands import COMMANDS
from visualbert_paddle.network.heads import VisualBertForPhraseGrounding
from visualbert_paddle.tasks.flickr import BOX_NUMBERS, VisualBertFlickr, VisualBertFlickrConfig, right_regions

SECTION = """
flickr: {{root: {}/Flickr30kEntities, splits: {{train: train.txt, val: val.txt, test: test.txt}}}}
"""


@pytest.fixture
def flickr_config(whole_world, tmp_path):
    path = tmp_path / "flickr.yaml"
    regions, section = "X_FLICKR/data/detectron_fix_100", SECTION.format(whole_world)
    path.write_text(tiny_yaml(whole_world, tmp_path / "run", regions, section, DIMENSION + BOX_NUMBERS))
    return lambda *overrides: load_config(VisualBertFlickrConfig, path, overrides)


def task_of(config):
    seed_initial(config.train.seed)
    return VisualBertFlickr(config)


def test_loss_and_recalls_equal_the_recorded_model(flickr_config):
    recorded = golden("visualbert/flickr")
    task = task_of(flickr_config())
    task.model = VisualBertForPhraseGrounding(config_of(recorded.config))
    load_golden_weights(task.model, recorded.weights)
    task.model.eval()
    batch = as_tensors({**network_inputs(recorded.inputs), "labels": recorded.inputs["labels"]})
    loss, _ = task.loss(batch)
    assert abs(float(loss) - recorded.outputs["loss"]) < 1e-5
    real = recorded.inputs["region_to_phrase_position"] >= 0
    scores = task.scores(batch).numpy()[real]
    found = phrase_recall(first_hits(scores, recorded.inputs["labels"][real] > 0))
    assert found["recall@1"] == pytest.approx(float(recorded.outputs["accuracy"]), abs=1e-6)
    assert found["upper_bound"] == pytest.approx(float(recorded.outputs["upperbound_accuracy"]), abs=1e-6)
    assert real.sum() == recorded.outputs["entity_num"]


def test_marked_sentences():
    boxes = Boxes(9, 9, {"5": ((0.0, 0.0, 1.0, 1.0),)})
    line = "[/EN#5/people Two men] wear [/EN#0/notvisual it] , [/EN#6/bodyparts/other a  hat] ."
    sentence, phrases = read_sentence(line, boxes, "here")
    assert sentence == "Two men wear it , a hat ."
    assert [(p.start, p.end, p.text, p.phrase_type, len(p.boxes)) for p in phrases] == [
        (0, 2, "Two men", "people", 1),
        (3, 4, "it", "notvisual", 0),
        (5, 7, "a hat", "bodyparts/other", 0),
    ]
    for wrong in ("[/EN#5/people Two men wear", "a [/EN#5 hat] on"):
        with pytest.raises(InputError, match="here: malformed mark"):
            read_sentence(wrong, boxes, "here")
    with pytest.raises(InputError, match="here: malformed mark"):
        read_sentence("[/EN#5/people ]", boxes, "here")


def test_records_of_the_drawn_world(whole_world):
    records = entities.read(whole_world / "Flickr30kEntities", "train.txt")
    first = records[0]
    assert (first.width, first.height) == (128, 128)
    assert all(" ".join(first.sentence.split(" ")[p.start : p.end]) == p.text for p in first.phrases)
    assert any(len(phrase.boxes) == 1 for record in records for phrase in record.phrases)
    assert all(not p.boxes for record in records for p in record.phrases if p.phrase_type == "scene")


def test_first_hits_and_recall():
    scores = np.array([[0.1, 0.9, 0.5], [0.5, 0.5, 0.1], [1.0, 2.0, 3.0]])
    right = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    hits = first_hits(scores, right)
    assert hits.tolist() == [2, 1, NEVER]
    assert phrase_recall(hits, (1, 2, 3)) == pytest.approx(
        {"recall@1": 0, "recall@2": 1 / 3, "recall@3": 2 / 3, "upper_bound": 2 / 3}
    )
    with pytest.raises(InputError, match="without phrases that have a box"):
        phrase_recall(np.zeros(0))


def test_batch(flickr_config):
    task = task_of(flickr_config())
    records = [task.records("train")[place] for place in range(4)]
    batch = task.collate(records, np.random.default_rng(0), True)
    assert batch["region_features"].shape[2] == DIMENSION + BOX_NUMBERS
    source = task.regions.source
    for row, record in enumerate(records):
        own, phrases = source[record.image], [p for p in record.phrases if p.boxes]
        places = batch["phrase_positions"][row]
        assert (places >= 0).sum() == len(phrases)
        for place, phrase, label in zip(places, phrases, batch["labels"][row]):
            last = task.tokenizer.encode(phrase.text)[-1]
            assert batch["input_ids"][row, place] == last
            assert label.sum() == pytest.approx(1) or label.sum() == 0
        numbers = batch["region_features"][row, : len(own.boxes), -BOX_NUMBERS:]
        shares = own.boxes / np.array([own.width, own.height] * 2, dtype=np.float32)
        np.testing.assert_allclose(numbers[:, :4], shares, rtol=1e-6)
        np.testing.assert_allclose(numbers[:, 4:], shares[:, 2:] - shares[:, :2], rtol=1e-5, atol=1e-6)
        assert not batch["region_features"][row, len(own.boxes) :].any()


def test_right_regions_at_another_size():
    phrase = Phrase(0, 1, "x", "1", "", ((0.0, 0.0, 20.0, 20.0), (60.0, 60.0, 80.0, 80.0)))
    record = PhraseRecord("i", "x", (phrase,), 0, 100, 100)
    boxes = np.array([[0, 0, 9, 10], [30, 30, 40, 40], [10, 10, 20, 20]], dtype=np.float32)
    assert right_regions(phrase, record, boxes, (50, 50)).tolist() == [True, True, False]


def test_training_evaluation_and_prediction(flickr_config, tmp_path, capfd):
    config = flickr_config("train.max_steps=8", "train.optimizer.lr=3e-3")
    run_task(Run(None), config, VisualBertFlickr, load_initial)
    run = tmp_path / "run"
    assert "phrases have no box" in capfd.readouterr().err
    metrics = json.loads((run / "metrics.json").read_text())["best"]
    order = [metrics[name] for name in ("recall@1", "recall@5", "recall@10", "upper_bound")]
    assert order == sorted(order)
    assert order[-1] > 80
    results = json.loads((run / "val/phrases.json").read_text())
    assert 100 * np.mean([entry["right"] for entry in results]) == pytest.approx(metrics["recall@1"])
    COMMANDS.run_prediction(["--checkpoint", str(run), "--split", "test", "--output", str(tmp_path / "out")])
    task = task_of(config)
    expected = [p.text for record in task.records("test") for p in record.phrases if p.boxes]
    assert [entry["phrase"] for entry in json.loads((tmp_path / "out/phrases.json").read_text())] == expected
    record = task.records("val")[0]
    capfd.readouterr()
    one = ["--image", record.image, "--sentence", record.sentence, "--phrase", record.phrases[0].text, "--top", "2"]
    COMMANDS.run_prediction(["--checkpoint", str(run), *one])
    assert capfd.readouterr().err.count("| 0.") == 2
    with pytest.raises(InputError, match="no such words"):
        task.locate([Example((record.image,), record.sentence, "no such words")])


def test_phrases_without_a_box(flickr_config, whole_world, tmp_path):
    """A split of which nothing is marked in the pictures is refused; single phrases without a box do not count."""
    folder = tmp_path / "entities"
    for name in ("Annotations", "Sentences"):
        (folder / name).mkdir(parents=True)
    (folder / "train.txt").write_text("7\n")
    (folder / "Annotations/7.xml").write_text(
        "<annotation><size><width>9</width><height>9</height></size></annotation>"
    )
    (folder / "Sentences/7.txt").write_text("[/EN#5/people Two men] talk .\n")
    task = task_of(flickr_config(f"flickr.root={folder}"))
    with pytest.raises(InputError, match=r"train\.txt: no phrase of its 1 sentences has a box"):
        task.records("train")
    blank = PhraseRecord(task_of(flickr_config()).records("val")[0].image, "nothing here", ())
    batch = task.collate([blank], np.random.default_rng(0), True)
    assert batch["phrase_positions"].tolist() == [[-1]]
    loss, _ = task.loss({name: paddle.to_tensor(value) for name, value in batch.items()})
    assert float(loss) == 0.0


def test_damaged_files(flickr_config, tmp_path):
    task = task_of(flickr_config(f"flickr.root={tmp_path}"))
    with pytest.raises(InputError, match=r"train\.txt: cannot be read"):
        task.records("train")
    (tmp_path / "train.txt").write_text("7\n")
    with pytest.raises(InputError, match=r"Annotations/7\.xml: cannot be read"):
        task.records("train")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/7.xml").write_text("<annotation><size>")
    with pytest.raises(InputError, match=r"7\.xml: cannot be read as XML"):
        task.records("train")
    edges = "".join(f"<{name}>{value}</{name}>" for name, value in (("xmin", 5), ("ymin", 1), ("xmax", 0), ("ymax", 4)))
    box = f"<object><name>1</name><bndbox>{edges}</bndbox></object>"
    (tmp_path / "Annotations/7.xml").write_text(f"<annotation>{box}</annotation>")
    with pytest.raises(InputError, match=r"7\.xml: .*a box needs xmin < xmax"):
        task.records("train")
    with pytest.raises(InputError, match=r"no split 'vall': did you mean \"val\""):
        task.records("vall")


def test_features_that_do_not_know_boxes_or_sizes(flickr_config, tmp_path):
    for name, spec in (("none", {"box_format": "none"}), ("sizeless", {})):
        with PackedWriter(tmp_path / name, FeatureSpec(dimension=DIMENSION, **spec)) as writer:
            boxes = None if spec else np.zeros((1, 4), np.float32)
            writer.add("x", RegionFeatures(np.zeros((1, DIMENSION), np.float32), boxes, 0, 0, None))
    with pytest.raises(InputError, match="without boxes"):
        task_of(flickr_config(f"regions.path={tmp_path}/none"))
    task = task_of(flickr_config(f"regions.path={tmp_path}/sizeless"))
    with pytest.raises(InputError, match="flickr.append_boxes"):
        task.collate([PhraseRecord("x", "a b", ())], np.random.default_rng(0), True)


def test_blind_baseline_keeps_the_choice_but_shows_nothing(flickr_config):
    shown, blind = task_of(flickr_config()), task_of(flickr_config("image_input=withheld"))
    records = [shown.records("train")[0]]
    batch = blind.collate(records, np.random.default_rng(0), True)
    assert not batch["region_features"].any()
    np.testing.assert_array_equal(batch["labels"], shown.collate(records, np.random.default_rng(0), True)["labels"])
