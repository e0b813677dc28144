"""Images as region features: what is described at reading equals what a folder of features holds."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pyutils.data.features import keep_available, open_regions
from pyutils.data.features.window_descriptor import describe_boxes, window_boxes
from pyutils.data.features.windows import WindowDescriber
from pyutils.errors import InputError


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, pixels):
    (tmp_path / "below").mkdir()
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    Image.fromarray(pixels[1]).save(tmp_path / "below/b.png")
    return tmp_path


def test_images_are_found_by_name_and_by_path_and_described(folder, pixels):
    source = open_regions(folder, "windows")
    assert list(source) == ["a", "b"] and len(source) == 2
    boxes = window_boxes(60, 40)
    for key, image in (("a", pixels[0]), ("b", pixels[1]), (str(folder / "below/b.png"), pixels[1])):
        read = source[key]
        assert key in source and (read.width, read.height) == (60, 40)
        np.testing.assert_array_equal(read.boxes, boxes)
        # Window by window, which the batch of all windows must not change.
        one_by_one = np.concatenate([describe_boxes(image, box[None]) for box in boxes])
        np.testing.assert_allclose(read.features, one_by_one, atol=1e-5)
    batch = source.read_batch([str(folder / "below/b.png"), "a"])
    np.testing.assert_array_equal(batch.features[1], source["a"].features)
    np.testing.assert_array_equal(batch.features[0], WindowDescriber().describe([pixels[1]])[0].features)
    source.check(192, "window-descriptor", boxes=True)


def test_a_folder_without_images_serves_paths(folder, tmp_path_factory):
    source = open_regions(tmp_path_factory.mktemp("empty"), "windows")
    assert len(source[str(folder / "a.png")]) == 35
    assert source.missing([str(folder / "a.png"), "c"]) == ["c"]
    with pytest.raises(InputError, match="c"):
        keep_available(source, ["c"])


def test_images_that_cannot_be_read_are_named(folder):
    source = open_regions(folder, "windows")
    with pytest.raises(InputError, match="no features for image 'c'"):
        source["c"]
    (folder / "broken.png").write_bytes(b"x")
    with pytest.raises(InputError, match="broken.png"):
        source[str(folder / "broken.png")]
