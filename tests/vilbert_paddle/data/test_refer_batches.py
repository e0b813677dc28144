"""RefCOCO batches against those that the original data set made, and what happens with damaged data."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pyutils.data.features.inputs import RegionConfig
from pyutils.errors import InputError
from pyutils.text.tokenizer import WordPiece
from tests.support import golden
from vilbert_paddle.data.refer import ReferConfig, read_refer_split, refer_batch
from vilbert_paddle.data.regions import RegionReader, region_arrays

CASE = golden("vilbert/refer_dataset")
FORMATS = ("base64", "array")
MOST, WORDS = CASE.config["max_region_num"], CASE.config["max_seq_length"]
RECORDED = {
    "features": "region_features",
    "spatials": "region_boxes",
    "image_mask": "region_mask",
    "caption": "input_ids",
    "input_mask": "text_mask",
    "segment_ids": "token_type_ids",
    "target": "labels",
}
EXACT = ("image_mask", "caption", "input_mask", "segment_ids")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer():
    return WordPiece(CASE.folder / "vocab.txt")


def refer_config(held_out: bool = True) -> ReferConfig:
    return ReferConfig(
        root=str(CASE.folder / "dataroot"), held_out_images="cache/coco_test_ids.npy" if held_out else ""
    )


def reader(
    kind: str = "array", most: int = MOST, annotated: bool = True, image_input: str = "shown", multiple: int = 1
):
    """A reader of the recorded LMDBs; `most` is the original's max_region_num."""
    regions = RegionConfig(path=str(CASE.folder / f"detected_{kind}.lmdb"), max_regions=most - 1)
    second = RegionConfig(path=str(CASE.folder / f"gt_{kind}.lmdb")) if annotated else None
    return RegionReader(regions, 2048, multiple, second, image_input=image_input)


def batch_of(split, tokenizer, own_reader, max_text=WORDS, held_out=False):
    records = list(read_refer_split(refer_config(held_out), split))
    return refer_batch(records, tokenizer, own_reader, max_text, training=split.startswith("train"))


def compare(batch, split):
    """Every recorded array of a split: the part both have is equal, the rest of the recorded one is padding."""
    compared = 0
    for recorded, name in RECORDED.items():
        if f"{split}.{recorded}" not in CASE.outputs:
            continue
        expected = CASE.outputs[f"{split}.{recorded}"]
        expected = expected[..., 0] if recorded == "target" else expected
        found = batch[name]
        assert len(found) == len(expected)
        own, rest = expected[:, : found.shape[1]], expected[:, found.shape[1] :]
        np.testing.assert_allclose(found, own, rtol=0, atol=0 if recorded in EXACT else 1e-6, err_msg=recorded)
        assert not rest.any()
        compared += 1
    return compared


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("split", "arrays"), [("train", 7), ("val", 7), ("testA", 2), ("testB", 2), ("mteval", 2)])
def test_batches_equal_the_original(kind, split, arrays, tokenizer):
    batch = batch_of(split, tokenizer, reader(kind), held_out=split == "mteval")
    assert compare(batch, split) == arrays
    assert {name: array.dtype for name, array in batch.items()} == {
        **dict.fromkeys(("input_ids", "text_mask", "token_type_ids", "region_mask", "annotated_cut"), np.int64),
        **dict.fromkeys(("region_features", "region_boxes", "labels"), np.float32),
    }


def test_padding_is_that_of_the_batch_itself(tokenizer):
    batch = batch_of("val", tokenizer, reader())
    most = int(CASE.outputs["val.image_mask"].sum(axis=1).max())
    words = int(CASE.outputs["val.input_mask"].sum(axis=1).max())
    assert batch["region_features"].shape[1] == batch["region_mask"].sum(axis=1).max() == most
    assert batch["input_ids"].shape[1] == batch["text_mask"].sum(axis=1).max() == words
    rounded = batch_of("val", tokenizer, reader(multiple=8))
    assert rounded["region_features"].shape[1] == 8 and rounded["input_ids"].shape[1] == -(-words // 8) * 8
    short = {"input_ids": words, "text_mask": words, "token_type_ids": words}
    compare({name: rounded[name][:, : short.get(name, most)] for name in RECORDED.values()}, "val")


def test_splits_are_those_of_the_original():
    entries = json.loads((CASE.folder / "entries.json").read_text())
    for split, recorded in entries.items():
        held_out = split in ("train_cleaned", "mteval")
        records = read_refer_split(refer_config(held_out), "train" if split == "train_cleaned" else split)
        assert [(r.sentence_id, r.ref_id, r.image_id, r.expression, list(r.box)) for r in records] == [
            (e["sent_id"], e["ref_id"], e["image_id"], e["caption"], e["refBox"]) for e in recorded
        ]


@pytest.mark.parametrize("kind", FORMATS)
def test_reading_equals_the_original_reader(kind):
    outputs = CASE.outputs
    for image in CASE.config["image_ids"]:
        for source, own in (("detected", reader(kind, most=101)), ("gt", None)):
            if own is None:
                own = RegionReader(RegionConfig(path=str(CASE.folder / f"gt_{kind}.lmdb")), 2048)
            found = region_arrays(own.read([str(image)]))
            expected = outputs[f"reader_{source}.{image}.features"]
            np.testing.assert_allclose(found["region_features"][0], expected, rtol=0, atol=1e-6)
            np.testing.assert_allclose(
                found["region_boxes"][0], outputs[f"reader_{source}.{image}.location"], rtol=0, atol=1e-6
            )


def test_annotated_boxes_that_find_no_room_are_counted(tokenizer):
    batch = batch_of("train", tokenizer, reader())
    roomy = batch_of("train", tokenizer, reader(most=101))
    counts = CASE.outputs
    longest = max(
        int(counts[f"reader_detected.{i}.num_boxes"] + counts[f"reader_gt.{i}.num_boxes"]) - 1
        for i in set(counts["train.image_id"].tolist())
    )
    assert roomy["annotated_cut"].sum() == 0 and roomy["region_mask"].sum(axis=1).max() == longest
    gone = roomy["region_mask"].sum(axis=1) - batch["region_mask"].sum(axis=1)
    assert batch["annotated_cut"].tolist() == gone.tolist() and gone.max() == longest - MOST


def test_annotated_regions_can_be_kept_instead_of_detected_ones():
    own, counts = reader(), CASE.outputs
    image = max(CASE.config["image_ids"], key=lambda i: int(counts[f"reader_detected.{i}.num_boxes"]))
    second = int(counts[f"reader_gt.{image}.num_boxes"]) - 1
    kept, cut = own.read_mixed([str(image)], keep="annotated")
    everything, _ = reader(most=101).read_mixed([str(image)])
    assert everything.mask.sum() > MOST
    assert kept.mask.sum() == MOST and cut.tolist() == [0]
    np.testing.assert_array_equal(kept.features[0, -second:], everything.features[0, -second:])
    np.testing.assert_array_equal(kept.features[0, :-second], everything.features[0, : MOST - second])
    few, cut = reader(most=3).read_mixed([str(image)], keep="annotated")
    assert cut.tolist() == [second - 2] and few.mask.sum() == 3
    np.testing.assert_array_equal(few.features[0, 1:], kept.features[0, -second:][:2])


def test_a_longer_expression_keeps_sep_and_one_without_words_is_two_marks(tokenizer):
    record = read_refer_split(refer_config(), "val")[1]
    texts = [record, replace(record, expression="  "), replace(record, expression="")]
    batch = refer_batch(texts, tokenizer, reader(), 6, training=False)
    assert batch["input_ids"][0, -1] == tokenizer.sep and batch["text_mask"][0].sum() == 6
    assert batch["input_ids"][1:].tolist() == [[tokenizer.cls, tokenizer.sep, 0, 0, 0, 0]] * 2


def test_withheld_pictures_keep_their_boxes(tokenizer):
    shown, blind = (batch_of("val", tokenizer, reader(image_input=kind)) for kind in ("shown", "withheld"))
    assert not blind["region_features"].any()
    for name in ("region_boxes", "region_mask", "labels"):
        np.testing.assert_array_equal(blind[name], shown[name])
    trained = batch_of("train", tokenizer, reader(image_input="withheld"))
    assert not trained["region_features"].any() and trained["labels"].max() == 1


def test_a_split_that_does_not_exist():
    from pyutils.data.refer import REFER

    order = list(
        dict.fromkeys(ref["split"] for ref in REFER(str(CASE.folder / "dataroot"), "refcoco+", "unc").Refs.values())
    )
    with pytest.raises(InputError, match=rf"no split 'tset'; it has {', '.join(order)}") as raised:
        read_refer_split(refer_config(), "tset")
    assert "refs(unc).p" in str(raised.value)
    with pytest.raises(InputError, match="needs refer.held_out_images"):
        read_refer_split(refer_config(held_out=False), "mteval")


def test_held_out_images_must_be_a_list_of_ids(tmp_path):
    shutil.copytree(CASE.folder / "dataroot", tmp_path / "root")
    config = ReferConfig(root=str(tmp_path / "root"), held_out_images="ids.npy")
    with pytest.raises(InputError, match=r"ids\.npy"):
        read_refer_split(config, "train")
    np.save(tmp_path / "root" / "ids.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match="a list of image ids.*float64"):
        read_refer_split(config, "train")


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    shutil.copytree(CASE.folder / "dataroot", tmp_path / "root")
    target = tmp_path / "ran"

    class Code:
        def __reduce__(self):
            return (open, (str(target), "w"))

    path = tmp_path / "root" / "refcoco+" / "refs(unc).p"
    path.chmod(0o644)
    path.write_bytes(pickle.dumps([Code()]))
    with pytest.raises(InputError, match=r"refs\(unc\)\.p"):
        read_refer_split(ReferConfig(root=str(tmp_path / "root")), "train")
    assert not target.exists()
