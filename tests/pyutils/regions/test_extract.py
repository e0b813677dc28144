"""Extraction of region features: the command, resuming, several processes, and images that cannot be read."""

from __future__ import annotations

import contextlib
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

from pyutils.__main__ import main
from pyutils.config.loading import to_yaml
from pyutils.data.features import open_regions
from pyutils.data.features.operations import compare
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
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


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_change_no_byte(tmp_path, whole, images, detector, workers):
    out = tmp_path / "store"
    words = ["--images", images, "--out", out, "--detector", detector, "--boxes", "10:36", "--batch", 4]
    assert main(["features", "extract", *map(str, words), "--workers", str(workers)]) is None
    assert store_bytes(out) == store_bytes(whole)


def test_few_images_are_in_memory_at_a_time(tmp_path, images, monkeypatch):
    """Only those of the present batch and of the threads ahead, however many have one size."""

    class Lazy:
        spec, classes = FeatureSpec(4), 0
        alive = most = 0
        least = 1

        def group(self, width, height):
            return width

        def describe(self, pixels, boxes=None):
            Lazy.most = max(Lazy.most, Lazy.alive)
            Lazy.alive -= len(pixels)
            return [RegionFeatures(np.ones((1, 4)), np.ones((1, 4)), p.shape[1], p.shape[0]) for p in pixels]

    def counted(path):
        Lazy.alive += 1
        return read_image(path)

    monkeypatch.setattr(extract_module, "read_image", counted)
    found = extract_module.extract(list_images(images), tmp_path / "store", Lazy(), batch=2, workers=2)
    assert found.stored == 66 and 2 <= Lazy.most <= 2 + 2 * 2 + 1


def test_two_processes_write_the_same_store(tmp_path, whole, images, detector):
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path)]
    command += [str(ROOT / "pyutils/regions/__main__.py"), "--images", str(images), "--out", str(tmp_path / "store")]
    command += ["--detector", str(detector), "--boxes", "10:36", "--batch", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert store_bytes(tmp_path / "store") == store_bytes(whole)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["store"]


class Program:
    """The command in a process of its own, which writes the store that `whole` is."""

    def __init__(self, folder, images, detector):
        self.folder, self.out = folder, folder / "store"
        words = ["--images", images, "--out", self.out, "--detector", detector, "--boxes", "10:36", "--batch", 4]
        self.words = ["features", "extract", *map(str, words)]

    def start(self, before="", **options):
        """Start it after the Python statements `before`."""
        code = f"{before}\nfrom pyutils.__main__ import main\nmain({self.words!r})"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment, cwd=self.folder, stderr=pipe, text=True, **options
        )

    def finish(self, before=""):
        """Run it to its end; returns its status and messages."""
        process = self.start(before)
        messages = process.communicate(timeout=300)[1]
        return process.returncode, messages


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, whole, images, detector, kills):
    """Each kill at a random moment of its own run, from the first written byte to the end."""
    rng = np.random.default_rng(kills)
    reached, seconds = [], 0.0
    for number in range(kills + 1):  # the first one is not killed: it tells how long a run writes
        folder = tmp_path / str(number)
        folder.mkdir()
        program = Program(folder, images, detector)
        process = program.start()
        while not program.out.exists() and process.poll() is None:
            time.sleep(0.005)
        begun = time.monotonic()
        if number:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(float(rng.uniform(0, seconds)))
            process.kill()
        process.communicate()
        seconds = seconds or time.monotonic() - begun
        index = program.out / "index.bin"
        reached.append(len(open_regions(program.out)) if index.is_file() else 0)
        assert program.finish()[0] == 0
        assert store_bytes(program.out) == store_bytes(whole)
        assert not list(folder.glob("*.partial"))
    assert reached[0] == 66 and (kills == 1 or len(set(reached)) > 1)


_DIE = "os.kill(os.getpid(), signal.SIGKILL)"
HALF_A_RECORD = f"""
import os, signal
from pyutils.data.features import packed
def half(self, key, regions):
    record = self._record(key, regions)
    self._stream.write(record.data[: len(record) // 2])
    self._stream.flush()
    {_DIE}
whole = packed.PackedWriter.add
packed.PackedWriter.add = lambda self, key, regions: (half if len(self._known) == 30 else whole)(self, key, regions)
"""
BEFORE_THE_INDEX = f"""
import os, signal
from pyutils.data.features import packed
def write_index(path, keys, *rest, **named):
    if len(keys):
        {_DIE}
    whole(path, keys, *rest, **named)
whole, packed.write_index = packed.write_index, write_index
"""
HALF_AN_INDEX = f"""
import os, signal
from contextlib import contextmanager
from pyutils.data.features import packed
class Half:
    def __init__(self, stream):
        self.stream = stream
    def write(self, content):
        self.stream.write(content[: len(content) // 2])
        self.stream.flush()
        if len(content) > 1000:
            {_DIE}
        self.stream.write(content[len(content) // 2 :])
@contextmanager
def atomic_write(path, mode):
    with whole(path, mode) as stream:
        yield stream if path.name == "regions.bin" else Half(stream)
whole, packed.atomic_write = packed.atomic_write, atomic_write
"""


@pytest.mark.parametrize("moment", [HALF_A_RECORD, BEFORE_THE_INDEX, HALF_AN_INDEX])
def test_a_kill_in_the_middle_of_a_write(tmp_path, whole, images, detector, moment):
    program = Program(tmp_path, images, detector)
    assert program.finish(moment)[0] == -signal.SIGKILL
    assert len(open_regions(program.out)) == 0 and (program.out / "regions.bin").stat().st_size > 4096
    assert program.finish()[0] == 0
    assert store_bytes(program.out) == store_bytes(whole)


def test_a_disk_that_fills_up(tmp_path, whole, images, detector):
    """Files of limited length in place of the disk: the system refuses the rest of a write."""
    program = Program(tmp_path, images, detector)
    size = (whole / "regions.bin").stat().st_size
    limited = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size}))"
    status, messages = program.finish(limited)
    assert status and "store" in messages.splitlines()[-1] and "resume" in messages
    found = open_regions(program.out)
    assert all(len(found[key]) for key in found)
    assert program.finish()[0] == 0
    assert store_bytes(program.out) == store_bytes(whole)


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
    assert later.stored == 1 and not out.exists() and json.loads(mark.read_text()) == {"bad": [], "few": 0}
    mark.rename(tmp_path / "late")
    monkeypatch.setattr(extract_module.distributed, "rank", lambda: 0)
    waiting = Timer(
        1.0,
        lambda: (
            (tmp_path / "late").write_text('{"bad": [["x", "why"]], "few": 3}') and (tmp_path / "late").rename(mark)
        ),
    )
    waiting.start()
    joined = extract_module.extract(files, out, extractor)
    assert not waiting.is_alive()
    assert joined.stored == 2 and joined.bad == [("x", "why")] and joined.few == 3
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["store"]


ODD = {
    "pixel": lambda file: Image.new("RGB", (1, 1), (10, 200, 30)).save(file.with_suffix(".png")),
    "strip": lambda file: photo(file.with_suffix(".png"), 20000, 50),
    "cmyk": lambda file: Image.new("RGB", (80, 60), "red").convert("CMYK").save(file.with_suffix(".jpg")),
    "deep": lambda file: Image.fromarray(np.linspace(0, 65535, 3000).reshape(50, 60).astype(np.uint16)).save(
        file.with_suffix(".png")
    ),
    "moving": lambda file: Image.new("RGB", (64, 48), "red").save(
        file.with_suffix(".gif"), save_all=True, append_images=[Image.new("RGB", (64, 48), "blue")]
    ),
    "turned": lambda file: photo(file.with_suffix(".jpg"), 80, 40, exif=_turned()),
}
"""Images that are read, by name."""
READ_AS = {
    "pixel": lambda pixels: pixels.shape == (1, 1, 3) and pixels.ravel().tolist() == [10, 200, 30],
    "strip": lambda pixels: pixels.shape == (50, 20000, 3),
    "cmyk": lambda pixels: pixels.shape == (60, 80, 3) and (abs(pixels - [255.0, 0, 0]) < 8).all(),
    "deep": lambda pixels: pixels.min() == 0 and pixels.max() == 255 and 120 < pixels.mean() < 135,
    "moving": lambda pixels: (pixels == [255, 0, 0]).all(),
    "turned": lambda pixels: pixels.shape == (80, 40, 3),
}


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    return exif.tobytes()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_is_read(tmp_path, detector, lite0, name):
    (tmp_path / "images").mkdir()
    ODD[name](tmp_path / "images" / name)
    (file,) = (tmp_path / "images").iterdir()
    pixels = read_image(file)
    assert READ_AS[name](pixels)
    for kind in (("--detector", detector, "--boxes", "1:36"), ("--backbone", "efficientnet-lite0", "--weights", lite0)):
        store = extract(tmp_path / "images", tmp_path / kind[0][2:], *kind)
        assert list(store) == [name] and (store[name].height, store[name].width) == pixels.shape[:2]
        assert np.isfinite(store[name].features).all()
        assert (store[name].boxes >= 0).all() and (store[name].boxes <= [*pixels.shape[1::-1]] * 2).all()
        assert not (tmp_path / f"{kind[0][2:]}.bad.txt").exists()


@pytest.mark.parametrize(
    "name, content",
    [
        ("cut.jpg", lambda file: file.read_bytes()[:-600]),
        ("words.jpg", lambda file: b"not an image"),
        ("empty.png", lambda file: b""),
        ("drawing.jpg", lambda file: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
    ],
)
def test_a_bad_image_is_listed_and_the_others_are_kept(tmp_path, detector, capfd, name, content):
    good = photo(tmp_path / "images" / "good.jpg", 90, 60)
    (tmp_path / "images" / name).write_bytes(content(good))
    store = extract(tmp_path / "images", tmp_path / "store", "--detector", detector, "--boxes", "1:36")
    assert list(store) == ["good"]
    ((key, reason),) = [line.split("\t") for line in (tmp_path / "store.bad.txt").read_text().splitlines()]
    assert key == name.partition(".")[0] and name in reason
    assert "1 images skipped" in capfd.readouterr().err


def test_an_image_of_too_many_pixels_is_listed(tmp_path, detector):
    photo(tmp_path / "images" / "good.jpg", 90, 60)
    Image.new("1", (10000, MOST_PIXELS // 10000 + 1)).save(tmp_path / "images/huge.png")
    store = extract(tmp_path / "images", tmp_path / "store", "--detector", detector, "--boxes", "1:36")
    assert list(store) == ["good"] and "huge.png" in (tmp_path / "store.bad.txt").read_text()


def test_images_without_a_box_are_listed(tmp_path, capfd):
    """Proposals must be longer than the image: none is left, as when no box is found."""
    detector = write_small_detector(tmp_path / "detector")
    settings = json.loads(detector.with_name("config.yaml").read_text())
    settings["proposal_generator"]["min_size"] = 1000.0
    detector.with_name("config.yaml").write_text(json.dumps(settings))
    photo(tmp_path / "images" / "one.jpg", 90, 60)
    store = extract(tmp_path / "images", tmp_path / "store", "--detector", detector, "--boxes", "10:36")
    assert len(store) == 0 and (tmp_path / "store.bad.txt").read_text() == "one\tno region was found\n"
    assert "no region was found" in capfd.readouterr().err


def test_images_with_fewer_boxes_than_the_minimum_are_kept_and_counted(tmp_path, detector, capfd):
    photo(tmp_path / "images" / "a.png", 300, 3)
    photo(tmp_path / "images" / "b.png", 90, 60)
    words = ("--detector", detector, "--boxes", "36:36", "--batch", 2)
    store = extract(tmp_path / "images", tmp_path / "store", *words)
    extractor = open_detector(str(detector), (36, 36))
    alone = [extractor.describe([read_image(tmp_path / f"images/{name}.png")])[0] for name in "ab"]
    assert 0 < len(alone[0]) < 36 == len(alone[1])
    for key, expected in zip("ab", alone):  # nothing of another image fills the gap, as it did in the original
        np.testing.assert_allclose(store[key].boxes, expected.boxes, atol=2e-2)
    assert "1 images have fewer than 36 regions" in capfd.readouterr().err


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


@pytest.mark.parametrize("kind", ["lmdb", "npy"])
def test_formats_of_other_programs(tmp_path, whole, images, detector, kind):
    words = ("--detector", detector, "--boxes", "10:36", "--batch", 4, "--format", kind)
    found, expected = extract(images, tmp_path / "out", *words), open_regions(whole)
    assert found.format == {"lmdb": "lmdb", "npy": "folder"}[kind] and len(found) == len(expected) == 66
    assert store_bytes(tmp_path / "out.packed") == store_bytes(whole)
    for key in list(expected)[::20]:
        np.testing.assert_array_equal(found[key].features, expected[key].features)
    assert found.spec.extractor == expected.spec.extractor


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


def test_a_pipeline_sees_a_turned_image_as_the_extraction_does(tmp_path):
    file = photo(tmp_path / "turned.jpg", 80, 40, exif=_turned())
    np.testing.assert_array_equal(np.asarray(opened_image(file, upright=True)), read_image(file))
    with Image.open(file) as image:
        np.testing.assert_array_equal(np.asarray(opened_image(image, upright=True)), read_image(file))
    assert opened_image(file).size == (80, 40) and read_image(file).shape == (80, 40, 3)
