"""Check, join and unpack an archive that was published in parts.

python -m pyutils.download.join detectron_fix_100.tar.gz.part00 --parts 33 --unpack X_COCO/data
"""

from __future__ import annotations

import argparse
import glob
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pyutils.config.command_line import run_main
from pyutils.download.archives import is_archive, join_pieces, unpack
from pyutils.errors import InputError

_LISTED = 8
_PART = re.compile(r"(?P<stem>.+)\.part(?P<number>\d{2,4})$")


def find_parts(one: Path, count: int | None = None) -> list[Path]:
    """Return all parts of the archive that `one` (NAME.part00, or any other part) belongs to, in order.

    `count`: expected number of parts; None: as the highest number implies.

    Raises:
        InputError: parts are missing, or differ in size (all but the last are equally large, the last is not larger).
    """
    match = _PART.match(one.name)
    if match is None:
        raise InputError(f"{one}: expected one part of an archive, named like NAME.part00")
    stem, width = match["stem"], len(match["number"])
    there = {}
    for path in one.parent.glob(f"{glob.escape(stem)}.part*"):
        found = _PART.match(path.name)
        if found:
            there[int(found["number"])] = path
    number = max(there, default=-1) + 1 if count is None else count
    missing = [f"{stem}.part{index:0{width}d}" for index in range(number) if index not in there]
    extra = [path.name for index, path in sorted(there.items()) if index >= number]
    if not there:
        problem = f"neither {one.name} nor any other part of {stem} exists"
    elif missing:
        shown = ", ".join(missing[:_LISTED])
        problem = f"{len(missing)} of {number} parts of {stem} are missing: {shown}; download them again"
    elif extra:
        problem = f"expected {number} parts, found more: {', '.join(extra[:_LISTED])}"
    else:
        problem = _wrong_sizes([there[index] for index in range(number)])
    if problem:
        raise InputError(f"{one.parent}: {problem}")
    return [there[index] for index in range(number)]


def _wrong_sizes(parts: list[Path]) -> str:
    """Describe parts of another size than the others, but for a smaller last one; "" when there are none."""
    sizes = [path.stat().st_size for path in parts]
    # The size most parts have is the right one; of two parts the first has it.
    usual = Counter(sizes[:-1] or sizes).most_common(1)[0][0]
    right = [size == usual for size in sizes[:-1]] + [0 < sizes[-1] <= usual or len(parts) == 1]
    wrong = [f"{path.name} ({size} bytes)" for path, size, fits in zip(parts, sizes, right) if not fits]
    if not wrong:
        return ""
    shown = ", ".join(wrong[:_LISTED])
    return f"parts of the wrong size: {shown}; expected {usual} bytes each, the last at most that: download them again"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the parts, join them, open the result, and unpack it with --unpack."""
    parser = argparse.ArgumentParser(prog="python -m pyutils.download.join", description=__doc__)
    parser.add_argument("part", type=Path, help="one of the parts, NAME.part00")
    parser.add_argument("--parts", type=int, help="expected number of parts (default: as the highest number implies)")
    parser.add_argument("--output", type=Path, help="the archive to write (default: NAME beside the parts)")
    parser.add_argument("--md5", help="expected checksum of the archive")
    parser.add_argument("--sha256", help="expected checksum of the archive")
    parser.add_argument("--check", action="store_true", help="only check that all parts exist and have one size")
    parser.add_argument("--unpack", type=Path, metavar="FOLDER", help="also unpack the archive to FOLDER")
    options = parser.parse_args(arguments)
    parts = find_parts(options.part, options.parts)
    total = sum(path.stat().st_size for path in parts)
    print(f"{len(parts)} parts, {total} bytes")
    if options.check:
        return 0
    target = options.output or options.part.with_name(_PART.sub(r"\g<stem>", options.part.name))
    try:
        join_pieces(parts, target, size=total, sha256=options.sha256, md5=options.md5)
    except InputError as error:
        if options.parts is not None:
            raise
        raise InputError(
            f"{error}. Parts after {parts[-1].name} may be missing: give their number with --parts N"
        ) from error
    print(f"written {target}")
    if options.unpack is not None:
        if not is_archive(target.name):
            raise InputError(f"{target}: not a kind of archive that can be unpacked here; leave out --unpack")
        print(f"{len(unpack(target, options.unpack))} files unpacked to {options.unpack}")
    return 0


if __name__ == "__main__":
    run_main(main)
