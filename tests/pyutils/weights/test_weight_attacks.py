"""Weight files made to do harm: refused, with nothing run, no memory taken and no time lost."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import time
import zipfile

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.formats.tensor_files import write_safetensors
from pyutils.weights import read, read_object
from tests.pyutils.weights.torch_files import Opcodes, legacy_of, write_legacy, write_zip, zip_of


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.how = function, arguments

    def __reduce__(self):
        return self.how


class Built:
    """Pickles as a call whose result is then given a state."""

    def __init__(self, function, arguments, state):
        self.how = function, arguments, state

    def __reduce__(self):
        return self.how


def touch(folder) -> str:
    return f"touch {folder}/run"


ATTACKS = {
    "os.system": lambda folder: Call(os.system, touch(folder)),
    "eval": lambda folder: Call(eval, f"open({str(folder / 'run')!r}, 'w')"),
    "eval of its argument": lambda folder: Call(eval, "data", {"data": 3}),
    "exec": lambda folder: Call(exec, f"open({str(folder / 'run')!r}, 'w')"),
    "open": lambda folder: Call(open, str(folder / "run"), "w"),
    "getattr chain": lambda folder: Call(getattr, Call(__import__, "os"), "system"),
    "import": lambda folder: Call(__import__, "antigravity"),
    "tuple of tuples": lambda folder: Call(tuple, [1, 2]),
    "nested reduce": lambda folder: [{"a": (Call(os.mkdir, str(folder / "run")),)}],
    "numpy load": lambda folder: Call(np.load, str(folder / "x.npy")),
    "functools.partial": lambda folder: Call(__import__("functools").partial, os.system, touch(folder)),
    "bytearray of a size": lambda folder: Call(bytearray, 1 << 40),
    "state of a function": lambda folder: Built(pickle.loads, (b"N.",), {"a": 1}),
}


@pytest.mark.parametrize("attack", list(ATTACKS))
@pytest.mark.parametrize("kind", ["pdparams", "zip", "legacy", "legacy header", "legacy keys"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, attack, kind):
    text = pickle.dumps({"w": ATTACKS[attack](tmp_path)}, 2)
    file = tmp_path / "x.bin"
    if kind == "pdparams":
        file.write_bytes(text)
    elif kind == "zip":
        zip_of(file, text, {})
    elif kind == "legacy":
        legacy_of(file, text, {}, [])
    elif kind == "legacy header":
        file.write_bytes(write_legacy(file, {}).read_bytes()[:15] + text * 4)
    else:
        file.write_bytes(legacy_of(file, b"\x80\x02}.", {}, []).read_bytes()[:-4] + text)
    with pytest.raises(InputError, match=r"x\.bin"):
        read_object(file)
    assert not (tmp_path / "run").exists()


def rebuild(function: str, arguments: bytes, storage=("FloatStorage", "0", 4)) -> bytes:
    """A pickle of {"w": function(storage 0, *arguments)}."""
    written = Opcodes()
    written.stream += b"}"
    written.text("w")
    written.name("torch._utils", function)
    written.stream += b"("
    written.reference(*storage, legacy=False)
    return bytes(written.stream + arguments + b"tRs.")


def numbers(*groups) -> bytes:
    """Offset, shape and strides as opcodes."""
    written = Opcodes()
    for group in groups:
        written.numbers(group) if isinstance(group, tuple) else written.number(group)
    return bytes(written.stream[2:])


MISUSES = {
    "beyond the end": rebuild("_rebuild_tensor_v2", numbers(0, (5,), (1,))),
    "offset beyond the end": rebuild("_rebuild_tensor_v2", numbers(1, (2, 2), (2, 1))),
    "negative offset": rebuild("_rebuild_tensor_v2", numbers(-4, (4,), (1,))),
    "negative stride": rebuild("_rebuild_tensor_v2", numbers(3, (4,), (-1,))),
    "repeated elements": rebuild("_rebuild_tensor_v2", numbers(0, (1 << 40,), (0,))),
    "huge product": rebuild("_rebuild_tensor_v2", numbers(0, (1 << 61, 1 << 61), (0, 0))),
    "too many axes": rebuild("_rebuild_tensor_v2", numbers(0, (1,) * 100, (1,) * 100)),
    "shape without strides": rebuild("_rebuild_tensor_v2", numbers(0, (4,), ())),
    "text for a shape": rebuild("_rebuild_tensor_v2", b"K\x00X\x01\x00\x00\x004X\x01\x00\x00\x001"),
    "parameter of a storage": rebuild("_rebuild_parameter", b"\x89N"),
    "no storage": b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00))tRs.",
    "storage larger than its entry": rebuild("_rebuild_tensor_v2", numbers(0, (4,), (1,)), ("FloatStorage", "0", 5)),
    "huge storage": rebuild("_rebuild_tensor_v2", numbers(0, (4,), (1,)), ("FloatStorage", "0", 1 << 60)),
    "storage of another key": rebuild("_rebuild_tensor_v2", numbers(0, (4,), (1,)), ("FloatStorage", "../../x", 4)),
    "storage of an unknown type": rebuild("_rebuild_tensor_v2", numbers(0, (4,), (1,)), ("QInt8Storage", "0", 4)),
    "function of torch": b"\x80\x02}X\x01\x00\x00\x00wctorch\nload\nX\x01\x00\x00\x00x\x85Rs.",
    "hook": b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_wrapper_subclass\n)Rs.",
    "call of a storage type": b"\x80\x02}X\x01\x00\x00\x00wctorch\nFloatStorage\nK\x05\x85Rs.",
    "state of a storage type": b"\x80\x02ctorch\nFloatStorage\n}X\x04\x00\x00\x00nameX\x01\x00\x00\x00xsb.",
    "state of a tensor": rebuild("_rebuild_tensor_v2", numbers(0, (4,), (1,)))[:-2] + b"}b" + b"s.",
    "state of a storage": rebuild("_rebuild_tensor_v2", b"}b" + numbers(0, (4,), (1,))),
    "strange reference": b"\x80\x02}X\x01\x00\x00\x00wX\x01\x00\x00\x00xQs.",
}  # fmt: skip


@pytest.mark.parametrize("misuse", list(MISUSES))
@pytest.mark.parametrize("legacy", [False, True])
def test_misused_rebuild_functions_are_refused(tmp_path, misuse, legacy):
    storages = {"0": np.arange(4, dtype="float32").tobytes()}
    file = tmp_path / "x.pth"
    if legacy:
        legacy_of(file, MISUSES[misuse], storages, [4])
    else:
        zip_of(file, MISUSES[misuse], storages)
    with pytest.raises(InputError, match=r"x\.pth"):
        read_object(file)


def test_a_reference_in_a_paddle_pickle_is_refused(tmp_path):
    (tmp_path / "x.pdparams").write_bytes(MISUSES["strange reference"])
    with pytest.raises(InputError, match="data outside itself"):
        read(tmp_path / "x.pdparams")


def amplified() -> dict[str, bytes]:
    """Small pickles that ask for much."""
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000
    again = b"h\x00X\x06\x00\x00\x00latin1\x86R"
    shared = b"\x80\x02]q\x00K\x01a" + b"".join(
        b"]q" + bytes([level]) + b"(" + b"h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"e"
        for level in range(1, 60)
    )
    tuples = b"\x80\x02K\x01\x85q\x00" + b"".join(
        b"h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"\x86q" + bytes([level]) for level in range(1, 60)
    )
    array = pickle.dumps(np.ones(1), 2)[2:-1].replace(b"q", b"q")
    return {
        "memo place": b"\x80\x02]r\xff\xff\xff\x3f.",
        "memo place in text": b"\x80\x02]p1000000000\n.",
        "repeated encoding": b"\x80\x02" + text + b"q\x000" + b"(" + b"c_codecs\nencode\n" * 0
        + (b"c_codecs\nencode\n" + again) * 5000 + b"l.",
        "lists of lists": shared + array * 0 + b".",
        "tuples of tuples": tuples + b".",
        "declared bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"abc.",
        "declared text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 50) + b"abc.",
        "deep lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    }  # fmt: skip


@pytest.mark.parametrize("bomb", list(amplified()))
@pytest.mark.parametrize("kind", ["pdparams", "zip", "legacy"])
def test_small_pickles_that_ask_for_much_are_refused(tmp_path, bomb, kind):
    text, file = amplified()[bomb], tmp_path / "x.bin"
    if kind == "pdparams":
        file.write_bytes(text)
    elif kind == "zip":
        zip_of(file, text, {})
    else:
        legacy_of(file, text, {}, [])
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError, match=r"x\.bin"):
        read(file)
    assert time.process_time() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_nested_tuples_with_an_array_inside_take_no_time(tmp_path):
    array = pickle.dumps(np.ones(1), 2)[2:-1]  # its memo places are 0 to 9
    doubled = b"".join(b"2\x86" for _ in range(60))
    (tmp_path / "x.pdparams").write_bytes(b"\x80\x02" + array + doubled + b".")
    begun = time.process_time()
    with pytest.raises(InputError, match="expected a state dict"):
        read(tmp_path / "x.pdparams")
    assert time.process_time() - begun < 5


def test_overlapping_safetensors_are_refused(tmp_path):
    """Each entry is widened: a thousand names for one megabyte would take four gigabytes."""
    entry = {"dtype": "BF16", "shape": [1 << 19], "data_offsets": [0, 1 << 20]}
    header = json.dumps({f"w{number}": entry for number in range(1000)}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(1 << 20))
    with pytest.raises(InputError, match=r"tensor 'w1'"):
        read(tmp_path / "x.safetensors")


def test_one_array_under_many_names_is_widened_once(tmp_path):
    array = np.ones(1 << 18, np.uint16)
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(dict.fromkeys(map(str, range(5000)), array), 4))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read(tmp_path / "x.pdparams")
    assert len(found) == 5000 and found["7"].dtype == np.float32
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB; 5 GiB otherwise


def test_slices_that_repeat_an_array_are_refused(tmp_path):
    array, names = np.ones(1 << 18, "float32"), [f"w@{number}" for number in range(5000)]
    content = dict.fromkeys(names, array)
    content["UnpackBigParamInfor@@"] = {"w": {"OriginShape": (5000, 1 << 18), "slices": names}}
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(InputError, match="do not fit together .together they are larger than the file"):
        read(tmp_path / "x.pdparams")


def test_many_parts_of_one_storage_are_refused(tmp_path):
    """Before PyTorch 0.4 a storage could be a part of another; each bfloat16 one is widened."""
    written = Opcodes()
    written.stream += b"}("
    for number in range(300):
        written.text(f"w{number}")
        written.name("torch._utils", "_rebuild_tensor_v2")
        written.stream += b"("
        written.reference("BFloat16Storage", "0", 1 << 18, legacy=True)
        at = written.stream.rindex(b"NtQ")
        written.stream[at:] = b"("
        written.text(f"v{number}")
        written.number(number)
        written.number((1 << 18) - 300)
        written.stream += b"ttQ"
        for group in (0, (4,), (1,)):
            written.numbers(group) if isinstance(group, tuple) else written.number(group)
        written.stream += b"\x89NtR"
    file = legacy_of(tmp_path / "x.th", bytes(written.stream) + b"u.", {"0": bytes(1 << 19)}, [1 << 18])
    with pytest.raises(InputError, match=r"x\.th.*grow beyond the size of the file"):
        read(file)


def test_compressed_entries_are_refused_unread(tmp_path):
    text = b"\x80\x02}." + bytes(50 << 20)
    zip_of(tmp_path / "x.pth", text, {}, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "x.pth").stat().st_size < 1 << 20
    with pytest.raises(InputError, match="compressed or encrypted, which PyTorch never writes"):
        read(tmp_path / "x.pth")


def test_overlapping_entries_are_refused(tmp_path):
    """Every entry of the directory points at the same bytes."""
    file = zip_of(tmp_path / "x.pth", b"\x80\x02}.", {str(place): bytes(1000) for place in range(50)})
    content = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        directory = archive.start_dir
        first = archive.getinfo("archive/data/0").header_offset
    head = bytearray(content[:first] + content[first : first + 30 + len("archive/data/0") + 1000])
    start = len(head)
    entries = bytearray(content[directory:])
    place = 0
    while entries[place : place + 4] == b"PK\x01\x02":
        lengths = struct.unpack_from("<HHH", entries, place + 28)
        if struct.unpack_from("<L", entries, place + 42)[0] > first:
            struct.pack_into("<L", entries, place + 42, first)
        place += 46 + sum(lengths)
    struct.pack_into("<L", entries, place + 16, start)
    file.write_bytes(bytes(head + entries))
    with pytest.raises(InputError, match="x.pth: damaged"):
        read(file)


def test_other_zip_files_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(InputError, match=r"no data\.pkl .*readme\.txt"):
        read(tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
        archive.writestr("m/code/__torch__.py", "")
    with pytest.raises(InputError, match="TorchScript program"):
        read(tmp_path / "y.pth")


ARRAYS = {"a.weight": np.arange(12, dtype="float32").reshape(3, 4), "b": np.ones(5, "int64")}


def written(path, kind):
    if kind == "safetensors":
        write_safetensors(path, ARRAYS)
    elif kind == "pdparams":
        path.write_bytes(pickle.dumps(ARRAYS, 4))
    else:
        (write_zip if kind == "zip" else write_legacy)(path, ARRAYS)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["safetensors", "pdparams", "zip", "legacy"])
def test_truncated_at_every_byte(tmp_path, kind):
    whole = written(tmp_path / "whole", kind)
    file = tmp_path / "x.bin"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"x\.bin"):
            read(file)


@pytest.mark.parametrize("kind", ["safetensors", "pdparams", "zip", "legacy"])
def test_any_flipped_byte_gives_arrays_or_a_plain_error(tmp_path, kind):
    whole = written(tmp_path / "whole", kind)
    file = tmp_path / "x.bin"
    generator = np.random.default_rng(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= int(generator.integers(1, 256))
        file.write_bytes(changed)
        try:
            found = read(file)
        except InputError:
            continue
        assert all(isinstance(value, np.ndarray) for value in found.values())


def test_legacy_storages_that_do_not_fit_are_named(tmp_path):
    text = rebuild("_rebuild_tensor_v2", numbers(0, (4,), (1,)))
    content = np.arange(4, dtype="float32").tobytes()
    with pytest.raises(InputError, match="storage 0 has 3 elements, its tensors expect 4"):
        read(legacy_of(tmp_path / "x.th", text, {"0": content}, [3]))
    with pytest.raises(InputError, match="list of storages does not fit"):
        read(legacy_of(tmp_path / "x.th", text, {"1": content}, [4]))
