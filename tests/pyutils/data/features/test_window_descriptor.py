"""The built-in region descriptor: windows, sizes, what it tells apart, what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pyutils.data.features.window_descriptor import DIMENSION, describe_boxes, describe_windows, window_boxes


def picture(shape: str, box, colour=(200, 30, 30), background=(240, 244, 236), size=(64, 64)) -> np.ndarray:
    image = Image.new("RGB", size, background)
    pencil = ImageDraw.Draw(image)
    if shape == "triangle":
        pencil.polygon([((box[0] + box[2]) / 2, box[1]), (box[2], box[3]), (box[0], box[3])], fill=colour)
    else:
        getattr(pencil, shape)(box, fill=colour)
    return np.asarray(image)


def test_windows_cover_the_image_and_end_with_all_of_it():
    boxes = window_boxes(90, 60)
    assert boxes.shape == (35, 4)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes[0], [0, 0, 30, 20], atol=1e-5)
    np.testing.assert_allclose(boxes[24], [60, 40, 90, 60], atol=1e-5)
    np.testing.assert_allclose(boxes[-1], [0, 0, 90, 60])


def test_a_batch_gives_what_each_image_gives():
    images = np.stack([picture("rectangle", (5, 9, 30, 40)), picture("ellipse", (20, 20, 44, 50))])
    batch = describe_windows(images)
    assert batch.shape == (2, 35, DIMENSION)
    assert batch.dtype == np.float32
    for row, image in zip(batch, images):
        np.testing.assert_allclose(row, describe_boxes(image, window_boxes(64, 64)), atol=2e-5)


def test_features_stay_in_a_range_a_model_can_take():
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    flat = np.full((1, 64, 64, 3), 255, np.uint8)
    features = describe_windows(np.concatenate([noise, flat]))
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 8


@pytest.mark.parametrize(
    ("shape", "low", "high"), [("rectangle", 0.96, 1.03), ("ellipse", 1.02, 1.08), ("triangle", 0.80, 0.90)]
)
@pytest.mark.parametrize("size", [12, 36])
def test_fullness_tells_the_shape_at_any_size(shape, low, high, size):
    margin = size // 4
    box = [20 - margin, 21 - margin, 21 + size + margin, 22 + size + margin]
    features = describe_boxes(picture(shape, (20, 21, 20 + size, 21 + size)), [box])[0]
    assert low < features[29] / 8 + 0.9 < high


def test_the_colour_of_the_mask_is_the_colour_of_the_shape():
    features = describe_boxes(picture("rectangle", (20, 20, 44, 50), colour=(0, 128, 128)), [[18, 18, 47, 53]])[0]
    np.testing.assert_allclose(features[15:18] / 3 + 0.6, np.array([0, 128, 128]) / 255, atol=0.04)


def test_a_tight_box_looks_alike_wherever_it_is():
    left = describe_boxes(picture("triangle", (4, 4, 23, 23)), [[2, 2, 26, 26]])[0]
    right = describe_boxes(picture("triangle", (34, 30, 53, 49)), [[32, 28, 56, 52]])[0]
    np.testing.assert_allclose(left[6:], right[6:], atol=1e-3)
    assert np.abs(left[:6] - right[:6]).max() > 0.5


def test_boxes_outside_of_the_image_are_cut():
    image = picture("rectangle", (30, 30, 63, 63))
    inside, outside = describe_boxes(image, [[20, 20, 64, 64], [20, 20, 90, 90]])
    np.testing.assert_allclose(inside[6:], outside[6:], atol=1e-5)
    assert np.isfinite(describe_boxes(image, [[-9, -9, -5, -5], [70, 70, 80, 80], [10, 10, 10, 10]])).all()
