"""Throw damaged and hostile files at the weight readers for a while.

    python tests/fuzz/fuzz_weights.py --seconds 180 [--seed 0]

Each file must give arrays or an InputError, within two seconds, without importing, running or writing anything: an
audit hook of the interpreter watches. The first offender is kept and its path printed; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import codecs
import collections
import pickle
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.tensor_files import write_safetensors
from pyutils.weights import read_object
from tests.pyutils.weights.torch_files import legacy_of, write_legacy, write_zip, zip_of
from tests.support import golden

LONGEST = 2.0
RECORDED = golden("weights").folder
FORBIDDEN = (
    "os.system",
    "subprocess.",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "shutil.",
    "socket.",
    "exec",
    "compile",
)
WATCH = {"on": False}

# Fragments from which whole pickles are drawn: names that matter, calls, states, memo, references, sizes.
FRAGMENTS = [
    *(bytes([code]) for code in b"]}()N\x88\x89012aesubR\x81\x85\x86\x87tldQ\x94"),
    *(b"h\x00", b"h\x01", b"q\x00", b"q\x01", b"K\x00", b"K\x04", b"J\xff\xff\xff\xff", b"r\xff\xff\xff\x7f"),
    *(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x8e\xff\xff\xff\xff\xff\x00\x00\x00abc", b"C\x03abc"),
    *(b"X\x01\x00\x00\x00w", b"X\x01\x00\x00\x000", b"X\x07\x00\x00\x00storage", b"X\x04\x00\x00\x00data"),
    b"G?\xf0\x00\x00\x00\x00\x00\x00",
    *(f"c{name}\n".encode() for name in (
        "os\nsystem", "builtins\neval", "builtins\ntuple", "builtins\nset", "builtins\nbytearray", "builtins\ngetattr",
        "torch\nFloatStorage", "torch\nBFloat16Storage", "torch\nSize", "torch._utils\n_rebuild_tensor_v2",
        "torch._utils\n_rebuild_parameter", "torch._utils\n_rebuild_tensor", "collections\nOrderedDict",
        "_codecs\nencode", "numpy\nndarray", "numpy\ndtype", "numpy.core.multiarray\n_reconstruct",
        "numpy.core.multiarray\nscalar", "numpy.core.numeric\n_frombuffer")),
]  # fmt: skip


def main() -> int:
    """Parse, fuzz, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.addaudithook(_audit)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        seeds = _seeds(Path(folder))
        for codec in ("raw_unicode_escape", "unicode_escape", "latin1", "ascii"):  # imported by Python on first use
            codecs.lookup(codec)
        for content in seeds.values():
            _attempt(Path(folder) / "x", content, watched=False)
        return _run(Path(folder) / "x", seeds, options)


def _run(file: Path, seeds: dict[str, bytes], options: argparse.Namespace) -> int:
    source, counts, slowest = random.Random(options.seed), collections.Counter(), 0.0
    before, end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic() + options.seconds
    while time.monotonic() < end:
        kind = source.choice([*seeds, "pickle", "zip pickle", "legacy pickle"])
        content = _mutated(seeds[kind], source, list(seeds.values())) if kind in seeds else _drawn(file, kind, source)
        begun = time.process_time()
        problem, outcome = _attempt(file, content)
        taken = time.process_time() - begun
        slowest = max(slowest, taken)
        counts[f"{kind}: {outcome}"] += 1
        if problem or taken > LONGEST:
            kept = shutil.copy(file, Path(tempfile.gettempdir()) / "fuzz_weights_offender.bin")
            print(f"{kind}: {problem or f'{taken:.1f} s'}; kept as {kept}")
            return 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    for name, count in sorted(counts.items()):
        print(f"{name:<32} {count:>9,}")
    print(f"{sum(counts.values()):,} files, slowest {slowest:.3f} s, memory grew by {grown} MiB")
    return 0


def _attempt(file: Path, content: bytes, watched: bool = True) -> tuple[str, str]:
    """(what is wrong or "", what came of it)."""
    file.write_bytes(content)
    WATCH["on"] = watched
    try:
        read_object(file)
        return "", "read"
    except InputError:
        return "", "refused"
    except Exception as error:  # noqa: BLE001 - whatever else is raised is what this looks for
        return f"{type(error).__name__}: {error}", "failed"
    finally:
        WATCH["on"] = False


def _audit(event: str, arguments: tuple) -> None:
    if not WATCH["on"]:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    new = event == "import" and arguments[0].partition(".")[0] not in sys.modules
    if writes or new or event.startswith(FORBIDDEN):
        raise RuntimeError(f"{event} {arguments!r:.200}")


def _seeds(folder: Path) -> dict[str, bytes]:
    """One valid file of each format, more than one for those with several."""
    arrays = {"a.weight": np.arange(12, dtype="float32").reshape(3, 4), "b": np.ones(5, "int64")}
    write_safetensors(folder / "s", arrays)
    seeds = {"safetensors": (folder / "s").read_bytes(), "pdparams 5": pickle.dumps(arrays, 5)}
    write_safetensors(folder / "b", arrays, floats="bfloat16")
    seeds["bfloat16"] = (folder / "b").read_bytes()
    seeds["small zip"] = write_zip(folder / "z", arrays).read_bytes()
    seeds["small legacy"] = write_legacy(folder / "l", arrays).read_bytes()
    for name in ("zip.pth", "legacy.th", "protocol2.pdparams", "protocol4.pdparams", "nested.pdparams", "adamw.pdopt"):
        seeds[name] = (RECORDED / name).read_bytes()
    return seeds


def _mutated(content: bytes, source: random.Random, others: list[bytes]) -> bytes:
    """A few changes: bits, bytes, numbers, cuts, repetitions, pieces of other files."""
    changed = bytearray(content)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        place, what = source.randrange(len(changed) + 1), source.choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7))
        if what == 0 and place < len(changed):
            changed[place] ^= 1 << source.randrange(8)
        elif what == 1 and place < len(changed):
            changed[place] = source.randrange(256)
        elif what == 2:
            changed[place : place + 8] = source.choice(
                (b"\xff" * 8, bytes(8), b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f")
            )
        elif what == 3:
            del changed[place:]
        elif what == 4:
            del changed[place : place + source.randint(1, 20)]
        elif what == 5:
            changed[place:place] = changed[place : place + source.randint(1, 40)] * source.randint(1, 3)
        elif what == 6:
            other = source.choice(others)
            begin = source.randrange(len(other))
            changed[place:place] = other[begin : begin + source.randint(1, 60)]
        else:
            changed[place:place] = source.choice(FRAGMENTS)
    return bytes(changed)


def _drawn(file: Path, kind: str, source: random.Random) -> bytes:
    """A pickle of random instructions, in one of the three kinds of files that hold one."""
    body = b"".join(source.choice(FRAGMENTS) for _ in range(source.randint(1, 40)))
    text = b"\x80\x02" + body + b"."
    content = np.arange(4, dtype="float32").tobytes()
    if kind == "zip pickle":
        return zip_of(file, text, {"0": content}).read_bytes()
    if kind == "legacy pickle":
        return legacy_of(file, text, {"0": content}, [4]).read_bytes()
    return text


if __name__ == "__main__":
    sys.exit(main())
