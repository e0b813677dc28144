"""Throw damaged files at every annotation and feature reader for a while:  python -m tests.fuzz --minutes 10 [--seed 0]

Each must be read or end in an InputError, within `LONGEST` seconds. A reader works in a process of its own, so that one
that aborts is seen too; its file is kept and named, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from pyutils.errors import InputError
from tests.fuzz.seeds import Seed, seeds

LONGEST = 10
MEMORY = 6 << 30
ODD: tuple[Any, ...] = (
    *(None, True, "", "\x1b[2J\n", "a" * 5000, "\ud800", [], {}, [[]], [[[[]]]], {"a": []}, {"": None}),
    *(0, -1, 1 << 70, 10**400, 1.5, 1e308, float("nan"), float("inf")),
    *("../../x", "/dev/zero", "0x10", "nan", "\u202e"),
)


def main() -> int:
    """Run every reader for its share of the time; print the inputs per reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of the readers to run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = {name: seed for name, seed in seeds(Path(scratch)).items() if options.only in name}
    failures = 0
    for name, seed in table.items():
        seconds = options.minutes * 60 / len(table)
        counts = multiprocessing.get_context("fork").Array("l", 3)  # read, refused, failed
        folder = Path(tempfile.mkdtemp(prefix=f"fuzz_{name.replace(' ', '_')}_"))
        worker = multiprocessing.get_context("fork").Process(
            target=_work, args=(seed, folder, seconds, options.seed, counts)
        )
        worker.start()
        worker.join(seconds + 3 * LONGEST)
        ended = "hangs" if worker.is_alive() else f"ended with {worker.exitcode}" if worker.exitcode else ""
        worker.kill()
        print(f"{name:<22} {sum(counts):>8,} inputs: {counts[0]:,} read, {counts[1]:,} refused {ended}", flush=True)
        if ended:
            failures += 1
            print(f"    kept in {folder}")
        else:
            shutil.rmtree(folder)
    return 1 if failures else 0


def _work(seed: Seed, folder: Path, seconds: float, number: int, counts: Any) -> None:
    """Read mutations until the time is over; exit with 1 at the first failure, whose files stay in `folder`."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    source, end, turn = random.Random(number), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        place, turn = folder / str(turn), turn + 1
        changed = source.choice(list(seed.files))
        for name, content in seed.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(mutated(content, source) if name == changed and turn > 1 else content)
        signal.alarm(LONGEST)
        try:
            seed.read(place)
            counts[0] += 1
        except InputError:
            counts[1] += 1
            if turn == 1:
                traceback.print_exc()
                sys.exit(3)  # the seed itself must be readable
        except BaseException:  # noqa: BLE001 - whatever else is raised is what this looks for
            counts[2] += 1
            traceback.print_exc()
            sys.exit(1)
        signal.alarm(0)
        shutil.rmtree(place)


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"longer than {LONGEST} s")


def mutated(content: bytes, source: random.Random) -> bytes:
    """Change a few bytes or, of JSON, values and keys."""
    if source.random() < 0.6:
        try:
            lines = [json.loads(line) for line in content.splitlines()]
        except ValueError:
            lines = []
        if lines:
            place = source.randrange(len(lines))
            lines[place] = _other(lines[place], source)
            return "\n".join(json.dumps(line) for line in lines).encode()
    changed = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 4))):
        start, what = source.randrange(len(changed) + 1), source.randrange(5)
        if what == 0 and start < len(changed):
            changed[start] ^= 1 << source.randrange(8)
        elif what == 1 and start < len(changed):
            changed[start] = source.choice((0, 9, 10, 34, 127, 128, 255, source.randrange(256)))
        elif what == 2:
            changed[start : start + source.choice((1, 4, 64))] = b""
        elif what == 3:
            changed[start : start + 4] = source.choice((b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff"))
        else:
            piece = changed[start : start + source.choice((1, 8, 100))]
            changed[start:start] = piece * source.choice((1, 3, 200))
    return bytes(changed)


def _other(value: Any, source: random.Random) -> Any:
    """Replace one value at random somewhere in a tree of lists and objects, or drop or add one."""
    if isinstance(value, (dict, list)) and value and source.random() < 0.85:
        made: Any = dict(value) if isinstance(value, dict) else list(value)
        key = source.choice(list(made)) if isinstance(made, dict) else source.randrange(len(made))
        kind = source.random()
        if kind < 0.08:
            del made[key]
        elif kind < 0.12 and isinstance(made, list):
            made.append(source.choice(ODD))
        else:
            made[key] = _other(made[key], source)
        return made
    return source.choice(ODD)


if __name__ == "__main__":
    sys.exit(main())
