"""Reading COCO's `instances.json` without parsing the outlines.

Nine tenths of such a file are polygon coordinates, which grounding by boxes never looks at. They are cut out before the
JSON parser sees them; what stays is where each outline lies in the file, so that a mask can be read later on its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyutils.errors import InputError

_KEY = b'"segmentation"'
_SPACE = b" \t\r\n"


def read_instances(path: Path) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """(parsed file, spans): each annotation's "segmentation" is an index into `spans`, byte ranges of `path`.

    An annotation without an outline, or with one that is null, keeps what it has. Raises InputError when the file is
    not JSON or lacks one of the lists "images", "annotations", "categories".
    """
    data = path.read_bytes()
    spans = list(_outlines(data))
    pieces, end = [], 0
    for number, (start, stop) in enumerate(spans):
        pieces.append(data[end:start])
        pieces.append(b"%d" % number)
        end = stop
    pieces.append(data[end:])
    try:
        parsed = json.loads(b"".join(pieces))
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file ({error}); download it again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(parsed, dict) or not isinstance(parsed.get(key), list):
            raise InputError(f'{path}: expected COCO annotations with a list "{key}", found none')
    return parsed, spans


def _outlines(data: bytes) -> Iterator[tuple[int, int]]:
    """Byte ranges of the values of every "segmentation" key: nested lists of numbers, or one flat object (RLE)."""
    place = data.find(_KEY)
    while place >= 0:
        start = _skip_space(data, place + len(_KEY))
        if data[start : start + 1] != b":":
            place = data.find(_KEY, start)
            continue
        start = _skip_space(data, start + 1)
        stop = _value_end(data, start)
        if stop > start:
            yield start, stop
        place = data.find(_KEY, max(start, stop))


def _skip_space(data: bytes, place: int) -> int:
    while data[place : place + 1] and data[place] in _SPACE:
        place += 1
    return place


def _value_end(data: bytes, start: int) -> int:
    """One past the value's last byte. Lists hold numbers only, so theirs ends at the last bracket before the next key
    or the end of the annotation; -1 where the value is neither a list nor an object."""
    first = data[start : start + 1]
    if first == b"{":
        return data.find(b"}", start) + 1
    if first != b"[":
        return -1
    brace = data.find(b"}", start)
    quote = data.find(b'"', start, brace if brace >= 0 else len(data))
    return data.rfind(b"]", start, quote if quote >= 0 else brace) + 1
