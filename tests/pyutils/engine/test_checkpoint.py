"""Checkpoint folders and strict loading."""

from __future__ import annotations

import builtins
import errno
import resource
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
from paddle import nn

from pyutils.errors import InputError
from pyutils.formats.tensor_files import read_safetensors, write_safetensors
from pyutils.weights import read
from pyutils.weights.checkpoint import RunState, load_state, load_weights, save_checkpoint
from pyutils.weights.loading import load_arrays
from pyutils.weights.places import find_checkpoint
from tests.pyutils.engine.toy import Network


def weights_of(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("weights_format", ["safetensors", "pdparams"])
def test_a_checkpoint_brings_back_weights_files_metrics_and_state(tmp_path, weights_format):
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("[PAD]\n")
    model, other = Network(), Network()
    state = RunState({"progress": {"step": 3}}, {"optimizer/w/moment1": np.arange(3.0), "flag": np.array([True])})
    save_checkpoint(tmp_path / "last", model, "a: 1\n", [vocab], {"accuracy": 0.5}, state, weights_format)
    report = load_weights(other, tmp_path / "last")
    assert report.ok and sorted(report.matched) == sorted(model.state_dict())
    assert_equal(weights_of(model), weights_of(other))
    assert (tmp_path / "last/vocab.txt").read_text() == "[PAD]\n"
    assert (tmp_path / "last/config.yaml").read_text() == "a: 1\n"
    loaded = load_state(tmp_path / "last")
    assert loaded.values == state.values
    assert_equal(loaded.arrays, state.arrays)


def test_files_are_those_of_the_safetensors_library_both_ways(tmp_path):
    dtypes = ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")
    arrays = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in dtypes}
    arrays |= {"scalar": np.array(2.5, dtype=np.float32), "empty": np.zeros((0, 4), dtype=np.float32)}
    arrays["strided"] = np.arange(12, dtype=np.float32).reshape(3, 4).T
    write_safetensors(tmp_path / "ours", arrays, {"format": "pd"})
    assert_equal(safetensors.numpy.load_file(tmp_path / "ours"), arrays)
    safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, tmp_path / "theirs")
    assert_equal(read_safetensors(tmp_path / "theirs"), {k: arrays[k] for k in read_safetensors(tmp_path / "theirs")})


def nearest_bfloat16(values: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 numbers, the even one of two as near; float32. (Paddle 2.6 cuts on the CPU.)"""
    low = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    high = (low.view(np.uint32) + np.uint32(0x10000)).view(np.float32)
    up = np.abs(high.astype("float64") - values) - np.abs(values.astype("float64") - low)
    odd = (low.view(np.uint32) >> 16) & 1
    return np.where((up < 0) | ((up == 0) & (odd == 1)), high, low)


def test_bfloat16_is_read_as_the_equal_float32(tmp_path):
    values = np.random.default_rng(0).standard_normal(1000).astype("float32")
    values[:2] = 1 + 2**-8, 1 + 3 * 2**-8  # as near to two numbers
    write_safetensors(tmp_path / "x.safetensors", {"x": values}, floats="bfloat16")
    found = read_safetensors(tmp_path / "x.safetensors")["x"]
    rounded = nearest_bfloat16(values)
    assert found.dtype == np.float32 and found.tobytes() == rounded.tobytes()


def test_a_bfloat16_model_is_saved_and_loaded(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    model.to(dtype="bfloat16")
    save_checkpoint(tmp_path / "c", model)
    load_weights(other, tmp_path / "c")
    np.testing.assert_array_equal(other.weight.numpy(), model.weight.astype("float32").numpy())


@pytest.mark.parametrize("keep", [4, 40, -5])
def test_a_truncated_weight_file_is_an_error_that_names_it(tmp_path, keep):
    save_checkpoint(tmp_path / "c", Network())
    file = tmp_path / "c/model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model\.safetensors.*truncated"):
        load_weights(Network(), tmp_path / "c")


def test_a_checkpoint_of_another_shape_is_refused_with_a_report_and_changes_nothing(tmp_path):
    save_checkpoint(tmp_path / "c", Network(hidden=5))
    model = Network(hidden=8)
    before = weights_of(model)
    with pytest.raises(InputError) as caught:
        load_weights(model, tmp_path / "c")
    message = str(caught.value)
    assert "2 matched, 3 other shape" in message
    assert "hidden.weight: file [6, 5], model [6, 8]" in message
    assert "config.yaml beside it" in message and str(tmp_path / "c") in message
    assert_equal(before, weights_of(model))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c", nn.Linear(2, 2))
    with pytest.raises(InputError, match="another model"):
        load_weights(Network(), tmp_path / "c")


def test_only_named_tensors_may_be_missing_or_extra():
    model = Network()
    arrays = weights_of(model)
    del arrays["output.bias"]
    arrays["outputs.bias"] = np.zeros(3)
    with pytest.raises(InputError, match=r"output\.bias may be outputs\.bias in the file"):
        load_arrays(model, arrays, "test")
    with pytest.raises(InputError, match="1 unexpected"):
        load_arrays(model, arrays, "test", may_miss=[r"^output\."])
    report = load_arrays(model, arrays, "test", may_miss=[r"^output\."], may_be_extra=[r"^outputs\."])
    assert report.allowed_missing == ["output.bias"] and report.ignored == ["outputs.bias"] and report.ok
    assert "1 missing, allowed" in str(report)


def test_shapes_can_be_adapted():
    model = Network(hidden=8)
    arrays = weights_of(Network(hidden=8)) | {"output.bias": np.ones(5, dtype=np.float32)}
    report = load_arrays(model, arrays, "test", adapt=lambda name, array, shape: array[: shape[0]])
    assert report.reshaped == {"output.bias": ((5,), (3,))}
    assert model.output.bias.numpy().tolist() == [1, 1, 1]


def test_a_full_disk_leaves_the_previous_checkpoint_whole(tmp_path, monkeypatch):
    model = Network()
    save_checkpoint(tmp_path / "last", model, metrics={"step": 1})
    before = weights_of(model)
    model.output.bias.set_value(paddle.ones([3]))
    real_open = Path.open

    def full(self, mode="r", *args, **kwargs):
        stream = real_open(self, mode, *args, **kwargs)
        if "w" in mode and self.name.startswith("state"):

            def write(_data):
                raise OSError(errno.ENOSPC, "No space left on device")

            stream = type(
                "Full", (), {"__enter__": lambda s: s, "__exit__": lambda *_: None, "write": staticmethod(write)}
            )()
        return stream

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match="No space left on device; the previous checkpoint is intact.*--resume auto"):
        save_checkpoint(tmp_path / "last", model, state=RunState({}, {"x": np.zeros(3)}))
    monkeypatch.undo()
    assert_equal(read(tmp_path / "last/model.safetensors"), before)
    assert [item.name for item in tmp_path.iterdir()] == ["last"]


def test_a_file_size_limit_met_in_the_middle_of_the_weights_leaves_the_previous_one_whole(tmp_path):
    small, big = nn.Linear(2, 2), nn.Linear(300, 300)
    save_checkpoint(tmp_path / "last", small)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match=r"last: the checkpoint could not be written: File too large"):
            save_checkpoint(tmp_path / "last", big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    load_weights(small, tmp_path / "last")
    assert [item.name for item in tmp_path.iterdir()] == ["last"]


def test_a_swap_that_was_cut_off_is_recovered(tmp_path):
    save_checkpoint(tmp_path / "run/last", Network())
    (tmp_path / "run/last").rename(tmp_path / "run/.last.previous")
    assert find_checkpoint(tmp_path / "run") == tmp_path / "run/last"


def test_finding_a_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "run/last", nn.Linear(2, 2))
    assert find_checkpoint(tmp_path / "run") == tmp_path / "run/last"
    save_checkpoint(tmp_path / "run/best", nn.Linear(2, 2))
    assert find_checkpoint(tmp_path / "run") == tmp_path / "run/best"
    assert find_checkpoint(tmp_path / "run/last") == tmp_path / "run/last"
    with pytest.raises(InputError, match="no checkpoint here"):
        find_checkpoint(tmp_path / "none")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected model\.safetensors.*found notes\.txt"):
        find_checkpoint(tmp_path / "other")


def test_weights_without_state_cannot_be_resumed(tmp_path):
    save_checkpoint(tmp_path / "best", nn.Linear(2, 2))
    with pytest.raises(InputError, match="not resumed"):
        load_state(tmp_path / "best")


def test_code_in_a_pdparams_file_is_not_run(tmp_path):
    (tmp_path / "x.pdparams").write_bytes(b"cbuiltins\nprint\n(S'run'\ntR.")
    with pytest.raises(InputError, match=r"x\.pdparams"):
        read(tmp_path / "x.pdparams")
    assert builtins.print is print
