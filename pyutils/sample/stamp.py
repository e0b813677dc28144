"""Folders that remember what they were made from, so that making them again costs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyutils.errors import InputError
from pyutils.files import write_json

STAMP = "sample.json"


def make_once(output: Path, parameters: dict[str, Any], make: Callable[[Path], dict[str, Any]]) -> bool:
    """Fill `output` by `make(output)` unless its stamp says that the same parameters filled it before.

    The stamp is marked incomplete while `make` works, so a run that was interrupted is done again. What `make` returns
    (counts) is kept in the stamp under "content".

    Returns:
        True when the folder was made, False when it was there.

    Raises:
        InputError: `output` holds files that no earlier run of this command made.
    """
    stamp = output / STAMP
    previous = _read(stamp)
    if previous.get("complete") and previous.get("parameters") == parameters:
        return False
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


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == STAMP:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
