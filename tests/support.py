"""Golden cases for the tests: recorded inputs, outputs and weights of the original implementations."""

from __future__ import annotations

import ast
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

GOLDEN = Path(os.environ.get("GOLDEN") or Path(__file__).parent / "golden").resolve()


@dataclass(frozen=True)
class Golden:
    """One recorded case: `folder` is its directory, arrays are read on demand."""

    folder: Path

    def json(self, name: str):
        """The parsed JSON file `name` of the case."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def config(self) -> dict:
        """Hyper-parameters of the recorded model."""
        return self.json("config.json")

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """All arrays of the `.npz` file `name`."""
        with np.load(self.folder / name) as archive:
            return {key: archive[key] for key in archive.files}

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """`inputs.npz`."""
        return self.arrays("inputs.npz")

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """`outputs.npz`."""
        return self.arrays("outputs.npz")

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """`weights.safetensors` under the original's names, linear weights `[out, in]`."""
        from safetensors.numpy import load_file

        return load_file(str(self.folder / "weights.safetensors"))


def golden(case: str) -> Golden:
    """Open the case `family/name`, e.g. `visualbert/model`; a case missing from the folder `$GOLDEN` is skipped."""
    folder = GOLDEN / case
    if not folder.is_dir() and os.environ.get("GOLDEN"):
        import pytest

        pytest.skip(f"no golden case {case} in GOLDEN={GOLDEN}", allow_module_level=True)
    if not folder.is_dir():
        raise FileNotFoundError(f"no golden case {case}; cases live in {GOLDEN}")
    return Golden(folder)


@cache
def golden_names(module: Path) -> frozenset[str]:
    """Find the top-level names of a test module whose code reads golden cases, directly or through other such names."""
    found: set[str] = {"golden", "GOLDEN"} if module == Path(__file__) else set()
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tests":
            file = Path(__file__).parents[1].joinpath(*node.module.split(".")).with_suffix(".py")
            if file.is_file():
                found |= {entry.asname or entry.name for entry in node.names if entry.name in golden_names(file)}
    before = None
    while before != len(found):
        before = len(found)
        for node in tree.body:
            # Arguments count as well: a fixture is used by its name.
            used = {
                n.id if isinstance(n, ast.Name) else n.arg for n in ast.walk(node) if isinstance(n, (ast.Name, ast.arg))
            }
            if used & found:
                found |= {node.name} if hasattr(node, "name") else _assigned(node)
    return frozenset(found)


def _assigned(statement: ast.stmt) -> set[str]:
    """Return the names that a top-level statement assigns."""
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def real_data(name: str) -> Path:
    """Path of a file or folder of public data below `$REAL_DATA`; the test is skipped without it."""
    import pytest

    path = Path(os.environ.get("REAL_DATA") or "real_data") / name
    if not path.exists():
        pytest.skip(f"{path} is missing; set REAL_DATA to the folder that has {name}")
    return path
