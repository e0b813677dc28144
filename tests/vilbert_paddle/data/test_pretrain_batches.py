"""Masking of words and regions against what the original loader did with the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from pyutils.data.features import RegionBatch, RegionFeatures, normalise_boxes
from pyutils.data.features.inputs import RegionConfig
from pyutils.data.pairs import Captions, Pair, open_pairs, write_tar_shards
from pyutils.errors import InputError
from pyutils.text.masking import IGNORED, MaskDraws
from pyutils.text.tokenizer import WordPiece
from tests.support import golden
from tests.vilbert_paddle.data.lmdb_files import DIMENSION, picture, write_lmdb
from vilbert_paddle.data.masking import global_region, mask_regions
from vilbert_paddle.data.pretrain import (
    caption_of,
    keep_aligned,
    masked_batch,
    pretrain_batch,
    replace_captions,
)
from vilbert_paddle.data.regions import RegionReader, held_regions, region_arrays
from vilbert_paddle.data.texts import text_batch

CASE = golden("vilbert/concap")
RECORDED = CASE.json("draws.json")
# The original numbers captions by id; the recorded file has its ids in alphabetical order.
POOL = [caption for _, caption in sorted(CASE.json("caption_train.json").items(), key=lambda item: int(item[0]))]
INPUTS, OUTPUTS = CASE.inputs, CASE.outputs
SOURCE = {"objective2": "sample3", "features_target": "sample0", "visualization": "sample0"}
LENGTH = CASE.config["seq_len"]


@pytest.fixture(scope="module")
def tokenizer():
    return WordPiece(CASE.folder / "vocab.txt")


def pictures_of(names):
    """Recorded regions behind an empty global region."""
    sources = [SOURCE.get(name, name) for name in names]
    longest = max(len(INPUTS[f"{source}.boxes"]) for source in sources)

    def stacked(field):
        out = np.zeros((len(sources), 1 + longest, INPUTS[f"{sources[0]}.{field}"].shape[1]), np.float32)
        for row, source in zip(out, sources):
            row[1 : 1 + len(INPUTS[f"{source}.{field}"])] = INPUTS[f"{source}.{field}"]
        return out

    counts = np.array([1 + len(INPUTS[f"{source}.boxes"]) for source in sources])
    sizes = np.array([[RECORDED[name]["image_w"], RECORDED[name]["image_h"]] for name in names])
    pixels = stacked("boxes")
    pixels[:, 0, 2:] = sizes
    mask = (np.arange(1 + longest) < counts[:, None]).astype(np.int64)
    return RegionBatch(stacked("features"), mask, pixels, sizes, stacked("target"))


class Replay:
    """The recorded draws of one pair, in the original's order."""

    def __init__(self, name, tokenizer, regions):
        entry = RECORDED[name]
        self.left = [tuple(draw) for draw in entry["draws"]]
        self.caption, self.replaced, self.chosen = entry["caption"], False, 0
        if entry["objective"] != 2:
            self.replaced = self.next("random") > 0.5
            self.chosen = self.next("randint") if self.replaced else 0
        self.text = replace_captions([self.caption], POOL, np.array([self.replaced]), np.array([self.chosen]))[0]
        self.chance, self.words = [], []
        for _ in range(min(len(tokenizer.encode(self.text)), LENGTH - 2)):
            self.chance.append(self.next("random"))
            replaced_by_word = 0.8 <= self.chance[-1] / 0.15 < 0.9
            self.words.append(self.next("np_randint") if replaced_by_word else 0)
        self.regions = [self.next("random") for _ in range(regions)]
        assert not self.left

    def next(self, kind):
        found, _, _, value = self.left.pop(0)
        assert found == kind
        return value


def replayed(names, tokenizer, target="classes"):
    """The batch of recorded pairs, with `covered` from the same draws."""
    pictures = pictures_of(names)
    counts = pictures.mask[:, 1:].sum(axis=1)
    replays = [Replay(name, tokenizer, count) for name, count in zip(names, counts)]
    chance = np.ones(pictures.mask[:, 1:].shape)
    for row, replay in zip(chance, replays):
        row[: len(replay.regions)] = replay.regions
    words = MaskDraws(
        np.array([value for replay in replays for value in replay.chance]),
        np.array([value for replay in replays for value in replay.words], dtype=np.int64),
    )
    text = text_batch(tokenizer, [replay.text for replay in replays], LENGTH)
    hidden = mask_regions(chance, pictures.boxes[:, 1:], pictures.mask[:, 1:])
    batch = masked_batch(text, pictures, tokenizer, words, chance, target)
    batch["replaced"] = np.array([replay.replaced for replay in replays], dtype=np.int64)
    return batch, hidden.covered


def same_start(found, expected, padding=0):
    """The recorded array is ours, followed by padding."""
    np.testing.assert_array_equal(found, expected[: len(found)])
    assert (expected[len(found) :] == padding).all()


@pytest.mark.parametrize(
    "name", [*(f"sample{number}" for number in range(CASE.config["samples"])), "objective2", "short"]
)
def test_each_recorded_pair(name, tokenizer):
    batch, covered = replayed([name], tokenizer)
    expected = {key.split(".")[1]: value for key, value in OUTPUTS.items() if key.startswith(name + ".")}
    same_start(batch["input_ids"][0], expected["input_ids"])
    same_start(batch["text_mask"][0], expected["input_mask"])
    same_start(batch["token_type_ids"][0], expected["segment_ids"])
    labels = batch["word_labels"][0]
    same_start(np.where(labels == IGNORED, -1, labels), expected["lm_label_ids"], -1)
    assert batch["replaced"][0] == expected["is_next"]
    regions = len(batch["region_labels"][0])
    same_start(batch["region_features"][0, 1:], expected["image_feat"])
    same_start(batch["region_mask"][0, 1:], expected["image_mask"])
    same_start(batch["region_targets"][0], expected["image_target"])
    same_start(np.where(batch["region_labels"][0] == 1, 1, -1), expected["image_label"], -1)
    same_start(covered[0], expected["masked_label"])
    np.testing.assert_allclose(batch["region_boxes"][0, 1:], expected["image_loc"][:regions], atol=1e-6, rtol=0)
    assert not expected["image_loc"][regions:].any()


def test_recorded_pair_without_masking(tokenizer):
    """The original's flag `visualization` ignores the draws of words and regions."""
    pictures, caption = pictures_of(["visualization"]), RECORDED["visualization"]["caption"]
    count, chance = len(RECORDED["visualization"]["caption_ids"]), np.ones(pictures.mask[:, 1:].shape)
    words = MaskDraws(np.ones(count), np.zeros(count, dtype=np.int64))
    text = text_batch(tokenizer, [caption], LENGTH)
    batch = masked_batch(text, pictures, tokenizer, words, chance, "classes")
    covered = mask_regions(chance, pictures.boxes[:, 1:], pictures.mask[:, 1:]).covered
    expected = {key.split(".")[1]: value for key, value in OUTPUTS.items() if key.startswith("visualization.")}
    same_start(batch["input_ids"][0], expected["input_ids"])
    labels = batch["word_labels"][0]
    same_start(np.where(labels == IGNORED, -1, labels), expected["lm_label_ids"], -1)
    same_start(np.where(batch["region_labels"][0] == 1, 1, -1), expected["image_label"], -1)
    same_start(covered[0], expected["masked_label"])
    assert expected["is_next"] == (RECORDED["visualization"]["draws"][0][3] > 0.5)


def test_targets_may_be_the_features(tokenizer):
    batch, _ = replayed(["features_target"], tokenizer, "features")
    np.testing.assert_array_equal(batch["region_targets"][0], OUTPUTS["features_target.image_target"])
    np.testing.assert_array_equal(batch["region_features"][0, 1:], OUTPUTS["features_target.image_feat"])
    labels = np.where(batch["region_labels"][0] == 1, 1, -1)
    np.testing.assert_array_equal(labels, OUTPUTS["features_target.image_label"])


def test_the_batch_with_its_global_regions_and_the_objective_rule(tokenizer):
    batch, _ = replayed([f"sample{number}" for number in range(CASE.config["samples"])], tokenizer)
    np.testing.assert_allclose(batch["region_features"], OUTPUTS["batch.image_feat"], atol=2e-6, rtol=1e-6)
    np.testing.assert_allclose(batch["region_boxes"], OUTPUTS["batch.image_loc"], atol=1e-6, rtol=0)
    np.testing.assert_array_equal(batch["region_mask"], OUTPUTS["batch.image_mask"])
    keep_aligned(batch)
    labels = np.where(batch["region_labels"] == 1, 1, -1)
    np.testing.assert_array_equal(labels, OUTPUTS["objective1.image_label"])
    words = np.where(batch["word_labels"] == IGNORED, -1, batch["word_labels"])
    for found, expected in zip(words, OUTPUTS["objective1.lm_label_ids"]):
        same_start(found, expected, -1)


def test_global_feature_of_the_recorded_training_curve():
    case = golden("vilbert/curve/pretrain")
    step, inputs = 0, case.inputs
    features = np.where(inputs["region_zeroed"][step][..., None], 0, inputs["features"][inputs["batch"][step]])
    mask = np.ones(features.shape[:2], np.int64)
    found = global_region(features, mask, inputs["masked_label"][step])
    np.testing.assert_allclose(found, inputs["global_feat"][step], atol=2e-6, rtol=1e-5)


def test_padding_changes_nothing():
    rng = np.random.default_rng(0)
    pixels = np.sort(rng.random((2, 5, 2, 2)) * 50, axis=2).reshape(2, 5, 4)
    chance, mask = rng.random((2, 5)) * 0.3, np.ones((2, 5), np.int64)
    short = mask_regions(chance, pixels, mask)
    wide = [(0, 0), (0, 3)]
    padded = mask_regions(np.pad(chance, wide), np.pad(pixels, [*wide, (0, 0)]), np.pad(mask, wide))
    for name in ("chosen", "hidden", "covered"):
        found = getattr(padded, name)
        np.testing.assert_array_equal(found[:, :5], getattr(short, name))
        assert not found[:, 5:].any()


def test_a_row_without_chosen_regions_covers_nothing():
    found = mask_regions(np.ones((1, 2)), np.zeros((1, 2, 4)), np.ones((1, 2), np.int64))
    assert not found.chosen.any() and not found.covered.any()
    features = np.array([[[2.0], [4.0]]], np.float32)
    assert global_region(features, np.ones((1, 2)), found.covered).tolist() == [[3.0]]


@pytest.fixture
def reader(tmp_path):
    pictures = {f"p{number}": picture(number, 20 + number, classes=6) for number in range(30)}
    path = write_lmdb(tmp_path / "pairs", pictures)
    return RegionReader(RegionConfig(path=str(path), max_regions=36), DIMENSION, class_probs=True)


def test_shares_and_reproducibility(reader, tokenizer):
    keys = [f"p{number}" for number in range(30)] * 20
    captions = [POOL[number % len(POOL)] for number in range(len(keys))]

    def made(seed, objective="all"):
        return pretrain_batch(captions, reader.read(keys), tokenizer, 36, np.random.default_rng(seed), POOL, objective)

    batch = made(1)
    again, other = made(1), made(2)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)
    assert not np.array_equal(batch["region_labels"], other["region_labels"])
    real = batch["region_mask"][:, 1:].astype(bool)
    assert batch["region_labels"][real].mean() == pytest.approx(0.15, abs=0.01)
    assert not batch["region_labels"][~real].any()
    gone = ~batch["region_features"][:, 1:].any(axis=-1) & real
    assert gone.sum() / batch["region_labels"].sum() == pytest.approx(0.9, abs=0.02)
    assert batch["replaced"].mean() == pytest.approx(0.5, abs=0.06)
    aligned = made(1, "aligned_only")
    wrong = batch["replaced"] == 1
    assert (aligned["word_labels"][wrong] == IGNORED).all() and not aligned["region_labels"][wrong].any()
    np.testing.assert_array_equal(aligned["region_labels"][~wrong], batch["region_labels"][~wrong])
    np.testing.assert_array_equal(aligned["region_features"], batch["region_features"])
    assert not made(1, "no_alignment")["replaced"].any()


def test_features_as_targets_need_no_class_distributions(tokenizer, tmp_path):
    rng = np.random.default_rng(0)
    plain = RegionReader(RegionConfig(path=str(write_lmdb(tmp_path / "x", {"p1": picture(1, 2)}))), DIMENSION)
    batch = pretrain_batch(["a"], plain.read(["p1"]), tokenizer, 12, rng, target="features")
    assert batch["region_targets"].shape == (1, 2, DIMENSION) and not batch["replaced"].any()


def test_boxes_are_those_that_were_read():
    found = pictures_of(["short"])
    expected = normalise_boxes(found.boxes, found.sizes)
    np.testing.assert_array_equal(region_arrays(found)["region_boxes"], expected)


def test_one_caption_of_several():
    assert caption_of(("a", "b"), None) == "a"
    assert {caption_of(("a", "b"), np.random.default_rng(seed)) for seed in range(9)} == {"a", "b"}


def test_pairs_that_bring_their_regions(reader, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keys = ["p3", "p0", "p3"]
    source = reader.inputs.source
    made = [Pair(f"{n}-{key}", (POOL[n],), regions=source[key]) for n, key in enumerate(keys)]
    write_tar_shards(tmp_path / "shards", made, dtype="float32")
    pairs = open_pairs(tmp_path / "shards")
    records = list(pairs)
    held = held_regions([pair.regions for pair in records], keys, 36, class_probs=True)
    stored = reader.read(keys)
    for name in ("features", "mask", "boxes", "sizes", "class_probs"):
        np.testing.assert_array_equal(getattr(held, name), getattr(stored, name))
    captions = [pair.captions[0] for pair in records]
    batch = pretrain_batch(captions, held, tokenizer, 36, np.random.default_rng(0), Captions(pairs))
    assert batch["region_features"].shape == (3, 24, DIMENSION)


def test_pairs_without_regions_or_class_distributions_are_named():
    with pytest.raises(InputError, match="pair 'b' has no regions"):
        held_regions([pictures_regions(), None], ["a", "b"], 36)
    with pytest.raises(InputError, match="class probabilities"):
        held_regions([pictures_regions()], ["a"], 36, class_probs=True)


def pictures_regions():
    return RegionFeatures(np.zeros((1, 4), np.float32), np.array([[0, 0, 1, 1]], np.float32), 5, 5)
