"""Crop, scaling, flip and normalisation, against sums done by hand and Pillow's own steps."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from pyutils.data.transforms import Crop, ImageTransform, albef_transform, normalise, random_crop
from pyutils.data.transforms.pipeline import ALBEF_MEAN, ALBEF_STD


class _Draws:
    """Gives recorded numbers in order, and notes what was asked for."""

    def __init__(self, *values: float) -> None:
        self.values, self.asked = list(values), []

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return self.values.pop(0)

    def integers(self, low: int, high: int, size: int | None = None):
        self.asked.append((low, high))
        return self.values.pop(0)

    def random(self) -> float:
        return self.values.pop(0)


def _image(width: int = 60, height: int = 40) -> Image.Image:
    values = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _transformed(transform, image, rng=None):
    crop = transform.crop(image.width, image.height, rng)
    return transform.finish(transform.scale(image, crop), rng)


def test_crop_follows_the_draws():
    draws = _Draws(0.5, math.log(4 / 3), 7, 11)
    # area 60 * 40 * 0.5 = 1200; width sqrt(1200 * 4 / 3) = 40, height sqrt(1200 * 3 / 4) = 30
    assert random_crop(60, 40, (0.5, 1.0), draws) == Crop(left=11, top=7, width=40, height=30)
    assert draws.asked == [(0.5, 1.0), (math.log(3 / 4), math.log(4 / 3)), (0, 11), (0, 21)]


def test_crop_tries_again_until_it_fits_then_takes_the_middle():
    never = (1.0, math.log(3 / 4))  # 42 wide and 57 high never fits 60 x 40
    draws = _Draws(*never, 0.5, math.log(4 / 3), 0, 0)
    assert random_crop(60, 40, (0.2, 1.0), draws) == Crop(0, 0, 40, 30)
    assert random_crop(60, 40, (0.2, 1.0), _Draws(*never * 10)) == Crop(left=3, top=0, width=53, height=40)
    wide = _Draws(*(1.0, math.log(3 / 4)) * 10)
    assert random_crop(200, 40, (0.2, 1.0), wide) == Crop(left=73, top=0, width=53, height=40)
    tall = _Draws(*(1.0, math.log(4 / 3)) * 10)
    assert random_crop(40, 200, (0.2, 1.0), tall) == Crop(left=0, top=73, width=40, height=53)


def test_crops_of_any_image_lie_inside_it():
    rng = np.random.default_rng(0)
    for width, height in ((1, 1), (1, 50), (50, 1), (2, 3), (640, 480)):
        for _ in range(50):
            left, top, cut_width, cut_height = random_crop(width, height, (0.2, 1.0), rng)
            assert cut_width > 0 < cut_height
            assert 0 <= left <= width - cut_width
            assert 0 <= top <= height - cut_height


def test_crop_areas_fill_the_asked_range():
    rng = np.random.default_rng(0)
    shares = [w * h / (500 * 400) for _, _, w, h in (random_crop(500, 400, (0.5, 1.0), rng) for _ in range(500))]
    assert 0.49 < min(shares) < 0.53
    assert 0.85 < max(shares) <= 1.0


def test_normalisation_is_the_arithmetic_bit_for_bit():
    pixels = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    unit = pixels.astype(np.float32) / np.float32(255)
    expected = (unit - np.float32(ALBEF_MEAN)) / np.float32(ALBEF_STD)
    found = normalise(pixels)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected.transpose(2, 0, 1))


def test_evaluation_scales_the_whole_image_without_draws():
    image = _image()
    expected = np.asarray(image.resize((24, 24), Image.BICUBIC))
    assert np.array_equal(_transformed(albef_transform("evaluate", 24), image), normalise(expected))
    assert not albef_transform("evaluate", 24).random


def test_random_crop_is_cut_before_it_is_scaled_and_flipped_after():
    transform = ImageTransform(24, crop_scale=(0.5, 1.0), flip=0.5)
    found = _transformed(transform, _image(), _Draws(0.5, math.log(4 / 3), 7, 11, 0.1))
    cut = _image().crop((11, 7, 51, 37)).resize((24, 24), Image.BICUBIC)
    assert np.array_equal(found, normalise(np.asarray(cut)[:, ::-1]))
    unflipped = _transformed(transform, _image(), _Draws(0.5, math.log(4 / 3), 7, 11, 0.5))
    assert np.array_equal(unflipped, normalise(np.asarray(cut)))


def test_settings_of_albef():
    assert albef_transform("pretrain", 256).crop_scale == (0.2, 1.0)
    assert albef_transform("finetune", 384).crop_scale == (0.5, 1.0)
    grounding = albef_transform("grounding", 384)
    assert (grounding.crop_scale, grounding.flip) == (None, 0.5)
    assert (grounding.augment.count, grounding.augment.level, len(grounding.augment.names)) == (2, 7, 10)
    assert albef_transform("grounding", 384, flip=False).flip == 0


def test_equal_generators_give_equal_images():
    transform = albef_transform("pretrain", 32)
    first, second, other = (_transformed(transform, _image(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
