"""Every published format, against recorded files and what the original readers make of them."""

from __future__ import annotations

import base64
import io
import multiprocessing
import pickle
import shutil

import numpy as np
import pytest

from pyutils.data.features import open_regions
from pyutils.errors import InputError
from tests.support import golden

VISUALBERT = golden("visualbert/data_formats")
REFER = golden("vilbert/refer_dataset")
FIX100 = VISUALBERT.folder / "X_COCO/data/detectron_fix_100"
FIX144 = VISUALBERT.folder / "X_COCO/data/detectron_fix_144"
NLVR = VISUALBERT.folder / "X_NLVR/data/detectron_fix_144"
IMAGES = [str(image) for image in REFER.config["image_ids"]]
ONE, LAST = IMAGES[0], IMAGES[-1]
LMDBS = ("detected_base64", "detected_array", "gt_base64", "gt_array")


@pytest.mark.parametrize("name", LMDBS)
def test_lmdb_gives_what_the_original_reader_gives(name):
    source = open_regions(REFER.folder / f"{name}.lmdb")
    part = f"reader_{name.split('_')[0]}"
    keys = list(source)
    assert keys == IMAGES
    batch = source.read_batch(keys, global_region=True)
    located = batch.locations()
    for row, key in enumerate(keys):
        features = REFER.outputs[f"{part}.{key}.features"]
        count = int(REFER.outputs[f"{part}.{key}.num_boxes"])
        assert batch.mask[row].sum() == count == len(features)
        np.testing.assert_array_equal(batch.features[row, :count], features)
        assert not batch.features[row, count:].any() and not located[row, count:].any()
        np.testing.assert_array_equal(located[row, :count], REFER.outputs[f"{part}.{key}.location"].astype(np.float32))
        np.testing.assert_array_equal(
            batch.boxes[row, :count], REFER.outputs[f"{part}.{key}.location_ori"][:, :4].astype(np.float32)
        )


def test_detectron_fix_100_is_what_mmf_reads():
    source = open_regions(FIX100)
    expected = VISUALBERT.arrays("expected/mmf_reader.npz")
    assert len(source) == len([f for f in FIX100.rglob("*.npy") if "_info" not in f.name]) and source.format == "folder"
    first, second = list(dict.fromkeys(image_names("imdb_train2014")))[:2]
    for call, key in (("npy0", first), ("npy1", second)):
        own = source[key]
        assert len(own) == int(expected[f"{call}.num_boxes"])
        np.testing.assert_array_equal(expected[f"{call}.features"][: len(own)], own.features)
        np.testing.assert_array_equal(expected[f"{call}.bbox"], own.boxes)
        np.testing.assert_array_equal(expected[f"{call}.cls_prob"], own.class_probs)
        assert (own.width, own.height) == (expected[f"{call}.image_width"], expected[f"{call}.image_height"])
    probs = source.read_batch(
        [str(int(name[-12:])) for name in (first, second)], class_probs=True, global_region=True
    ).class_probs
    assert probs.shape == (2, 101, 4) and not probs[:, 0].any() and not probs[0, 88:].any()
    np.testing.assert_array_equal(probs[0, 1:88], expected["npy0.cls_prob"])


def test_a_dict_in_an_npy_file(tmp_path):
    shutil.copy(VISUALBERT.folder / "mmf/dict_features.npy", tmp_path / "picture.npy")
    expected = VISUALBERT.arrays("expected/mmf_reader.npz")
    own = open_regions(tmp_path)["picture.jpg"]
    assert len(own) == int(expected["dict.num_boxes"])
    np.testing.assert_array_equal(expected["dict.features"][: len(own)], own.features)
    np.testing.assert_array_equal(expected["dict.bbox"][: len(own)], own.boxes)
    np.testing.assert_array_equal(expected["dict.cls_prob"][: len(own)], own.class_probs)


def row_sums(batch) -> np.ndarray:
    return batch.features.astype(np.float64).sum(axis=2)


def test_vqa_features_of_the_authors_loader():
    records = VISUALBERT.json("expected/vqa_finetune_train.json")
    expected = VISUALBERT.arrays("expected/vqa_finetune_train_batch.npz")
    keys = image_names("imdb_train2014", "imdb_val2014")
    assert len(keys) == len(expected["image_feat_variable"]) and records
    batch = open_regions(FIX100).read_batch(keys)
    np.testing.assert_array_equal(batch.features, expected["image_feat_variable"])
    np.testing.assert_array_equal(batch.mask, expected["image_mask"])
    np.testing.assert_allclose(row_sums(batch), expected["image_feat_row_sums_f64"], rtol=0, atol=1e-12)


def image_names(*files: str) -> list[str]:
    found = []
    for file in files:
        content = VISUALBERT.json(f"expected/{file}.json")
        entries = content if isinstance(content, list) else content["entries"]
        found += [entry["image_name"] for entry in entries if "image_name" in entry]
    return found


def test_nlvr2_pairs_of_the_authors_loader():
    expected = VISUALBERT.arrays("expected/nlvr_finetune_dev_batch.npz")["image_feat_variable"]
    source = open_regions(NLVR)
    images = [
        name for sample in VISUALBERT.json("expected/nlvr_finetune_dev.json")["samples"] for name in sample["images"]
    ]
    identifiers = [images[0], images[3], images[-2].removesuffix(".png")]
    batch = source.read_batch(identifiers)
    assert batch.features.shape == (3, 144, expected.shape[-1])
    halves = expected.reshape(-1, 144, expected.shape[-1])
    for features in batch.features:
        assert any(np.array_equal(features, half) for half in halves)


@pytest.mark.parametrize("split", ["train", "val"])
def test_th_files_hold_the_regions_of_the_folders(split):
    container = open_regions(VISUALBERT.folder / f"X_COCO/coco_features_{split}_150.th")
    folder = open_regions(VISUALBERT.folder / f"X_COCO/data/detectron_fix_144/{split}2014")
    assert len(container) == len(folder)
    for key in folder:
        np.testing.assert_array_equal(container[key].features, folder[key].features)
        np.testing.assert_array_equal(container[key].boxes, folder[key].boxes)


def test_a_damaged_th_file_is_named(tmp_path):
    content = (VISUALBERT.folder / "X_COCO/coco_features_val_150.th").read_bytes()
    (tmp_path / "x.th").write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"x\.th: (cut short|damaged)"):
        len(open_regions(tmp_path / "x.th"))


def as_text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, np.float32).tobytes()).decode()


def reference() -> dict:
    source = open_regions(REFER.folder / "detected_array.lmdb")
    return {key: source[key] for key in source}


def assert_holds_reference(source, sizes: bool = True) -> None:
    assert sorted(source) == sorted(reference())
    for key, expected in reference().items():
        own = source[key]
        np.testing.assert_array_equal(own.features, expected.features)
        np.testing.assert_array_equal(own.boxes, expected.boxes)
        assert not sizes or (own.width, own.height) == (expected.width, expected.height)


@pytest.mark.parametrize("kind", ["bottom_up", "lxmert"])
def test_tsv(tmp_path, kind):
    file = tmp_path / "trainval.tsv"
    with file.open("w") as stream:
        for key, own in reference().items():
            tail = [str(len(own)), as_text(own.boxes), as_text(own.features)]
            head = [key, str(own.width), str(own.height)]
            if kind == "lxmert":
                head = [key, str(own.height), str(own.width), *["AAAA"] * 4]
            stream.write("\t".join([*head, *tail]) + "\n")
    assert_holds_reference(open_regions(file))
    assert (tmp_path / "trainval.tsv.index.npz").is_file()
    assert_holds_reference(open_regions(file))
    with file.open("a") as stream:
        stream.write("9\t10\t10\t3\tAAAA\tAAAA\n")
    with pytest.raises(InputError, match=r"trainval\.tsv, image '9'"):
        open_regions(file)["9"]


@pytest.mark.parametrize("kind", ["adaptive", "fixed", "by_key", "group"])
def test_hdf5(tmp_path, kind):
    h5py = pytest.importorskip("h5py")
    items = reference()
    file = tmp_path / "train36.hdf5"
    if kind == "fixed":
        counts = [len(own) for own in items.values()]
        items = {key: items[key] for key in items if len(items[key]) == max(counts, key=counts.count)}
    with h5py.File(file, "w") as out:
        if kind in ("adaptive", "fixed"):
            stack = np.concatenate if kind == "adaptive" else np.stack
            out["image_features"] = stack([own.features for own in items.values()])
            out["image_bb"] = stack([own.boxes for own in items.values()])
            table = {int(key): row for row, key in enumerate(items)}
            (tmp_path / "train36_imgid2idx.pkl").write_bytes(pickle.dumps(table, protocol=2))
        if kind == "adaptive":
            ends = np.cumsum([len(own) for own in items.values()])
            out["pos_boxes"] = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
        for key, own in items.items() if kind in ("by_key", "group") else ():
            names = (f"features/{key}", f"boxes/{key}") if kind == "by_key" else (f"{key}/features", f"{key}/boxes")
            out[names[0]], out[names[1]] = own.features, own.boxes
            out[names[0]].attrs.update(width=own.width, height=own.height)
    source = open_regions(file)
    if kind != "fixed":
        assert_holds_reference(source, sizes=kind in ("by_key", "group"))
    for key, own in items.items():
        np.testing.assert_array_equal(source[key].features, own.features)
    copied = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copied.read_batch([key]).features[0], items[key].features)


@pytest.mark.parametrize("kind", ["link", "external", "virtual", "group link"])
@pytest.mark.parametrize("layout", ["adaptive", "by_key", "group"])
def test_hdf5_brings_no_other_file_into_a_store(tmp_path, kind, layout):
    h5py = pytest.importorskip("h5py")
    features = np.arange(12, dtype=np.float32).reshape(3, 4)
    (tmp_path / "secret.bin").write_bytes(features.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["group/secret"] = other["secret"] = features
        other["group/features"] = other["group/7"] = features
    name = {"adaptive": "image_features", "by_key": "features/7", "group": "7/features"}[layout]
    with h5py.File(tmp_path / "store.h5", "w") as out:
        out[{"adaptive": "image_bb", "by_key": "boxes/7", "group": "7/boxes"}[layout]] = features
        out["pos_boxes"], out["image_ids"] = np.array([[0, 3]]), np.array([7])
        if kind == "link":
            out[name] = h5py.ExternalLink("other.h5", "/secret")
        elif kind == "group link":
            group = name.split("/")[0]
            if group in out:
                del out[group]
            out[group] = h5py.ExternalLink("other.h5", "/group")
        elif kind == "external":
            external = [(str(tmp_path / "secret.bin"), 0, features.nbytes)]
            out.create_dataset(name, features.shape, features.dtype, external=external)
        else:
            virtual = h5py.VirtualLayout(features.shape, features.dtype)
            virtual[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", features.shape)
            out.create_virtual_dataset(name, virtual)
    with pytest.raises(InputError, match="store.h5: .* refers to another file"):
        open_regions(tmp_path / "store.h5")["7"]


def test_npz_files_that_would_hurt_are_refused(tmp_path):
    features = np.ones((3, 8), np.float32)
    np.savez(tmp_path / "1.npz", features=features)
    whole = (tmp_path / "1.npz").read_bytes()
    source = open_regions(tmp_path)
    assert np.array_equal(source["1"].features, features)

    def refused(content: bytes, problem: str) -> None:
        (tmp_path / "1.npz").write_bytes(content)
        with pytest.raises(InputError, match=problem):
            open_regions(tmp_path)["1"]

    stream = io.BytesIO()
    np.save(stream, features)
    refused(stream.getvalue(), "a single array")
    stream = io.BytesIO()
    np.savez_compressed(stream, features=np.zeros((70_000, 1_000), np.float32))
    assert len(stream.getvalue()) < 1 << 19
    refused(stream.getvalue(), "280,000,128 bytes|280,000,[0-9]{3} bytes")
    encrypted = bytearray(whole)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.find(mark) + offset] |= 1
    refused(encrypted, "encrypted")
    for method in (9, 14, 99):
        other = bytearray(whole)
        for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
            other[other.find(mark) + offset] = method
        refused(other, "not an intact .npz")
    for header in (b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,)}", b"{" * 64, b"x(", b"[]"):
        start = whole.find(b"{'descr'")
        length = int.from_bytes(whole[start - 2 : start], "little")
        refused(
            whole[:start] + header.ljust(length - 1)[: length - 1] + b"\n" + whole[start + length :], "not an intact"
        )


def test_truncated_lmdb_is_named_not_fatal(tmp_path):
    shutil.copytree(REFER.folder / "detected_base64.lmdb", tmp_path / "cut.lmdb")
    data = tmp_path / "cut.lmdb/data.mdb"
    with data.open("r+b") as stream:
        stream.truncate(200_000)
    with pytest.raises(InputError, match=r"cut\.lmdb is truncated: 200000 bytes, expected at least \d+"):
        open_regions(tmp_path / "cut.lmdb").read_batch([ONE])
    data.write_bytes(b"")
    with pytest.raises(InputError, match=r"cut\.lmdb"):
        open_regions(tmp_path / "cut.lmdb").read_batch([ONE])


def broken_lmdb(path, **changes):
    lmdb = pytest.importorskip("lmdb")
    own = reference()[ONE]
    item = {
        "image_id": ONE,
        "image_w": "620",
        "image_h": "467",
        "num_boxes": str(len(own)),
        "boxes": as_text(own.boxes),
        "features": as_text(own.features),
    }
    environment = lmdb.open(str(path), map_size=1 << 24)
    with environment.begin(write=True) as writing:
        writing.put(ONE.encode(), pickle.dumps({**item, **changes}, protocol=2))
    environment.close()
    return open_regions(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_boxes": "5"}, r"\(5, -1\)"),
        ({"num_boxes": "many"}, "num_boxes.*many"),
        ({"features": "no base64!" * 800}, f"image '{ONE}'"),
        ({"boxes": as_text(np.zeros((2, 4)))}, rf"boxes .* of {len(reference()[ONE])} regions, found .*\(2, 4\)"),
        ({"image_w": "wide"}, "image_w"),
    ],
)
def test_damaged_lmdb_values_are_named(tmp_path, changes, message):
    source = broken_lmdb(tmp_path / "bad.lmdb", **changes)
    with pytest.raises(InputError, match=message) as caught:
        source.read_batch([ONE])
    assert "bad.lmdb" in str(caught.value) and ONE in str(caught.value)


@pytest.mark.parametrize("order", ["usual", "features_first"])
@pytest.mark.parametrize("text", [str, bytes])
@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_lmdb_values_of_any_age(tmp_path, order, text, protocol):
    lmdb = pytest.importorskip("lmdb")
    own = reference()[ONE]
    item = {
        "num_boxes": len(own),
        "image_w": 620,
        "image_h": 467,
        "boxes": as_text(own.boxes),
        "features": as_text(own.features),
    }
    if text is bytes:
        item = {name: value.encode() if isinstance(value, str) else value for name, value in item.items()}
    names = list(item) if order == "usual" else ["features", "boxes", "image_h", "image_w", "num_boxes"]
    environment = lmdb.open(str(tmp_path), map_size=1 << 24)
    with environment.begin(write=True) as writing:
        writing.put(
            f"COCO_val2014_{int(ONE):012d}".encode(), pickle.dumps({name: item[name] for name in names}, protocol)
        )
    environment.close()
    batch = open_regions(tmp_path).read_batch([int(ONE)])
    np.testing.assert_array_equal(batch.features[0], own.features)
    np.testing.assert_array_equal(batch.boxes[0], own.boxes)
    assert batch.sizes.tolist() == [[620, 467]]


def test_damaged_arrays_are_named(tmp_path):
    shutil.copytree(FIX144 / "val2014", tmp_path / "npz")
    first = sorted((tmp_path / "npz").iterdir())[0]
    first.write_bytes(first.read_bytes()[:3000])
    with pytest.raises(InputError, match=rf"{first.stem.split('.')[0]}\.jpg\.npz is not .*\.npz file"):
        open_regions(tmp_path / "npz")[first.stem.split(".")[0]]
    np.save(tmp_path / "flat.npy", np.zeros(5, np.float32))
    with pytest.raises(InputError, match=r"flat\.npy: expected features \[regions, columns\].*\(5,\)"):
        open_regions(tmp_path)["flat"]
    np.savez(tmp_path / "other.npz", x1=np.zeros(3))
    with pytest.raises(InputError, match=r"other\.npz: expected an array box_features or features, found x1"):
        open_regions(tmp_path)["other"]


def _sum_in_child(source, results):
    results.put(float(source.read_batch([ONE, LAST]).features.sum()))


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("name", ["detected_base64.lmdb", "packed"])
def test_sources_work_in_other_processes(tmp_path, start, name):
    from pyutils.data.features.operations import convert_features

    source = open_regions(REFER.folder / "detected_base64.lmdb")
    if name == "packed":
        convert_features(source, tmp_path / "store", "float32")
        source = open_regions(tmp_path / "store")
    expected = float(source.read_batch([ONE, LAST]).features.sum())
    context = multiprocessing.get_context(start)
    results = context.Queue()
    workers = [context.Process(target=_sum_in_child, args=(source, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [expected] * 2
    for worker in workers:
        worker.join()
    assert float(source.read_batch([ONE, LAST]).features.sum()) == expected


def test_one_lmdb_in_two_sources():
    first, second = (open_regions(REFER.folder / "gt_base64.lmdb") for _ in range(2))
    np.testing.assert_array_equal(first[ONE].features, second[ONE].features)
    assert len(second[IMAGES[1]]) == int(REFER.outputs[f"reader_gt.{IMAGES[1]}.num_boxes"]) - 1
