"""Our readers beside PyTorch's own on the files that it writes; runs where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

from pyutils.weights import read
from tests.pyutils.weights.torch_files import write_legacy, write_zip
from tests.support import golden

torch = pytest.importorskip("torch", reason="compares with PyTorch where it is installed")
ARRAYS = golden("visualbert/vqa").weights
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)


def as_numpy(tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_what_pytorch_writes_is_read_as_it_reads_it(tmp_path, dtype, zipped):
    whole = torch.arange(24).reshape(4, 6).to(dtype)
    tensors = {"whole": whole, "turned": whole.T, "part": whole[1:3, ::2], "one": whole[2, 3], "none": whole[:0]}
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    expected = torch.load(tmp_path / "x.pth", weights_only=True)["model"]
    found = read(tmp_path / "x.pth")
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], as_numpy(tensor))


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_what_the_tests_write_is_what_pytorch_reads(tmp_path, write):
    loaded = torch.load(write(tmp_path / "x.pth", ARRAYS), weights_only=True)
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name].numpy(), value)
