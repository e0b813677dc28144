"""Small files whose nesting would take years to hash, to print, to flatten or to multiply: refused at once."""

from __future__ import annotations

import json
import pickle
import signal
import struct
from collections import OrderedDict

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.formats import safe_pickle
from pyutils.formats.plain_values import brief
from pyutils.formats.torch_legacy import MAGIC
from pyutils.weights import read, read_object
from tests.pyutils.weights.torch_files import zip_of

_SECONDS = 5
START = b"\x80\x02"


@pytest.fixture(autouse=True)
def _time_limit():
    def late(*_):
        raise TimeoutError(f"still reading after {_SECONDS} seconds")

    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def doubled(levels: int, kind: str = "tuple") -> bytes:
    """Opcodes of a container that holds one container twice, that another one twice, and so on."""
    written = {"tuple": b")", "list": b"]", "dict": b"}"}[kind] + b"q\x00"
    for level in range(levels):
        inner, place = b"h" + bytes([level]), b"q" + bytes([level + 1])
        if kind == "tuple":
            written += b"0" + inner * 2 + b"\x86" + place
        elif kind == "list":
            written += b"0](" + inner * 2 + b"e" + place
        else:
            written += b"0}(K\x00" + inner + b"K\x01" + inner + b"u" + place
    return written


NEST = doubled(60)
EMPTY_BYTES = b"c_codecs\nencode\n" + text("") + text("latin1") + b"\x86R"
FLOAT = b"cnumpy\ndtype\n" + text("f4") + b"\x89\x88\x87R"
# name → (a pickle, what the message says)
PICKLES = {
    "key": (b"}" + NEST + b"K\x01s", "as a key or a member"),
    "key from the memo": (NEST + b"0}h\x3cK\x01s", "as a key or a member"),
    "doubled key": (NEST + b"0}h\x3c2K\x01s", "no dictionary"),
    "keys": (b"}(" + NEST + b"K\x01u", "as a key or a member"),
    "old dictionary": (b"(" + NEST + b"K\x01d", "as a key or a member"),
    "member of a set": (b"\x80\x04\x8f(" + NEST + b"\x90", "as a key or a member"),
    "member of a frozen set": (b"\x80\x04(" + NEST + b"\x91", "as a key or a member"),
    "ordered dictionary": (
        b"ccollections\nOrderedDict\n](" + NEST + b"K\x01\x86e\x85R", "a tuple of 2 as a key"),
    "huge number for a key": (
        b"}\x8b" + struct.pack("<I", 100_000) + b"\x01" * 100_000 + b"K\x01s",
        "a huge number as a key"),
    "reference": (NEST + b"Q", "(a tuple of 2|data outside itself)"),
    "data type": (b"cnumpy\ndtype\n" + NEST + b"\x85R", "unusual data type a tuple of 2"),
    "axis": (b"cnumpy.core.numeric\n_frombuffer\n(" + EMPTY_BYTES + FLOAT + NEST + text("C") + b"tR", "a tuple of 2"),
    "encoding": (b"c_codecs\nencode\n" + text("") + NEST + b"\x86R", "encoding with a tuple of 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(PICKLES))
@pytest.mark.parametrize("kind", ["pdparams", "zip"])
def test_nests_are_neither_hashed_nor_printed(tmp_path, case, kind):
    body, told = PICKLES[case]
    content = (b"" if body.startswith(b"\x80") else START) + body + b"."
    file = tmp_path / "x.bin"
    if kind == "zip":
        zip_of(file, content, {})
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=rf"x\.bin.*{told}"):
        read(file)


def test_a_nest_in_the_place_of_a_storages_key(tmp_path):
    body = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + NEST + text("cpu") + b"K\x04tQ."
    with pytest.raises(InputError, match="reference of a StorageType, a tuple of 2 and 4"):
        read(zip_of(tmp_path / "x.pth", START + body, {"0": bytes(16)}))


def test_a_nest_for_the_protocol_of_an_old_file(tmp_path):
    (tmp_path / "x.th").write_bytes(MAGIC + START + NEST + b"." + START + b"}.")
    with pytest.raises(InputError, match="protocol a tuple of 2 for a dict of 0"):
        read(tmp_path / "x.th")


@pytest.mark.parametrize(
    "body",
    [
        b"}q\x00" + text("model") + b"h\x00s",
        b"}q\x00" + text("a") + b"h\x00s",
        b"}" + text("a") + doubled(60, "dict") + b"s",
    ],
    ids=["model inside itself", "inside itself", "doubled"],
)
@pytest.mark.parametrize("kind", ["pdparams", "zip"])
def test_dictionaries_inside_themselves_end(tmp_path, body, kind):
    file = tmp_path / "x.bin"
    if kind == "zip":
        zip_of(file, START + body + b".", {})
    else:
        file.write_bytes(START + body + b".")
    with pytest.raises(
        InputError, match=r"x\.bin: expected a state dict of named arrays, found the entries (model|a);"
    ):
        read(file)


def test_bfloat16_is_widened_in_dictionaries_that_share(tmp_path):
    array = np.full(3, 0x3F80, np.uint16)
    inner = {"w": array}
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"a": inner, "b": {"c": inner}, "w": array}, 4))
    found = read_object(tmp_path / "x.pdparams")
    for mapping in (found, found["a"], found["b"]["c"]):
        assert mapping["w"].dtype == np.float32 and mapping["w"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("slices", "shape", "told"),
    [
        (b"]" + text("p") + b"a", b"K\x01\x85", "'p' is no array of the file"),
        (b"]" + doubled(60, "tuple") + b"a", b"K\x01\x85", "a tuple of 2 is no array of the file"),
        (b"]", NEST, "the shape is a tuple of 2"),
    ],
)
def test_slices_that_are_no_arrays(tmp_path, slices, shape, told):
    table = b"}" + text("t") + b"}(" + text("slices") + slices + text("OriginShape") + shape + b"us"
    if slices == b"]":
        table = table.replace(slices, b"]" + text("w") + b"a", 1)
    array = pickle.dumps(np.ones(1, "float32"), 2)[2:-1]
    body = b"}(" + text("w") + array + text("p") + doubled(28, "list") + text("UnpackBigParamInfor@@") + table + b"u."
    (tmp_path / "x.pdparams").write_bytes(START + body)
    with pytest.raises(InputError, match=f"slices of a large tensor do not fit together .{told}"):
        read(tmp_path / "x.pdparams")


def test_very_many_axes_are_not_multiplied(tmp_path):
    count, longest = 200_000, b"\x8a\x08" + (1 << 61).to_bytes(8, "little")
    axes = b"(" + longest + b"q\x00" + b"h\x00" * count + b"t(K\x00q\x01" + b"h\x01" * count + b"t"
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
    body = b"}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + axes + b"\x89NtRs."
    with pytest.raises(InputError, match="tensor with unusual arguments"):
        read(zip_of(tmp_path / "x.pth", START + body, {"0": bytes(16)}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 61] * count, "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(InputError, match="tensor 'w' .*its shape has 200000 axes"):
        read(tmp_path / "x.safetensors")
    frombuffer = b"cnumpy.core.numeric\n_frombuffer\n(" + EMPTY_BYTES + FLOAT
    frombuffer += b"(" + longest + b"q\x00" + b"h\x00" * count + b"t" + text("C") + b"tR."
    with pytest.raises(InputError, match="array whose shape is a tuple of 200001"):
        safe_pickle.load(START + frombuffer, "x.p")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_usual_keys_are_read(tmp_path, protocol):
    """What trained models keep beside their tensors; each protocol writes it with other instructions."""
    usual = {
        "w": np.ones(2, "float32"), 3: [1], -1: (), 2.5: None, None: True, False: ((1, 2), ["a"]), 1 << 40: {},
        ("lo", "w"): 1, (1, 2, "x"): {"deep": {("a",): [{}, {"b": ()}]}}, "ordered": OrderedDict([("k", 1), ("l", 2)]),
        "betas": (0.9, 0.999),
    }  # fmt: skip
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(usual, protocol))
    np.testing.assert_equal(read_object(tmp_path / "x.pdparams"), usual)


def test_values_for_messages_are_short():
    assert brief("a" * 1000) == repr("a" * 60) + "…" and brief(b"a") == "b'a'"
    assert brief(10**5000) == brief(-(10**5000)) == "a huge number"
    assert brief(3) == "3" and brief(None) == "None"
    assert brief([1, 2]) == "a list of 2" and brief(np.ones(3)) == "a ndarray"
