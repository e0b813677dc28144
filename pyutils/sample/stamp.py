"""Folders that remember what they were made from, so that making them again costs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyutils.errors import InputError
from pyutils.formats.atomic import write_json

STAMP = "sample.json"


def make_once(
    output: Path, parameters: dict[str, Any], make: Callable[[Path], dict[str, Any]], overwrite: bool = False
) -> bool:
    """Fill `output` by `make(output)` unless its stamp says that the same parameters filled it before.

    A parameter that is a list names parts: a folder with more of them has what is asked for.

    The stamp is marked incomplete while `make` works, so a run that was interrupted is done again. What `make` returns
    (counts) is kept in the stamp under "content". With `overwrite`, a folder that other parameters filled is made anew.

    Returns:
        True when the folder was made, False when it was there.

    Raises:
        InputError: `output` holds files that no earlier run of this command made, or is complete with other parameters.
    """
    stamp = output / STAMP
    previous = _read(stamp)
    if previous.get("complete"):
        if _covers(previous["parameters"], parameters):
            return False
        if not overwrite:
            raise InputError(
                f"{output}: complete already, but made with {_difference(previous['parameters'], parameters)}. Name "
                "another --output, or give --overwrite to replace it"
            )
    if output.exists() and not previous and any(output.iterdir()):
        raise InputError(
            f"{output}: expected an empty folder, or one made by this command (with a {STAMP}); "
            f"found other files. Name another --output"
        )
    if previous:
        _empty(output)
    output.mkdir(parents=True, exist_ok=True)
    write_json(stamp, {"complete": False, "parameters": parameters})
    content = make(output)
    write_json(stamp, {"complete": True, "parameters": parameters, "content": content})
    return True


def _read(stamp: Path) -> dict[str, Any]:
    try:
        value = json.loads(stamp.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{stamp}: expected JSON, found {error}. Delete the folder to make it again") from error
    if not isinstance(value, dict) or "parameters" not in value:
        raise InputError(
            f"{stamp}: expected the stamp of a sample folder, found another JSON file. Name another --output"
        )
    return value


def _covers(before: Any, now: dict[str, Any]) -> bool:
    """Whether what `before` made holds all that `now` asks for."""
    if not isinstance(before, dict) or before.keys() != now.keys():
        return False
    return all(
        set(value) <= set(before[name])
        if isinstance(value, list) and isinstance(before[name], list)
        else value == before[name]
        for name, value in now.items()
    )


def _difference(before: Any, now: dict[str, Any]) -> str:
    """The parameters that differ, as "seed 0 instead of 1, …"."""
    if not isinstance(before, dict):
        return f"parameters {before!r}"
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_value(before.get(name))} instead of {_value(now.get(name))}" for name in differing)


def _value(value: Any) -> str:
    if value is None:
        return "unknown"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == STAMP:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
