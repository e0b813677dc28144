"""Image-text pairs in lists, tar shards and Arrow files: contents, memory, damage."""

from __future__ import annotations

import gc
import io
import json
import pickle
import tarfile
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from pyutils.data.features import RegionFeatures
from pyutils.data.pairs import Captions, Pair, open_pairs, write_tar_shards
from pyutils.data.pairs.pair import encode_regions
from pyutils.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def regions(seed, count=3, classes=4):
    rng = np.random.default_rng(seed)
    boxes = np.tile(np.array([1, 2, 30, 40], np.float32), (count, 1))
    features = rng.standard_normal((count, 8)).astype(np.float16).astype(np.float32)
    probs = rng.random((count, classes)).astype(np.float16).astype(np.float32)
    return RegionFeatures(features, boxes, 60, 50, probs)


def pairs(count=10, start=0):
    return [
        Pair(f"p{n:05d}", (f"caption {n}", f"other {n}"), bytes([n % 251]) * 20, regions(n))
        for n in range(start, start + count)
    ]


def same(found, expected):
    assert (found.image, found.captions, found.content) == (expected.image, expected.captions, expected.content)
    for name in ("features", "boxes", "class_probs"):
        np.testing.assert_array_equal(getattr(found.regions, name), getattr(expected.regions, name))
    assert (found.regions.width, found.regions.height) == (60, 50)


def write_arrow(path, made, stream=False):
    table = pa.table(
        {
            "key": [pair.image for pair in made],
            "caption": [list(pair.captions) for pair in made],
            "image": [pair.content for pair in made],
            "regions": [encode_regions(pair.regions) for pair in made],
        }
    )
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opened(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


@pytest.mark.parametrize("kind", ["tar", "arrow"])
def test_what_is_written_is_read(tmp_path, kind):
    made = pairs()
    if kind == "tar":
        files = write_tar_shards(tmp_path / "shards", made, pairs_per_shard=4)
        assert [file.name for file in files] == ["pairs-000000.tar", "pairs-000001.tar", "pairs-000002.tar"]
    else:
        (tmp_path / "shards").mkdir()
        for number, start in enumerate((0, 4, 8)):
            write_arrow(tmp_path / "shards" / f"{number}.arrow", made[start : start + 4], stream=number == 1)
    found = open_pairs(tmp_path / "shards")
    assert len(found) == 10
    for expected, pair in zip(made, found):
        same(pair, expected)
    same(found[-1], made[-1])
    same(pickle.loads(pickle.dumps(found))[5], made[5])
    assert list(Captions(found)) == [f"caption {n}" for n in range(10)]
    with pytest.raises(IndexError):
        found[10]


def test_lists(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"image": "a/b.jpg", "caption": "x"}, {"image": "c.jpg", "caption": ["y", "z"]}]))
    found = open_pairs(path)
    assert list(found) == [Pair("a/b.jpg", ("x",)), Pair("c.jpg", ("y", "z"))]
    assert Captions(found)[1] == "y"


def test_ranges_stars_and_folders_name_the_same_shards(tmp_path):
    write_tar_shards(tmp_path, pairs(5), pairs_per_shard=2)
    for path in (f"{tmp_path}/pairs-{{000000..000002}}.tar", f"{tmp_path}/*.tar", tmp_path):
        assert len(open_pairs(path)) == 5
    with pytest.raises(InputError, match=r"pairs-000003.tar: no such file"):
        open_pairs(f"{tmp_path}/pairs-{{000000..000003}}.tar")


def write_tar(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def test_other_peoples_shards(tmp_path):
    files = {"x/a.jpg": b"1", "x/a.txt": b" a dog \n", "x/a.seg.png": b"2", "x/b.txt": b"a cow", "x/b.PNG": b"3"}
    found = open_pairs(write_tar(tmp_path / "s.tar", files))
    assert list(found) == [Pair("x/a", ("a dog",), b"1"), Pair("x/b", ("a cow",), b"3")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.jpg": b"1"}, r"s.tar, sample a: there is no caption: expected a .txt or .json"),
        ({"a.txt": b"\xff\xfe"}, r"sample a: the caption is not UTF-8 text"),
        ({"a.json": b"{"}, r"sample a: not valid JSON"),
        ({"a.json": b'{"caption": [1]}'}, r'sample a: expected an object with "caption"'),
        ({"a.txt": b"x", "a.npz": b"no"}, r"s.tar, a.npz .*\.npz file"),
    ],
)
def test_damaged_samples(tmp_path, files, message):
    found = open_pairs(write_tar(tmp_path / "s.tar", files))
    with pytest.raises(InputError, match=message):
        found[0]


def test_regions_with_code_or_wrong_shapes(tmp_path):
    def packed(**arrays):
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        return stream.getvalue()

    size = {"image_w": 5, "image_h": 5}
    for arrays, message in (
        ({"features": np.array([{}], dtype=object)}, "a.npz .*Object arrays"),
        ({"features": np.zeros((2, 3))}, "lacks 'boxes'"),
        ({"features": np.zeros((2, 3)), "boxes": np.zeros((1, 4)), **size}, r"a.npz: .*\(2, 3\).*\(1, 4\)"),
    ):
        path = write_tar(tmp_path / "s.tar", {"a.txt": b"x", "a.npz": packed(**arrays)})
        with pytest.raises(InputError, match=message):
            open_pairs(path)[0]


def test_damaged_files(tmp_path):
    shard = write_tar_shards(tmp_path / "a", pairs(3))[0]
    shard.write_bytes(shard.read_bytes()[: 512 * 7 + 100])
    with pytest.raises(InputError, match=r"pairs-000000.tar"):
        open_pairs(shard)
    shard.write_bytes(b"no tar file at all" * 100)
    with pytest.raises(InputError, match=r"cannot be read as an uncompressed tar"):
        open_pairs(shard)
    arrow = tmp_path / "x.arrow"
    arrow.write_bytes(b"no")
    with pytest.raises(InputError, match=r"x.arrow: cannot be read as an Arrow file"):
        open_pairs(arrow)
    with pa.ipc.new_file(str(arrow), pa.schema([("key", pa.string())])):
        pass
    with pytest.raises(InputError, match="there is no column 'caption'; found key"):
        open_pairs(arrow)
    with pytest.raises(InputError, match="files of one kind, found .arrow, .tar"):
        open_pairs([arrow, shard])
    with pytest.raises(InputError, match="found none"):
        open_pairs(tmp_path / "*.nothing")
    with pytest.raises(InputError, match=r"the key 'a\.b' has a dot"):
        write_tar_shards(tmp_path / "b", [Pair("a.b", ("x",))])


def test_a_changed_shard_is_indexed_anew(tmp_path):
    write_tar_shards(tmp_path, pairs(3))
    assert len(open_pairs(tmp_path)) == 3
    write_tar_shards(tmp_path, pairs(7))
    assert len(open_pairs(tmp_path)) == 7


def kept_by_reading(found, positions):
    """Bytes still allocated after reading `positions` of `found`, beyond those before."""
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    for position in positions:
        _ = found[position]
    del _
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


def test_memory_does_not_grow_with_the_set(tmp_path):
    write_tar_shards(tmp_path, pairs(600), pairs_per_shard=100)
    found = open_pairs(tmp_path)
    tracemalloc.start()
    try:
        kept_by_reading(found, range(50))  # imports and caches of the libraries
        kept = kept_by_reading(found, range(50, 600))
    finally:
        tracemalloc.stop()
    assert kept < 550 * 40  # a kept pair is some hundred bytes of objects and arrays


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.list_(pa.string())])
def test_arrow_offsets_outside_the_file_are_refused(tmp_path, kind):
    """Arrow itself follows them: the process would end with SIGBUS or SIGSEGV."""
    captions = [["one", "two"], ["three"]] if pa.types.is_list(kind) else ["one", "three"]
    table = pa.table({"key": ["a", "b"], "caption": pa.array(captions, kind)})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as out:
        out.write_table(table)
    content = (tmp_path / "x.arrow").read_bytes()
    width = "<i8" if kind == pa.large_string() else "<i4"
    for right in ([0, 3, 8], [0, 2, 3], [0, 3, 6, 11]):
        found = content.find(np.array(right, width).tobytes())
        if found < 0:
            continue
        for wrong in ([*right[:-1], 1 << 30], [-(1 << 30), *right[1:]], [right[0], 1 << 29, *right[2:]]):
            damaged = bytearray(content)
            new = np.array(wrong, width).tobytes()
            damaged[found : found + len(new)] = new
            (tmp_path / "x.arrow").write_bytes(damaged)
            with pytest.raises(InputError, match="x.arrow: cannot be read as an Arrow file"):
                open_pairs(tmp_path / "x.arrow")
    (tmp_path / "x.arrow").write_bytes(content)
    assert open_pairs(tmp_path / "x.arrow")[1].captions == (("three",))


@pytest.mark.parametrize("word", [b"spoken", b"key", b"caption"])
def test_arrow_text_that_is_not_utf8(tmp_path, word):
    table = pa.table({"key": ["a"], "caption": ["spoken"]})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as out:
        out.write_table(table)
    content = (tmp_path / "x.arrow").read_bytes()
    (tmp_path / "x.arrow").write_bytes(content.replace(word, b"\xff" + word[1:]))
    with pytest.raises(InputError, match="x.arrow"):
        open_pairs(tmp_path / "x.arrow")[0]
