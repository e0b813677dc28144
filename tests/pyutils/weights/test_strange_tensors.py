"""Tensors with strange names are shown safely; those of types that are not read here are named as such."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from pyutils.weights.__main__ import main


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
