"""The packed store: exact, append-safe, checksummed; and its command line."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyutils.data.features import FeatureSpec, PackedWriter, RegionFeatures, open_regions
from pyutils.data.features.__main__ import main
from pyutils.data.features.operations import convert_features
from pyutils.data.features.packed import DATA_FILE, DATA_MAGIC, HEADER_BYTES, INDEX_FILE, _open_locked
from pyutils.errors import InputError
from tests.support import golden

LMDB = golden("vilbert/refer_dataset").folder / "detected_base64.lmdb"
FIX100 = golden("visualbert/data_formats").folder / "X_COCO/data/detectron_fix_100"
SPEC = FeatureSpec(6, "butd", dtype="float32", provenance="a test")


def regions(seed: int, dimension: int = 6, classes: int = 0) -> RegionFeatures:
    rng = np.random.default_rng(seed)
    count = seed % 5
    probs = rng.random((count, classes)).astype(np.float32) if classes else None
    boxes = np.sort(480 * rng.random((count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32)
    return RegionFeatures(rng.standard_normal((count, dimension)).astype(np.float32), boxes, 640, 480, probs)


def write(path: Path, seeds, spec: FeatureSpec = SPEC, classes: int = 0) -> None:
    with PackedWriter(path, spec, classes) as writer:
        for seed in seeds:
            writer.add(f"image{seed}", regions(seed, spec.dimension, classes))


def assert_holds(path: Path, seeds) -> None:
    store = open_regions(path)
    assert sorted(store) == sorted(f"image{seed}" for seed in seeds)
    for seed in seeds:
        own, expected = store[f"image{seed}"], regions(seed)
        np.testing.assert_array_equal(own.features, expected.features)
        np.testing.assert_array_equal(own.boxes, expected.boxes)
        assert (own.width, own.height) == (640, 480)
    assert main(["verify", str(path)]) == 0


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "store", range(20))
    assert_holds(tmp_path / "store", range(20))
    store = open_regions(tmp_path / "store")
    assert store.format == "packed" and store.spec == replace(SPEC, max_regions=4)
    batch = store.read_batch(["image3", "image0", "image4"], global_region=True)
    assert batch.mask.tolist() == [[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(batch.features[0, 1:4], regions(3).features)
    copied = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copied.read_batch(["image3"]).features[0], regions(3).features)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_conversion_keeps_recorded_features(tmp_path, dtype):
    for name, path in (("lmdb", LMDB), ("folder", FIX100)):
        source = open_regions(path)
        assert convert_features(source, tmp_path / name, dtype, detector="butd") == len(source)
        store = open_regions(tmp_path / name)
        assert store.spec.detector == "butd" and store.spec.dtype == dtype
        assert store.spec.has_class_probs == (name == "folder")
        for key in source:
            own, expected = store[key], source[key]
            np.testing.assert_array_equal(own.features, expected.features.astype(dtype).astype(np.float32))
            np.testing.assert_array_equal(own.boxes, expected.boxes)
        keys = list(source)
        np.testing.assert_array_equal(
            store.read_batch(keys).features, source.read_batch(keys).features.astype(dtype).astype(np.float32)
        )


def test_appending_and_resuming(tmp_path):
    store = tmp_path / "store"
    write(store, range(5))
    write(store, range(5, 9))
    assert_holds(store, range(9))
    with pytest.raises(InputError, match="'image3' exists already"):
        write(store, [3])
    assert_holds(store, range(9))
    source = open_regions(store)
    assert convert_features(source, tmp_path / "copy", "float32", keys=["image1", "image2"]) == 2
    assert convert_features(source, tmp_path / "copy", "float32") == 7
    assert_holds(tmp_path / "copy", range(9))


def test_an_error_keeps_what_is_whole(tmp_path):
    store = tmp_path / "store"
    with pytest.raises(InputError, match="image 'wrong': expected features"), PackedWriter(store, SPEC) as writer:
        writer.add("image1", regions(1))
        writer.add("wrong", regions(1, dimension=5))
    assert_holds(store, [1])
    assert not open_regions(store).committed.complete
    write(store, [2])
    assert open_regions(store).committed.complete


def test_a_killed_append_leaves_the_old_state(tmp_path):
    store = tmp_path / "store"
    write(store, range(5))
    before = (store / DATA_FILE).stat().st_size
    program = (
        "import sys, numpy as np\n"
        "from pyutils.data.features import FeatureSpec, PackedWriter, RegionFeatures\n"
        "writer = PackedWriter(sys.argv[1], FeatureSpec(6, 'butd', dtype='float32', provenance='a test'))\n"
        "many = RegionFeatures(np.ones((900, 6), np.float32), np.ones((900, 4), np.float32), 1, 1)\n"
        "for number in range(10 ** 9):\n"
        "    writer.add(f'new{number}', many)\n"
        "    if number == 20: print('writing', flush=True)\n"
        "    if number >= 500: __import__('time').sleep(60)\n"
    )
    root = Path(__file__).parents[4]
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(store)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout.readline() == b"writing\n"
    with pytest.raises(InputError, match="another process is writing"):
        write(store, [6])
    while (store / DATA_FILE).stat().st_size == before:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert (store / DATA_FILE).stat().st_size > before
    assert_holds(store, range(5))
    write(store, [6, 7])
    assert_holds(store, [*range(5), 6, 7])


def test_readers_keep_their_state_while_others_append(tmp_path):
    write(tmp_path / "store", range(5))
    reader = open_regions(tmp_path / "store")
    expected = reader["image4"].features
    write(tmp_path / "store", range(5, 9))
    np.testing.assert_array_equal(reader["image4"].features, expected)
    assert len(reader) == 5 and len(open_regions(tmp_path / "store")) == 9


def flip(file: Path, place: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(place)
        value = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([value ^ 1]))


@pytest.mark.parametrize("place", ["boxes", "features", "padding"])
def test_verify_names_the_damaged_image(tmp_path, capsys, place):
    store = tmp_path / "store"
    write(store, range(1, 5))
    opened = open_regions(store)
    position = int(opened.index.find(["image2"])[0])
    start = int(opened.committed.numbers["offset"][position])
    features, probs, _ = opened.layout.sections(2)
    flip(store / DATA_FILE, start + {"boxes": 3, "features": features + 5, "padding": probs - 1}[place])
    assert main(["verify", str(store)]) == 1
    out = capsys.readouterr()
    assert "image2" in out.out and "image1" not in out.out and "1 of 4" in out.err


def test_damaged_headers_and_truncation_are_named(tmp_path, capsys):
    def broken(name, damage):
        write(tmp_path / name, range(4))
        damage(tmp_path / name)
        assert main(["verify", str(tmp_path / name)]) == 2
        return capsys.readouterr().err

    assert "header is damaged" in broken("a", lambda store: flip(store / DATA_FILE, 40))
    assert "not a packed region store" in broken("b", lambda store: flip(store / DATA_FILE, 0))
    assert "index.bin: not the index" in broken("c", lambda store: flip(store / INDEX_FILE, 70))
    assert "index.bin: not the index" in broken("d", lambda store: (store / INDEX_FILE).write_bytes(b""))
    message = broken("e", lambda store: os.truncate(store / DATA_FILE, HEADER_BYTES + 10))
    assert "regions.bin is truncated: 4106 bytes, expected" in message
    assert "without its index" in broken("f", lambda store: (store / INDEX_FILE).unlink())


def test_values_that_do_not_fit_are_refused(tmp_path):
    big = RegionFeatures(np.full((1, 6), 1e6, np.float32), np.zeros((1, 4), np.float32))
    half = replace(SPEC, dtype="float16")
    with pytest.raises(InputError, match="not finite in float16"), PackedWriter(tmp_path / "a", half) as writer:
        writer.add("big", big)
    write(tmp_path / "b", [1])
    with pytest.raises(InputError, match="cannot be added"):
        PackedWriter(tmp_path / "b", replace(SPEC, dimension=7))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a packed region store"):
        PackedWriter(tmp_path / "c", SPEC)
    with pytest.raises(InputError, match="float16 or float32"):
        PackedWriter(tmp_path / "d", replace(SPEC, dtype="float64"))


def test_command_line(tmp_path, capsys):
    full, part, keys = tmp_path / "full", tmp_path / "part", tmp_path / "keys.txt"
    assert main(["convert", str(LMDB), str(full), "--dtype", "float32", "--detector", "butd"]) == 0
    assert main(["inspect", str(full)]) == 0
    shown = capsys.readouterr().out
    assert "| images | 8 |" in shown and "| detector | butd |" in shown and "| complete | yes |" in shown
    assert main(["compare", str(full), str(LMDB)]) == 0
    one, two, *_ = open_regions(LMDB)
    keys.write_text(f"{one}\n\n{two}\n")
    assert main(["subset", str(full), str(part), "--keys", str(keys)]) == 0
    assert list(open_regions(part)) == [one, two] and open_regions(part).spec.dtype == "float32"
    capsys.readouterr()
    assert main(["compare", str(full), str(part)]) == 1
    assert f"| only in {full} | 6 |" in capsys.readouterr().out
    keys.write_text(f"{one}\nabsent\n")
    assert main(["subset", str(full), str(tmp_path / "x"), "--keys", str(keys)]) == 2
    assert "absent" in capsys.readouterr().err
    assert main(["convert", str(full), str(full)]) == 2
    assert main(["subset", str(full), str(part), "--keys", str(tmp_path / "none.txt")]) == 2
    assert "none.txt" in capsys.readouterr().err


def test_compare_measures_differences(tmp_path, capsys):
    write(tmp_path / "a", range(1, 5))
    changed = regions(2)
    changed.features[1, 3] += 0.5
    with PackedWriter(tmp_path / "b", SPEC) as writer:
        for seed in (1, 3, 4):
            writer.add(f"image{seed}", regions(seed))
        writer.add("image2", changed)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "| 0.5 image2 |" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--tolerance", "0.6"]) == 0


def test_two_writers_that_start_together(tmp_path):
    """The second finds a store without its first index yet, and neither replaces nor locks another file."""
    with _open_locked(tmp_path / "store"), pytest.raises(InputError, match="another process"):
        write(tmp_path / "store", [1])
    write(tmp_path / "store", [1])
    assert_holds(tmp_path / "store", [1])


def test_a_store_killed_at_its_first_bytes_is_begun_again(tmp_path):
    for number, content in enumerate((b"", DATA_MAGIC[:3], DATA_MAGIC + bytes(99))):
        (tmp_path / f"store{number}").mkdir()
        (tmp_path / f"store{number}" / DATA_FILE).write_bytes(content)
        (tmp_path / f"store{number}" / ".index.bin.x1.partial").write_bytes(b"half")
        write(tmp_path / f"store{number}", range(3))
        assert_holds(tmp_path / f"store{number}", range(3))
        assert {file.name for file in (tmp_path / f"store{number}").iterdir()} == {DATA_FILE, INDEX_FILE}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / DATA_FILE).write_bytes(b"of another program")
    with pytest.raises(InputError, match="other.*not of a packed region store"):
        write(tmp_path / "other", [1])
    assert (tmp_path / "other" / DATA_FILE).read_bytes() == b"of another program"
