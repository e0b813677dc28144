"""Extraction of region features: the command, resuming, several processes, and images that cannot be read."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from pyutils.config.loading import to_yaml
from pyutils.data.features import open_regions
from pyutils.data.features.operations import compare
from pyutils.data.given_images import opened_image
from pyutils.errors import InputError
from pyutils.regions import extract as extract_module
from pyutils.regions.__main__ import run
from pyutils.regions.choice import open_extractor, parse_extractor
from pyutils.regions.detector import DetectorConfig
from pyutils.regions.efficientnet_lite import EfficientNetLite0
from pyutils.regions.extract import MOST_PIXELS, list_images, read_boxes, read_image
from pyutils.regions.extractors import cell_boxes, open_backbone, open_detector, pool_cells
from pyutils.regions.preprocess import preprocess
from tests.support import write_small_detector

ROOT = Path(__file__).resolve().parents[3]


def photo(path, width, height, seed=0, mode="RGB", **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((width, height)).convert(mode).save(path, **options)
    return path


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return write_small_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(66):
        size = [(120, 90), (90, 120), (100, 100)][number % 3]
        photo(folder / f"part{number % 2}/photo{number:02d}.jpg", *size, seed=number)
    return folder


def extract(images, out, *arguments):
    run(["--images", str(images), "--out", str(out), *map(str, arguments)])
    return open_regions(out)


def store_bytes(path):
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, images, detector):
    out = tmp_path_factory.mktemp("whole") / "store"
    extract(images, out, "--detector", detector, "--boxes", "10:36", "--batch", 4)
    return out


def test_the_store_holds_what_the_network_finds(whole, images, detector):
    store, extractor = open_regions(whole), open_detector(str(detector), (10, 36))
    files = list_images(images)
    assert list(store) == sorted(files)
    assert store.spec.dimension == 96 and "sha256" in store.spec.provenance and "10-36 boxes" in store.spec.provenance
    for key in list(files)[:5]:
        (expected,) = extractor.describe([read_image(files[key])])
        found = store[key]
        np.testing.assert_allclose(found.features, expected.features, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=2e-2)
        assert 10 <= len(found) <= 36
        assert (found.width, found.height) == (expected.width, expected.height)
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and found.boxes.max() <= 120


def test_batches_change_no_feature(tmp_path, whole, images, detector):
    single = extract(images, tmp_path / "single", "--detector", detector, "--boxes", "10:36")
    result = compare(open_regions(whole), single)
    assert result.common == 66 and result.other_shape == 0
    assert result.feature_difference < 5e-3 and result.box_difference < 2e-2


def test_two_processes_write_the_same_store(tmp_path, whole, images, detector):
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path)]
    command += [str(ROOT / "pyutils/regions/__main__.py"), "--images", str(images), "--out", str(tmp_path / "store")]
    command += ["--detector", str(detector), "--boxes", "10:36", "--batch", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert store_bytes(tmp_path / "store") == store_bytes(whole)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["store"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, whole, images, detector, seed):
    out = tmp_path / "store"
    command = [sys.executable, "-m", "pyutils.regions", "--images", str(images), "--out", str(out)]
    command += ["--detector", str(detector), "--boxes", "10:36", "--batch", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    rng = np.random.default_rng(seed)
    for _ in range(3):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, cwd=tmp_path)
        begun = time.monotonic()
        while not out.exists() and process.poll() is None and time.monotonic() - begun < 60:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 1.5)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True).returncode == 0
    assert store_bytes(out) == store_bytes(whole)


def test_the_main_process_waits_for_the_others(tmp_path, images, detector, monkeypatch):
    """However late they are: a collective would give up after seconds."""
    from threading import Timer

    extractor, files = open_detector(str(detector), (10, 36)), dict(list(list_images(images).items())[:2])
    out = tmp_path / "store"
    monkeypatch.setattr(extract_module, "CHUNK", 1)
    monkeypatch.setattr(extract_module.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(extract_module.distributed, "rank", lambda: 1)
    later = extract_module.extract(files, out, extractor)
    mark = tmp_path / "store.rank1.done"
    assert later.stored == 1 and not out.exists() and json.loads(mark.read_text()) == []
    mark.rename(tmp_path / "late")
    monkeypatch.setattr(extract_module.distributed, "rank", lambda: 0)
    waiting = Timer(1.0, lambda: (tmp_path / "late").write_text('[["x", "why"]]') and (tmp_path / "late").rename(mark))
    waiting.start()
    joined = extract_module.extract(files, out, extractor)
    assert not waiting.is_alive()
    assert joined.stored == 2 and joined.bad == [("x", "why")]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["store"]


def test_odd_images(tmp_path, detector, capfd):
    folder = tmp_path / "images"
    photo(folder / "cmyk.jpg", 80, 60, mode="CMYK")
    photo(folder / "pixel.png", 1, 1)
    photo(folder / "strip.png", 20000, 50)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    photo(folder / "turned.jpg", 80, 40, exif=exif.tobytes())
    Image.fromarray(np.random.default_rng(0).integers(0, 65535, (50, 60), np.uint16)).save(folder / "deep.png")
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    whole = photo(folder / "cut.jpg", 200, 150).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "words.jpg").write_text("not an image")
    (folder / "empty.png").write_bytes(b"")
    Image.new("1", (10000, MOST_PIXELS // 10000 + 1)).save(folder / "huge.png")
    store = extract(folder, tmp_path / "store", "--detector", detector, "--boxes", "1:36")
    listed = (tmp_path / "store.bad.txt").read_text()
    bad = {line.split("\t")[0] for line in listed.splitlines()}
    assert bad == {"cut", "words", "empty", "huge"}
    assert set(store) == {"cmyk", "pixel", "strip", "turned", "deep", "moving"}
    assert (store["turned"].width, store["turned"].height) == (40, 80)
    assert "4 images skipped" in capfd.readouterr().err


def test_given_boxes(tmp_path, images, detector):
    files = list_images(images)
    keys = list(files)[:4]
    wanted = {key: [[5, 6, 50, 60], [10.5, 3, 80, 33]] for key in keys}
    (tmp_path / "boxes.json").write_text(json.dumps(wanted))
    store = extract(images, tmp_path / "store", "--detector", detector, "--gt-boxes", tmp_path / "boxes.json")
    assert set(store) == set(keys)
    np.testing.assert_allclose(store[keys[0]].boxes, wanted[keys[0]], atol=1e-3)
    (tmp_path / "boxes.json").write_text(json.dumps({keys[0]: [[5, 6, 5, 60]]}))
    with pytest.raises(InputError, match="boxes.json"):
        read_boxes(tmp_path / "boxes.json")


def test_a_store_of_another_extractor_is_refused(tmp_path, images, detector, whole):
    with pytest.raises(InputError, match="10-36 boxes.*5-36 boxes"):
        extract(images, whole, "--detector", detector, "--boxes", "5:36")
    with pytest.raises(InputError, match="float32"):
        extract(images, whole, "--detector", detector, "--boxes", "10:36", "--dtype", "float32")


def test_two_extractors_on_one_store(tmp_path, images, detector):
    from pyutils.regions.extract import _Run

    extractor = open_detector(str(detector), (10, 36))
    writer = _Run({}, extractor, 1, 1, None, "float16").writer(tmp_path / "store")
    with writer, pytest.raises(InputError, match="store"):
        extract(images, tmp_path / "store", "--detector", detector, "--boxes", "10:36")


def test_other_weights_are_refused(tmp_path, detector):
    file = tmp_path / "model.safetensors"
    save_file({"backbone.weight": np.zeros(3, np.float32)}, str(file))
    with pytest.raises(InputError, match="model.safetensors"):
        open_detector(str(file))
    with pytest.raises(InputError, match="other shape"):
        open_detector(str(detector), config=_wider(tmp_path))
    with pytest.raises(InputError, match="minimum"):
        open_detector(str(detector), (10, 1000))


def test_the_description_of_a_store_opens_its_extractor(whole, detector, lite0, tmp_path):
    store = open_regions(whole)
    assert store.spec.extractor == f"--detector {detector} --boxes 10:36"
    again = open_extractor(parse_extractor(store.spec.extractor, "store"))
    assert replace(again.spec, dtype="float16", max_regions=36) == store.spec
    words = f"--backbone efficientnet-lite0 --weights {lite0} --cells 2 --size 64 --global-region"
    assert open_extractor(parse_extractor(words, "here")).spec.extractor == words
    for wrong, named in (
        ("--boxes 3", "here.*--detector"),
        (f"--detector {detector} --cells 3", "--cells is for --backbone"),
        (f"--backbone efficientnet-lite0 --weights {lite0} --boxes 3", "--boxes is for --detector"),
        ("--detector a --backbone b", "here.*--backbone"),
        ("--detector a --unknown", "here.*--unknown"),
    ):
        with pytest.raises(InputError, match=named):
            open_extractor(parse_extractor(wrong, "here"))


def test_regions_are_labelled_with_the_names_beside_the_weights(detector, images, tmp_path):
    pixels = read_image(next(iter(list_images(images).values())))
    extractor = open_detector(str(detector), (10, 36))
    regions, labels = extractor.labelled(pixels)
    assert len(labels) == len(regions) and all(re.fullmatch(r"kind\d thing\d+ 0\.\d\d", label) for label in labels)
    given = preprocess([pixels], extractor.config)
    (found,) = extractor.model.detect(given.images, given.sizes, given.scales)
    first = f"kind{found.attribute_ids[0]} thing{found.class_ids[0]} {found.class_scores[0]:.2f}"
    assert labels[0] == first
    other = write_small_detector(tmp_path / "other")
    other.with_name("attributes_vocab.txt").unlink()
    assert open_detector(str(other), (10, 36)).labelled(pixels)[1][0].startswith(f"attribute {found.attribute_ids[0]} ")
    other.with_name("objects_vocab.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="objects_vocab.txt.*2 names.*25"):
        open_detector(str(other))


def _wider(folder):
    file = folder / "detector.yaml"
    file.write_text(to_yaml(DetectorConfig(classes=30)))
    return str(file)


def test_two_names_of_one_image_are_refused(tmp_path):
    photo(tmp_path / "a.jpg", 20, 20)
    photo(tmp_path / "a.png", 20, 20)
    with pytest.raises(InputError, match="a.png"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="no image"):
        list_images(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    file = tmp_path_factory.mktemp("lite0") / "lite0.safetensors"
    save_file({name: value.numpy() for name, value in EfficientNetLite0().state_dict().items()}, str(file))
    return file


def test_grid_features(tmp_path, images, lite0):
    arguments = ("--backbone", "efficientnet-lite0", "--weights", lite0, "--cells", 3, "--global-region", "--size", 96)
    store = extract(images, tmp_path / "grid", *arguments, "--batch", 16)
    assert len(store) == 66 and store.spec.dimension == 1280
    assert store.spec.detector == "efficientnet-lite0-grid3-global"
    first = store[list(store)[0]]
    assert len(first) == 10
    np.testing.assert_allclose(first.boxes[0], [0, 0, first.width, first.height])
    np.testing.assert_allclose(first.boxes[1:], cell_boxes(3, first.width, first.height), rtol=1e-5)
    # 96 pixels are 3 cells of stride 32, so the global region is the mean of the cells.
    np.testing.assert_allclose(first.features[0], first.features[1:].mean(0), atol=2e-3)
    with pytest.raises(InputError, match="boxes"):
        open_backbone("efficientnet-lite0", weights=str(lite0)).describe([], [np.zeros((1, 4))])


def test_cells_are_pooled_row_by_row():
    maps = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6)
    pooled = pool_cells(maps, 2)
    assert pooled.shape == (2, 4, 3)
    np.testing.assert_allclose(pooled[1, 1], maps[1, :, :2, 3:].mean(axis=(1, 2)))
    np.testing.assert_allclose(cell_boxes(2, 60, 40)[1], [30, 0, 60, 20])


def test_unknown_backbones_are_refused(tmp_path):
    for name in ("efficientnet-lite1", "LeNet"):
        with pytest.raises(InputError, match=name):
            open_backbone(name)
    with pytest.raises(InputError, match="x.onnx"):
        open_backbone(str(tmp_path / "x.onnx"))


@pytest.mark.parametrize("boxes", ["0:5", "10:3", "x", "3:"])
def test_a_wrong_range_of_boxes_is_refused(boxes, capsys):
    with pytest.raises(SystemExit):
        run(["--images", "x", "--out", "y", "--detector", "z", "--boxes", boxes])
    assert "--boxes" in capsys.readouterr().err


def test_a_full_disk_names_the_store_and_keeps_it(tmp_path, images, detector, monkeypatch):
    import errno

    from pyutils.data.features import packed

    def full(self, key, regions):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packed.PackedWriter, "add", full)
    with pytest.raises(InputError, match="store.*No space"):
        extract(images, tmp_path / "store", "--detector", detector, "--boxes", "10:36")
    monkeypatch.undo()
    assert len(extract(images, tmp_path / "store", "--detector", detector, "--boxes", "10:36", "--batch", 4)) == 66


def test_a_pipeline_sees_a_turned_image_as_the_extraction_does(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = photo(tmp_path / "turned.jpg", 80, 40, exif=exif.tobytes())
    np.testing.assert_array_equal(np.asarray(opened_image(file, upright=True)), read_image(file))
    with Image.open(file) as image:
        np.testing.assert_array_equal(np.asarray(opened_image(image, upright=True)), read_image(file))
    assert opened_image(file).size == (80, 40) and read_image(file).shape == (80, 40, 3)
