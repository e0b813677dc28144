"""Batches of VQA, SNLI-VE, NLVR2, VCR and retrieval: shapes of the recorded ones, contents by hand."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from pyutils.data.features import open_regions
from pyutils.data.features.inputs import RegionConfig
from pyutils.data.records import CaptionRecord, EntailmentRecord, PairRecord, TaggedText, VCRRecord, VQARecord
from pyutils.data.table import RecordTable
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.errors import InputError
from pyutils.metrics.vqa import best_answers
from pyutils.text.tokenizer import WordPiece
from tests.support import golden
from tests.vilbert_paddle.data.lmdb_files import DIMENSION, picture, write_lmdb
from vilbert_paddle.data.classification import entailment_batch, pair_batch, vqa_batch
from vilbert_paddle.data.hard_negatives import HardNegatives
from vilbert_paddle.data.regions import RegionReader
from vilbert_paddle.data.retrieval import RetrievalCaptions, four_way_batch
from vilbert_paddle.data.vcr import vcr_batch

COUNTS = {f"i{number}": 3 + number for number in range(6)}


@pytest.fixture(scope="module")
def tokenizer():
    return WordPiece(golden("vilbert/concap").folder / "vocab.txt")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    pictures = {key: picture(count, count) for key, count in COUNTS.items()}
    annotated = {key: picture(90 + count, 2) for key, count in COUNTS.items()}
    return write_lmdb(folder / "detected", pictures), write_lmdb(folder / "annotated", annotated)


@pytest.fixture(scope="module")
def reader(store):
    return RegionReader(RegionConfig(path=str(store[0]), max_regions=20), DIMENSION)


def test_vqa(reader, tokenizer):
    answers = AnswerVocabulary(["yes", "no", "red"])
    records = [
        VQARecord(1, "i0", "the dog ?", ("yes",) * 3 + ("no",) + ("blue",) * 6),
        VQARecord(2, "i3", "the red dog near the large cow ?", ("red",) * 10),
    ]
    batch = vqa_batch(records, tokenizer, reader, 8, answers)
    np.testing.assert_allclose(batch["labels"], [[0.9, 0.3, 0], [0, 0, 1]])
    assert batch["input_ids"].shape == (2, 8) and batch["input_ids"][1, -1] == tokenizer.sep
    assert batch["region_features"].shape == (2, 7, DIMENSION) and batch["region_boxes"].shape == (2, 7, 5)
    assert batch["region_mask"].sum(axis=1).tolist() == [4, 7]
    assert "labels" not in vqa_batch(records, tokenizer, reader, 8, answers, training=False)


def test_vqa_scores_equal_the_original():
    case = golden("vilbert/evaluation")
    recorded = json.loads((case.folder / "vqa_soft_score.json").read_text())
    answers = AnswerVocabulary(sorted(recorded["ans2label"], key=recorded["ans2label"].get))
    labels = answers.fill([question["answers"] for question in recorded["questions"]], "authors")
    np.testing.assert_allclose(labels, case.inputs["vqa.target"], atol=1e-7, rtol=0)
    chosen = best_answers(case.inputs["vqa.logits"])
    scores = np.take_along_axis(labels, chosen[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(scores, case.outputs["vqa.scores"].sum(axis=1), atol=1e-7)
    assert scores.mean() == pytest.approx(recorded["mean_score"])


def test_entailment(reader, tokenizer):
    labels = ("entailment", "neutral", "contradiction", None)
    records = [EntailmentRecord(f"i{n}", "the dog", label, str(n)) for n, label in enumerate(labels)]
    batch = entailment_batch(records, tokenizer, reader, 8)
    assert batch["labels"].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_pairs_lie_as_in_the_original(reader, tokenizer):
    records = [PairRecord("a", "i0", "i5", "the dog", True), PairRecord("b", "i2", "i1", "the cow", False)]
    records.append(PairRecord("c", "i1", "i1", "the cow", None))
    batch = pair_batch(records, tokenizer, reader, 8)
    assert batch["labels"].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert batch["input_ids"].shape[0] == 3
    features = batch["region_features"]
    assert features.shape == (3, 2, 9, DIMENSION) and batch["region_mask"].sum(axis=2).tolist() == [
        [4, 9],
        [6, 5],
        [5, 5],
    ]
    end_to_end = features.reshape(3, 18, DIMENSION)
    np.testing.assert_array_equal(end_to_end[0, 9:], reader.read(["i5"]).features[0])


def tagged(*words):
    return TaggedText(
        tuple(word if isinstance(word, str) else "" for word in words),
        tuple(() if isinstance(word, str) else tuple(word) for word in words),
    )


def vcr_record(image="i0", answer=1, rationale=2):
    return VCRRecord(
        "val-0",
        image,
        tagged("the", [0], "?"),
        tuple(tagged([0], word) for word in ("red", "large", "small", "big")),
        tuple(tagged([1], "the", word) for word in ("dog", "cow", "sheep", "boat")),
        answer,
        rationale,
        ("dog", "cow"),
    )


def test_vcr_answers(reader, tokenizer):
    batch = vcr_batch([vcr_record(), vcr_record("i1", None, None)], tokenizer, reader, 60, "answer")
    assert batch["input_ids"].shape == (2, 4, 8) and batch["region_features"].shape == (2, 5, DIMENSION)
    assert " ".join(tokenizer.tokens(batch["input_ids"][0, 1])) == "[CLS] the dog ? [SEP] dog large [SEP]"
    assert batch["token_type_ids"][0, 1].tolist() == [0] * 5 + [1] * 3
    assert batch["labels"].tolist() == [1, -1]


def test_vcr_rationales(reader, tokenizer):
    batch = vcr_batch([vcr_record()], tokenizer, reader, 80, "rationale")
    text = "[CLS] the dog ? [SEP] dog large [SEP] cow the sheep [SEP]"
    assert " ".join(tokenizer.tokens(batch["input_ids"][0, 2])) == text
    assert batch["token_type_ids"][0, 2].tolist() == [0] * 8 + [1] * 4 and batch["labels"].tolist() == [2]
    other = vcr_batch([vcr_record(answer=None)], tokenizer, reader, 80, "rationale", given_answer=3)
    assert "dog big [SEP]" in " ".join(tokenizer.tokens(other["input_ids"][0, 0]))
    with pytest.raises(InputError, match="val-0 has no answer"):
        vcr_batch([vcr_record(answer=None)], tokenizer, reader, 80, "rationale")


def test_vcr_cuts_texts_and_keeps_objects(store, tokenizer):
    reader = RegionReader(
        RegionConfig(path=str(store[0]), max_regions=5), DIMENSION, annotated=RegionConfig(path=str(store[1]))
    )
    batch = vcr_batch([vcr_record("i5")], tokenizer, reader, 7, "answer")
    assert batch["input_ids"].shape == (1, 4, 7) and (batch["input_ids"][..., -1] == tokenizer.sep).all()
    own = open_regions(store[1])["i5"].features
    np.testing.assert_array_equal(batch["region_features"][0, 4:6], own)
    assert batch["region_mask"].tolist() == [[1] * 6]


def captions(images=COUNTS, each=2):
    words = ("dog", "cow", "sheep", "boat", "hat", "cake")
    records = [
        CaptionRecord(image, tuple(f"the {words[n]} {k}" for k in range(each)), n, tuple(range(n * 10, n * 10 + each)))
        for n, image in enumerate(images)
    ]
    return RecordTable(CaptionRecord, records)


def test_one_record_a_caption():
    table = RetrievalCaptions(captions())
    assert len(table) == 12
    assert [table[n].captions[0] for n in (0, 1, 11)] == ["the dog 0", "the dog 1", "the cake 1"]
    assert table[5].image == "i2" and table[5].caption_ids == (21,)
    with pytest.raises(IndexError):
        table[12]
    with pytest.raises(InputError, match="found 1"):
        RetrievalCaptions(captions(["i0"]))


@pytest.mark.parametrize("indexed", [True, False])
def test_four_ways(store, reader, tokenizer, indexed):
    table = RetrievalCaptions(captions())
    hard = HardNegatives.build(open_regions(store[0]), list(COUNTS), count=2) if indexed else None
    records = [table[n] for n in (0, 3, 10)]
    batch = four_way_batch(records, tokenizer, reader, 12, table, np.random.default_rng(0), hard)
    assert batch["input_ids"].shape[:2] == (3, 4) and batch["labels"].tolist() == [0, 0, 0]
    assert batch["region_features"].shape[0] == 6
    assert batch["image_rows"].tolist() == [[n, n, n + 3, n] for n in range(3)]
    expanded = batch["region_features"][batch["image_rows"]]
    assert expanded.shape == (3, 4, batch["region_mask"].shape[1], DIMENSION)
    for row, record in enumerate(records):
        own = reader.read([record.image])
        np.testing.assert_array_equal(expanded[row, 0, : own.mask.sum()], own.features[0])
        assert not np.array_equal(expanded[row, 2], expanded[row, 0])
        texts = [tokenizer.decode(ids) for ids in batch["input_ids"][row]]
        assert texts[0] == texts[2] == tokenizer.decode(tokenizer.encode(record.captions[0]))
        family = [tokenizer.decode(tokenizer.encode(text)) for text in table.find(record.image).captions]
        assert texts[1] not in family and texts[3] not in family
    again = four_way_batch(records, tokenizer, reader, 12, table, np.random.default_rng(0), hard)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_hard_captions_come_from_the_index(reader, tokenizer):
    table = RetrievalCaptions(captions())
    hard = HardNegatives(["i0", "i4"], np.array([[1], [0]]))
    batch = four_way_batch([table[0]] * 5, tokenizer, reader, 12, table, np.random.default_rng(1), hard)
    found = {tokenizer.decode(ids[3]) for ids in batch["input_ids"]}
    assert found <= {tokenizer.decode(tokenizer.encode(f"the hat {k}")) for k in range(2)}


def test_a_batch_of_one_without_index(reader, tokenizer):
    table = RetrievalCaptions(captions())
    batch = four_way_batch([table[0]], tokenizer, reader, 12, table, np.random.default_rng(1))
    assert "dog" not in tokenizer.decode(batch["input_ids"][0, 3])


def test_neighbours_are_the_most_similar(store, tmp_path):
    source = open_regions(store[0])
    built = HardNegatives.build(source, list(COUNTS), count=3)
    means = np.stack([source[key].features.mean(axis=0) for key in COUNTS])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similarity = means @ means.T - 9 * np.eye(6)
    assert built.neighbours.tolist() == np.argsort(-similarity, axis=1)[:, :3].tolist()
    built.save(tmp_path / "hard.npz")
    loaded = HardNegatives.load(tmp_path / "hard.npz")
    assert loaded.images == built.images and loaded.neighbours.tolist() == built.neighbours.tolist()


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_the_original_index_is_read(tmp_path, kind):
    path = tmp_path / "hard_negative.pkl"
    content = {"train_hard_pool": np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]], kind), "train_image_list": [11, 12, 13]}
    path.write_bytes(pickle.dumps(content))
    hard = HardNegatives.load(path)
    assert "COCO_train2014_000000000012" in hard and "COCO_train2014_000000000014" not in hard
    assert {hard.draw("12", np.random.default_rng(seed)) for seed in range(9)} == {"13", "11"}
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match="hard_negative.pkl: expected .*train_hard_pool"):
        HardNegatives.load(path)
    with pytest.raises(InputError, match="none.npz"):
        HardNegatives.load(tmp_path / "none.npz")


@pytest.mark.parametrize("neighbours", [np.array([[1], [2]]), np.zeros((3, 1), int), np.array([[0.5], [0.0]])])
def test_neighbours_that_do_not_fit(neighbours):
    with pytest.raises(InputError, match=r"each of 2 images .*integers from 0 to 1; found \w+ of shape"):
        HardNegatives(["a", "b"], neighbours)


def test_one_image_has_no_neighbours(store):
    with pytest.raises(InputError, match="at least two"):
        HardNegatives.build(open_regions(store[0]), ["i0"])


@pytest.mark.parametrize("pool", [[[0, 1], [1]], [0, 1], [], [["a", "b"], ["b", "a"]], [[0], [1]]])
def test_damaged_hard_negatives_are_named(tmp_path, pool):
    path = tmp_path / "hard_negative.pkl"
    path.write_bytes(pickle.dumps({"train_hard_pool": pool, "train_image_list": ["a", "b"]}))
    with pytest.raises(InputError, match="hard_negative.pkl"):
        HardNegatives.load(path)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK"])
def test_a_damaged_index_is_named(tmp_path, content):
    (tmp_path / "hard.npz").write_bytes(content)
    with pytest.raises(InputError, match="hard.npz: expected an .npz"):
        HardNegatives.load(tmp_path / "hard.npz")
