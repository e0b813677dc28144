"""RandAugment against the recorded outputs of the original, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from pyutils.data.transforms import operations
from pyutils.data.transforms.randaugment import ALBEF_OPERATIONS, OPERATIONS, RandomAugment
from tests.support import golden


class _Recorded:
    """The draws of the original, which asks `np.random` for integers by its older name."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)  # noqa: NPY002 - the recorded draws come from it

    def random(self) -> float:
        return self._state.random_sample()

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        return self._state.randint(low, high, size)


class _Fixed:
    def __init__(self, value: float) -> None:
        self._value = value

    def random(self) -> float:
        return self._value


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_operation_equals_the_original(name):
    case = golden("albef/randaugment")
    images, expected = case.inputs, case.outputs
    entries = [entry for entry in case.json("ops.json") if entry["op"] == name]
    assert entries
    for entry in entries:
        numbers = [value for value in entry["args"] if not isinstance(value, list)]
        assert all(value == list(operations.FILL) for value in entry["args"] if isinstance(value, list))
        found = OPERATIONS[name][0](images[entry["image"]], *numbers).astype(int)
        difference = np.abs(found - expected[entry["output"]])
        overflow = expected.get(entry["output"] + "_overflow")
        if overflow is not None:
            difference[overflow != 0] = 0
        assert difference.max() == 0, entry["output"]


def test_sharpness_clips_where_the_original_wraps():
    case = golden("albef/randaugment")
    seen = 0
    for entry in case.json("ops.json"):
        if entry["op"] == "Sharpness" and entry["output"] + "_overflow" in case.outputs:
            overflow = case.outputs[entry["output"] + "_overflow"] != 0
            found = operations.sharpness(case.inputs[entry["image"]], *entry["args"])
            assert set(np.unique(found[overflow])) <= {0, 255}
            seen += overflow.sum()
    assert seen


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_arguments_of_a_level_equal_the_original(name):
    for entry in golden("albef/randaugment").json("ops.json"):
        if entry["op"] == name:
            draw = _Fixed(entry.get("np_random_random", 0.25 if name == "Rotate" else 0.75))
            expected = [value for value in entry["args"] if not isinstance(value, list)]
            found = OPERATIONS[name][1](entry["level"], draw)
            assert [abs(value) for value in found] == [abs(value) for value in expected]
            if "np_random_random" in entry:
                assert list(found) == expected


def test_whole_calls_equal_the_original_under_its_draws():
    case = golden("albef/randaugment")
    calls = case.json("calls.json")
    for call in calls:
        augment = RandomAugment(call["N"], call["M"], call["augs"])
        found = augment(case.inputs["image"], _Recorded(call["np_seed"]))
        differs = found != case.outputs[call["output"]]
        if [name for name, _ in call["applied"]] == ["Sharpness"]:
            differs &= case.outputs["Sharpness_L7_overflow"] == 0
        assert not differs.any(), call["output"]
    assert any(call["augs"] == list(ALBEF_OPERATIONS) for call in calls)


def test_inputs_are_left_alone():
    image = golden("albef/randaugment").inputs["image"]
    before = image.copy()
    rng = np.random.default_rng(0)
    for name, (operation, arguments) in OPERATIONS.items():
        operation(image, *arguments(7, rng))
        assert np.array_equal(image, before), name


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (2, 2, 3)])
def test_tiny_images_keep_their_shape(shape):
    image = np.full(shape, 200, np.uint8)
    for operation, arguments in OPERATIONS.values():
        found = operation(image, *arguments(7, np.random.default_rng(1)))
        assert found.shape == shape
        assert found.dtype == np.uint8


def test_whole_pixel_moves_equal_the_general_warp():
    image = np.random.default_rng(3).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    for pixels in (-40, -5, 0, 7, 17):
        matrix = np.array([[1, 0, -pixels], [0, 1, 0]])
        expected = operations.warp_affine(image, matrix, operations.FILL)
        assert np.array_equal(operations.translate_x(image, pixels), expected)
        turned = operations.translate_y(image.transpose(1, 0, 2), pixels).transpose(1, 0, 2)
        assert np.array_equal(turned, expected)


def test_plain_auto_contrast_stretches_to_the_full_range():
    image = np.linspace(90, 140, 48).astype(np.uint8).reshape(4, 4, 3)
    found = operations.auto_contrast(image, wrap=False)
    assert (found.min(), found.max()) == (0, 255)
    assert operations.auto_contrast(image).min() == 255


def test_half_of_the_draws_are_skipped():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    augment = RandomAugment(1, 7, ["Posterize"])
    rng = np.random.default_rng(0)
    changed = sum(not np.array_equal(augment(image, rng), image) for _ in range(400))
    assert 160 < changed < 240
