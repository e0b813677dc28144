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


def write_small_detector(folder: Path) -> Path:
    """Write the small recorded detector as a user finds it, weights with the original's configuration beside them, and
    vocabularies. Returns the weight file."""
    from safetensors.numpy import save_file

    case = golden("detector")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(case.weights, str(folder / "pytorch_model.safetensors"))
    settings = case.config
    settings["input"].update(min_size_test=64, max_size_test=96)
    settings["roi_box_head"].update(pooler_resolution=7)  # a quarter of the time
    (folder / "config.yaml").write_text(json.dumps(settings))
    (folder / "objects_vocab.txt").write_text("".join(f"thing{n},synonym\n" for n in range(25)))
    (folder / "attributes_vocab.txt").write_text("".join(f"kind{n}\n" for n in range(10)))
    return folder / "pytorch_model.safetensors"


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


class SmallEasyVQA:
    """The package easy-vqa with its first pictures only."""

    def __init__(self, package, pictures: int):
        self._package, self._pictures = package, pictures

    def __getattr__(self, name):
        return lambda: self._cut(getattr(self._package, name)())

    def _cut(self, content):
        if isinstance(content, dict):
            return {number: path for number, path in content.items() if number < self._pictures}
        rows = [row for row in zip(*content) if row[2] < self._pictures]
        return tuple(zip(*rows))


def real_data(name: str) -> Path:
    """Path of a file or folder of public data below `$REAL_DATA`; the test is skipped without it."""
    import pytest

    path = Path(os.environ.get("REAL_DATA") or "real_data") / name
    if not path.exists():
        pytest.skip(f"{path} is missing; set REAL_DATA to the folder that has {name}")
    return path


def write_memes(folder, images, labels=("0", "1"), suffix=".png"):
    """Lists of own classes in the form of hateful memes: train.jsonl, val.jsonl, and test.jsonl without labels."""
    rows = [
        {
            "id": number,
            "img": f"{image}{suffix}",
            "text": f"the dog {number}",
            "label": int(labels[number % len(labels)]),
        }
        for number, image in enumerate(images)
    ]
    hidden = [{name: value for name, value in row.items() if name != "label"} for row in rows]
    for split, own in (("train", rows), ("val", rows[:5]), ("test", hidden[:5])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    return rows
