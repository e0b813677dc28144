"""Golden cases for the tests: recorded inputs, outputs and weights of the original implementations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"


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
    """The case `family/name`, e.g. `visualbert/model`."""
    folder = GOLDEN / case
    if not folder.is_dir():
        raise FileNotFoundError(f"no golden case {case}; cases live in {GOLDEN}")
    return Golden(folder)
