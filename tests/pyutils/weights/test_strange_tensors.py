"""Tensors with strange names are shown safely; those of types that are not read here are named as such."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.weights import read, read_object
from pyutils.weights.__main__ import main
from tests.pyutils.weights.torch_files import Opcodes, legacy_of, zip_of


def safetensors_of(path, entries, size: int):
    """A file by hand: what its writer would refuse, too."""
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + np.zeros(size, np.uint8).tobytes())
    return path


def entry(kind: str = "F32", place: int = 0) -> dict:
    return {"dtype": kind, "shape": [1], "data_offsets": [place, place + 4]}


@pytest.mark.parametrize(
    ("name", "shown"),
    [("w\x1b[31mRED\x1b]0;title\x07", r"w\x1b[31mRED\x1b]0;title\x07"), ("a\nb", r"a\nb"), ("a|b", r"a\|b"),
     ("\ud800", r"\ud800"), ("poids_naïfs", "poids_naïfs")],
)  # fmt: skip
def test_names_reach_the_terminal_escaped(tmp_path, capsys, name, shown):
    first = safetensors_of(tmp_path / "x.safetensors", {"w": entry(), name: entry(place=4)}, 8)
    second = safetensors_of(tmp_path / "y.safetensors", {"w": entry()}, 4)
    assert main(["inspect", str(first)]) == 0
    printed = capsys.readouterr().out
    assert f"| {shown} | " in printed
    assert main(["diff", str(first), str(second)]) == 1
    printed += capsys.readouterr().out
    assert f"| {shown} | only in the first |" in printed
    assert name == shown or name not in printed
    printed.encode()


def test_types_of_safetensors_that_are_not_read_are_named(tmp_path):
    file = safetensors_of(tmp_path / "x.safetensors", {"w": {**entry("F8_E4M3"), "shape": [4]}}, 4)
    with pytest.raises(InputError, match=r"tensor 'w' .*'F8_E4M3'.*F64, F32"):
        read(file)


def torch_file(path, storage: str, function: str, rest: bytes, legacy: bool):
    """{"w": a tensor of `storage` with the further arguments `rest`, "v": the version of PyTorch}."""
    written = Opcodes()
    written.stream += b"}("
    written.text("v")
    written.name("torch.torch_version", "TorchVersion")
    written.text("2.13.0")
    written.stream += b"\x85\x81"
    written.text("w")
    written.name("torch._utils", function)
    written.stream += b"("
    written.reference(storage, "0", 4, legacy)
    text, storages = bytes(written.stream) + rest + b"tRu.", {"0": bytes(32)}
    return legacy_of(path, text, storages, [4]) if legacy else zip_of(path, text, storages)


PLAIN = b"K\x00K\x04\x85K\x01\x85\x89N"
KINDS = {
    "complex": ("ComplexFloatStorage", "_rebuild_tensor_v2", PLAIN, "tensor of the type ComplexFloat, which is not"),
    "uint16": ("UntypedStorage", "_rebuild_tensor_v3", PLAIN + b"ctorch\nuint16\n", "tensor of the type uint16, which"),
    "float8": ("UntypedStorage", "_rebuild_tensor_v3", PLAIN + b"ctorch\nfloat8_e5m2\n", "of the type float8_e5m2"),
    "expanded": ("FloatStorage", "_rebuild_tensor_v2", b"K\x00K\x03K\x04\x86K\x00K\x01\x86\x89N", "an expanded tensor"),
    "newer of another type": ("FloatStorage", "_rebuild_tensor_v3", PLAIN + b"N", "tensor with unusual arguments"),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("legacy", [False, True])
def test_honest_tensors_that_are_not_read_are_not_called_programs(tmp_path, kind, legacy):
    storage, function, rest, told = KINDS[kind]
    with pytest.raises(InputError, match=rf"x\.pth: .*{told}"):
        read(torch_file(tmp_path / "x.pth", storage, function, rest, legacy))


@pytest.mark.parametrize("legacy", [False, True])
def test_the_version_of_pytorch_is_text(tmp_path, legacy):
    found = read_object(torch_file(tmp_path / "x.pth", "FloatStorage", "_rebuild_tensor_v2", PLAIN, legacy))
    assert found["v"] == "2.13.0" and type(found["v"]) is str and found["w"].shape == (4,)


@pytest.mark.parametrize(
    "change", [b"}X\x01\x00\x00\x00aK\x01sb", b"N}X\x07\x00\x00\x00__new__K\x01s\x86b", b")\x81K\x01\x85R"]
)
def test_the_stand_in_for_versions_cannot_be_altered(tmp_path, change):
    file = zip_of(tmp_path / "x.pth", b"\x80\x02ctorch.torch_version\nTorchVersion\n" + change + b".", {})
    with pytest.raises(InputError, match=r"x\.pth"):
        read(file)
    assert (
        read_object(torch_file(tmp_path / "y.pth", "FloatStorage", "_rebuild_tensor_v2", PLAIN, False))["v"] == "2.13.0"
    )
