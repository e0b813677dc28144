"""Folders that record the parameters they were made from, so that making them again costs nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.formats.json_files import check_fields, read_json

STAMP = "sample.json"


def make_once(
    output: Path, parameters: dict[str, Any], make: Callable[[Path], dict[str, Any]], overwrite: bool = False
) -> bool:
    """Fill `output` by `make(output)` unless its stamp lists the same parameters.

    A parameter that is a list names parts: a folder with more of them has what is asked for. The stamp is marked
    incomplete while `make` works, so an interrupted run is done again. Its result (counts) is kept in the stamp under
    "content". With `overwrite`, a folder made with other parameters is replaced.

    Returns:
        True when the folder was made, False when it was complete.

    Raises:
        InputError: `output` has files of others, or is complete with other parameters.
    """
    stamp = output / STAMP
    previous: dict[str, Any] = {}
    if stamp.exists():
        previous = read_json(stamp)
        check_fields(previous, ("complete", "parameters"), str(stamp))
    elif output.exists() and any(output.iterdir()):
        raise InputError(f"{output}: contains files, but no {STAMP} of this command. Name an empty --output")
    if previous.get("complete"):
        before = previous["parameters"]
        if _covers(before, parameters):
            return False
        if not overwrite:
            raise InputError(
                f"{output}: complete already, but made with {_difference(before, parameters)}. Name another --output, "
                "or give --overwrite to replace it"
            )
    if previous:
        _empty(output)
    output.mkdir(parents=True, exist_ok=True)
    write_json(stamp, {"complete": False, "parameters": parameters})
    content = make(output)
    write_json(stamp, {"complete": True, "parameters": parameters, "content": content})
    return True


def _covers(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """True when a folder made with `before` has everything that `now` asks for."""
    return before.keys() == now.keys() and all(
        set(value) <= set(before[name]) if isinstance(value, list) else value == before[name]
        for name, value in now.items()
    )


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The parameters that differ, as "seed 0 instead of 1, …"."""
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_value(before.get(name))} instead of {_value(now.get(name))}" for name in differing)


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _empty(folder: Path) -> None:
    """Delete everything but the stamp, which keeps a run that is interrupted here recognisable."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != STAMP:
            entry.unlink()
