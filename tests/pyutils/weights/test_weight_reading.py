"""Every weight format against arrays recorded with the programs that wrote the files."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.formats.tensor_files import write_safetensors
from pyutils.formats.weight_files import PADDLE, SAFETENSORS, TORCH_LEGACY, TORCH_ZIP, file_format
from pyutils.weights import read, read_object
from pyutils.weights.places import resolve_weights
from tests.pyutils.weights.torch_files import write_legacy, write_zip
from tests.support import golden

RECORDED = golden("weights")


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert type(found[name]) is np.ndarray
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("name", ["zip.pth", "legacy.th"])
def test_files_of_pytorch_with_every_type_and_layout(name):
    assert_same(read(RECORDED.folder / name), RECORDED.arrays("expected.npz"))


@pytest.mark.parametrize("name", ["zip.pth", "legacy.th"])
def test_a_whole_training_checkpoint_keeps_its_structure(name):
    content = read_object(RECORDED.folder / name)
    assert content["epoch"] == 7
    assert content["optimizer"]["param_groups"] == [{"lr": 1e-4, "betas": (0.9, 0.98), "params": [0]}]
    np.testing.assert_array_equal(content["optimizer"]["state"][0]["exp_avg"], np.ones((2, 3), "float32"))


@pytest.mark.parametrize("name", ["protocol2.pdparams", "protocol4.pdparams", "nested.pdparams"])
def test_files_of_paddle(name):
    expected = RECORDED.arrays("expected.npz")
    found = read(RECORDED.folder / name)
    assert_same(found, {key: expected[key] for key in found})
    assert len(found) == 8


def test_optimizer_state_of_paddle():
    found = read(RECORDED.folder / "adamw.pdopt")
    np.testing.assert_allclose(found["linear_0.w_0_beta1_pow_acc_0"], [0.81], rtol=1e-6)
    assert read_object(RECORDED.folder / "adamw.pdopt")["LR_Scheduler"]["last_epoch"] == 0


def test_sliced_tensors_of_paddle_become_whole(tmp_path):
    whole = np.arange(24, dtype="float32").reshape(4, 6)
    content = {
        "w@@.0": whole.ravel()[:10],
        "w@@.1": whole.ravel()[10:],
        "small": whole[0],
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (4, 6), "slices": ["w@@.0", "w@@.1"]}},
        "StructuredToParameterName@@": {"w": "linear_0.w_0"},
    }
    for protocol in (2, 4):
        (tmp_path / "x.pdparams").write_bytes(pickle.dumps(content, protocol))
        assert_same(read(tmp_path / "x.pdparams"), {"small": whole[0], "w": whole})


def test_static_graph_tensors_of_paddle_are_read_without_eval(tmp_path):
    class Tensor:
        def __reduce__(self):
            return eval, ("data", {"data": np.ones(3, "float32")})

    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"w": Tensor()}, 4))
    assert_same(read(tmp_path / "x.pdparams"), {"w": np.ones(3, "float32")})


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_hand_written_files_equal_what_they_hold(tmp_path, write):
    arrays = {key: value for key, value in RECORDED.arrays("expected.npz").items() if value.size}
    assert_same(read(write(tmp_path / "x.bin", arrays)), arrays)
    assert_same(read(write(tmp_path / "y.bin", {"state_dict": {"model": arrays}})), arrays)


def test_formats_are_told_by_content_not_by_name(tmp_path):
    arrays = {"w": np.ones(2, "float32")}
    write_safetensors(tmp_path / "a.bin", arrays)
    write_zip(tmp_path / "b.safetensors", arrays)
    write_legacy(tmp_path / "c.pdparams", arrays)
    (tmp_path / "d.pth").write_bytes(pickle.dumps(arrays, 4))
    for name, kind in [
        ("a.bin", SAFETENSORS),
        ("b.safetensors", TORCH_ZIP),
        ("c.pdparams", TORCH_LEGACY),
        ("d.pth", PADDLE),
    ]:
        assert file_format(tmp_path / name) == kind
        assert_same(read(tmp_path / name), arrays)


def test_large_tensors_are_mapped_not_copied(tmp_path):
    arrays = {"w": np.zeros((1000, 1000), "float32")}
    for file in (write_zip(tmp_path / "z.pth", arrays), write_legacy(tmp_path / "l.th", arrays)):
        found = read(file)["w"]
        assert not found.flags.writeable and not found.flags.owndata


def test_shared_storages_are_widened_once(tmp_path):
    content = read_object(RECORDED.folder / "zip.pth")["model"]
    assert content["bfloat16"].dtype == np.float32
    assert np.shares_memory(content["f32"], content["transposed"])


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08\x00aaaaaaa", "gzip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        (b'{"hidden_size": 768}', "JSON text"),
        (b"\x08\x03\x12\x07pytorch", "begins with"),
        (b"\x80\x7fabc", "begins with"),
    ],
)
def test_what_is_no_weight_file_is_named(tmp_path, start, told):
    (tmp_path / "w.pth").write_bytes(start)
    with pytest.raises(InputError, match=rf"w\.pth: expected weights .*{told}"):
        read(tmp_path / "w.pth")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: cannot be read: No such file"):
        read(tmp_path / "none.pth")
    with pytest.raises(InputError, match="directory"):
        read(tmp_path)


@pytest.mark.parametrize("value", [{"epoch": 3}, [1, 2], {"a": [np.ones(2, "float32")]}])
def test_a_file_without_named_arrays_says_what_it_holds(tmp_path, value):
    with pytest.raises(InputError, match=r"x\.th: expected a state dict of named arrays, found"):
        read(write_legacy(tmp_path / "x.th", value))


@pytest.mark.parametrize("name", ["model_state.pdparams", "pytorch_model.bin", "model.pth"])
def test_folders_of_other_code_bases_are_found(tmp_path, name):
    write_zip(tmp_path / name, {"w": np.ones(2, "float32")})
    assert resolve_weights(tmp_path) == tmp_path / name
    write_safetensors(tmp_path / "model.safetensors", {"w": np.zeros(2, "float32")})
    assert resolve_weights(tmp_path) == tmp_path / "model.safetensors"


def test_reading_needs_neither_paddle_nor_torch():
    script = (
        "import sys\nfrom pyutils.weights import read\n"
        f"assert len(read({str(RECORDED.folder / 'zip.pth')!r})) == 15\n"
        "assert not {'paddle', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
