"""Pickled data is read, pickled programs are not run."""

from __future__ import annotations

import codecs
import os
import pickle
import pickletools
import resource
import struct
import time
from collections import OrderedDict

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.formats.safe_pickle import load, load_npy
from tests.support import golden

FORMATS = golden("visualbert/data_formats").folder
REFS = golden("vilbert/refer_dataset").folder / "dataroot/refcoco+/refs(unc).p"


class Program:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def values() -> dict:
    return {
        "array": np.arange(6, dtype="<f4").reshape(2, 3, order="F"),
        "big_endian": np.arange(3, dtype=">i2"),
        "half": np.ones(3, np.float16),
        "bool": np.array([True, False]),
        "text": np.array(["a", "bcd"]),
        "empty": np.zeros((0, 4), np.float32),
        "point": np.array(5),
        "scalar": np.float32(2.5),
        "nested": (1, [np.array([2.0]), b"abc", b""], OrderedDict([("a", None)])),
        "set": {1, 2},
        "frozen": frozenset([1]),
        "complex": 1 + 2j,
        "bytearray": bytearray(b"xy"),
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_survives(protocol):
    found = load(pickle.dumps(values(), protocol=protocol))
    np.testing.assert_equal(found, values())
    arrays = [found["array"], found["text"], found["nested"][1][0]]
    assert all(type(array) is np.ndarray for array in arrays)
    assert type(found["nested"][2]) is OrderedDict


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_object_arrays_hold_ordinary_arrays(protocol):
    array = np.array([None, {"k": np.ones(2)}], dtype=object)
    found = load(pickle.dumps(array, protocol=protocol))
    assert type(found) is np.ndarray and type(found[1]["k"]) is np.ndarray and found[0] is None


def test_names_of_both_numpy_generations():
    new = pickle.dumps(np.arange(4.0), protocol=2)
    module = np.ones(1).__reduce__()[0].__module__.encode()
    for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        assert load(new.replace(b"c" + module + b"\n", b"c" + name + b"\n")).tolist() == [0, 1, 2, 3]


def test_python_2_text():
    assert load(b"(dp0\nS'caf\\xe9'\np1\nI3\ns.") == {"caf\xe9": 3}


def test_recorded_files_are_read_as_numpy_reads_them():
    for path in [*FORMATS.glob("datasets/**/*.npy"), *FORMATS.glob("mmf/*.npy"), *FORMATS.glob("X_COCO/**/*_info.npy")]:
        expected = np.load(path, allow_pickle=True)
        found = load_npy(path)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_equal(found.tolist(), expected.tolist())
    with REFS.open("rb") as stream:
        assert load(REFS) == pickle.load(stream)


def dangerous(target: str) -> dict[str, bytes]:
    mark = f"touch {target}"
    return {
        "posix.system": pickle.dumps(Program(os.system, mark)),
        "builtins.eval": pickle.dumps(Program(eval, f"open({target!r}, 'w')")),
        "builtins.getattr": pickle.dumps(Program(getattr, [], "append")),
        "copyreg._reconstructor": b"ccopyreg\n_reconstructor\n(tR.",
        "numpy.load": pickle.dumps(Program(np.load, "x")),
        "numpy.fromfile": b"cnumpy\nfromfile\n(S'/etc/passwd'\ntR.",
        "numpy.testing._private.utils.runstring": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        "functools.partial": b"cfunctools\npartial\n(tR.",
        "builtins.bytes.decode": b"\x80\x04\x8c\x08builtins\x8c\x0cbytes.decode\x93.",
    }


def test_programs_are_refused_and_not_run(tmp_path):
    target = tmp_path / "ran"
    for name, program in dangerous(str(target)).items():
        file = tmp_path / "data.p"
        file.write_bytes(program)
        with pytest.raises(InputError) as caught:
            load(file)
        assert str(file) in str(caught.value) and name in str(caught.value)
    assert not target.exists()


def test_a_program_inside_an_npy_file_is_refused(tmp_path):
    target, file = tmp_path / "ran", tmp_path / "imdb.npy"
    np.save(file, np.array([Program(os.system, f"touch {target}")], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"imdb\.npy.*posix\.system"):
        load_npy(file)
    assert not target.exists()


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.", "encoding with 'zip'"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nset\n(I0\ntS'b'\ntR.", "unusual class"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000000\ntS'b'\ntR.", "unusual class"),
        (b"cnumpy\ndtype\n(S'O8'\nI00\nI01\ntR(I3\nS'|'\nN(S'a'\ntp1\n(dI8\nI1\nI63\ntb.", "structured data type"),
        (b"cnumpy\ndtype\n(S'f4,f4'\ntR.", "unusual data type"),
        (b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\ntRS'12345678'\ntR.", "scalar"),
        (b"c__builtin__\nbytes\n(I100000000000\ntR.", "bytes with arguments"),
        (b"c_codecs\nencode\n(N(S'__defaults__'\n(S'zip'\ntdtb.", "state for a function"),
    ],
    ids=["codec", "class", "shape", "fields", "structure", "pointer", "memory", "alter"],
)
def test_allowed_functions_cannot_be_misused(attack, reason):
    with pytest.raises(InputError, match=reason):
        load(attack, "attack.p")


class _Forged:
    """Pickles as an array with any state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        make, arguments, _ = np.zeros(1).__reduce__()
        return make, arguments, self.state


@pytest.mark.parametrize(
    ("shape", "dtype", "content"),
    [
        ((3,), "O", [1]),
        ((-1,), "f4", b""),
        ((2,), "f4", b"1234"),
        ((1,), "O", b"12345678"),
        ((1 << 62,), "i1", b""),
    ],
)
def test_array_states_are_checked(shape, dtype, content):
    forged = pickle.dumps(_Forged((1, shape, np.dtype(dtype), False, content)), protocol=2)
    with pytest.raises(InputError, match="forged"):
        load(forged, "forged.npy")


def bombs() -> dict[str, bytes]:
    """Small pickles that would take gigabytes or years with `pickle.load`."""
    prime = (1 << 61) - 1  # Python's hash of an integer is its remainder
    colliding = b"".join(
        b"\x8a\x0b" + (number * prime + 7).to_bytes(11, "little") + b"N" for number in range(1, 60_000)
    )
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000
    swapped = pickle.dumps(np.zeros(100_000, ">f4"), 2)
    steps = [(step.name, argument) for step, argument, _ in pickletools.genops(swapped)]
    puts = [argument for name, argument in steps if name == "BINPUT"]
    function, arguments, state = puts[0], steps[[name for name, _ in steps].index("TUPLE3") + 1][1], puts[-1]
    again = b"h%ch%cRh%cb" % (function, arguments, state)
    return {
        "memo": b"\x80\x02]r\xff\xff\xff\x3f.",
        "memo in text": b"\x80\x02]p1000000000\n.",
        "colliding keys": b"\x80\x02}(" + colliding + b"u.",
        "colliding members": b"\x80\x02c__builtin__\nset\n](" + colliding + b"e\x85R.",
        "keys that differ from themselves": b"\x80\x02}(" + b"G\x7f\xf8\0\0\0\0\0\0N" * 60_000 + b"u.",
        "long keys": b"\x80\x02(" + b"K\x01" * 100_000 + b"tq\x00}" + b"h\x00Ns" * 100_000 + b".",
        "repeated text": b"\x80\x02" + text + b"\x85q\x000c_codecs\nencode\nq\x010(" + b"h\x01h\x00R" * 20_000 + b"l.",
        "repeated array": swapped[:-1] + b"0(" + again * 20_000 + b"l.",
        "declared bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"abc.",
        "declared bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b"abc.",
    }


@pytest.mark.parametrize("bomb", list(bombs()))
def test_small_pickles_that_ask_for_much_are_refused(tmp_path, bomb):
    (tmp_path / "x.p").write_bytes(bombs()[bomb])
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError, match=r"x\.p"):
        load(tmp_path / "x.p")
    assert time.process_time() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_damaged_files_name_themselves(tmp_path):
    whole = pickle.dumps(values())
    with pytest.raises(InputError, match=r"part\.p"):
        load(whole[: len(whole) // 2], "part.p")
    file = tmp_path / "imdb.npy"
    content = (FORMATS / "datasets/VQA2/annotations/imdb_train2014.npy").read_bytes()
    for damaged in (b"", b"not an array", content[:60], content[:1000]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"imdb\.npy"):
            load_npy(file)
    with pytest.raises(InputError, match="No such file"):
        load_npy(tmp_path / "absent.npy")


@pytest.mark.parametrize("shape", [(10**12, 2048), (10**30, 2)])
@pytest.mark.parametrize("dtype", ["<f4", "|O"])
def test_a_header_that_announces_more_than_there_is(tmp_path, shape, dtype):
    file = tmp_path / "huge.npy"
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    with pytest.raises(
        InputError, match=r"huge\.npy.*(announces an array \(10+, 2(048)?\) of float32|read as pickled)"
    ):
        load_npy(file)


def test_more_names_can_be_allowed():
    program = pickle.dumps(Program(codecs.lookup, "utf8"))
    assert load(program, "x", allowed={"_codecs.lookup": lambda name: name.upper()}) == "UTF8"
    persistent = b"\x80\x02U\x03keyQ."
    assert load(persistent, "x", persistent_load=lambda identifier: [identifier]) == ["key"]
    with pytest.raises(InputError, match="outside itself"):
        load(persistent, "x")
