"""Boards that draw the scalars of a run while it trains, beside `log.jsonl`: VisualDL, TensorBoard, or one's own.

A board of one's own is a function `open_board(output_dir, settings)` that returns a `Board`; the configuration names it
as `module:function`. For Weights & Biases:

    class Wandb:
        def __init__(self, output_dir, settings):
            import wandb
            self.run = wandb.init(project="vl", dir=str(output_dir), config=dict(settings))

        def scalar(self, name, value, step):
            self.run.log({name: value}, step=step)

        def close(self):
            self.run.finish()

saved as my_boards.py in a directory of PYTHONPATH: `--set train.boards=[my_boards:Wandb]`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Union

from pyutils.console import say
from pyutils.errors import InputError, nearest
from pyutils.extras import missing, need
from pyutils.formats.yaml_text import parse_yaml

Value = Union[str, int, float]
VISUALDL_FOLDER, TENSORBOARD_FOLDER = "vdl", "tensorboard"


class Board(Protocol):
    """Where the scalars of one run go; only the main process has boards."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Draw one number, e.g. "train/loss", at an optimizer step."""

    def close(self) -> None:
        """Finish the files."""


class VisualDL:
    """VisualDL records in `<output_dir>/vdl`."""

    def __init__(self, output_dir: Path, settings: Mapping[str, Value]):
        import visualdl

        self._writer = visualdl.LogWriter(logdir=str(output_dir / VISUALDL_FOLDER))
        self._writer.add_hparams(dict(settings), metrics_list=["train/loss"])

    def scalar(self, name: str, value: float, step: int) -> None:
        """Draw one number."""
        self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class TensorBoard:
    """TensorBoard event files in `<output_dir>/tensorboard`."""

    def __init__(self, output_dir: Path, settings: Mapping[str, Value]):
        need("boards", "tensorboardX", "train.boards: tensorboard")
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(logdir=str(output_dir / TENSORBOARD_FOLDER))
        self._writer.add_hparams(dict(settings), {}, name=".")  # ".": in this run's folder, not one of its own

    def scalar(self, name: str, value: float, step: int) -> None:
        """Draw one number."""
        self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


BOARDS = {"visualdl": VisualDL, "tensorboard": TensorBoard}


def open_boards(names: Sequence[str], output_dir: Path, config_text: str = "") -> list[Board]:
    """Open the boards `names`: "visualdl", "tensorboard" or `module:function`.

    VisualDL, the default, is left out with a message where it is not installed.

    Args:
        config_text: the configuration as YAML; its values are shown as hyper-parameters.
    Raises:
        InputError: an unknown name, a package that is missing, or a function that cannot be imported.
    """
    settings = hyper_parameters(config_text)
    boards: list[Board] = []
    for name in names:
        if name == "visualdl" and importlib.util.find_spec("visualdl") is None:
            say(f"{missing('boards', 'visualdl', 'drawing curves')}. log.jsonl holds the same numbers.")
        else:
            boards.append(_opener(name)(output_dir, settings))
    return boards


def hyper_parameters(config_text: str) -> dict[str, Value]:
    """Return the values of a configuration in YAML under dotted keys; lists as text, keys without a value left out."""
    flat: dict[str, Value] = {}

    def add(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                add(f"{key}.{name}" if key else str(name), item)
        elif value is not None:
            flat[key] = value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else str(value)

    add("", parse_yaml(config_text, "configuration") or {})
    return flat


def _opener(name: str) -> Any:
    """Return the class or function that opens the board `name`."""
    if name in BOARDS:
        return BOARDS[name]
    module, colon, function = name.partition(":")
    if not colon:
        known = nearest(name, BOARDS)
        raise InputError(f"train.boards: unknown board {name!r} (one of your own is named module:function): {known}")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"train.boards: {name} cannot be imported ({error}); is its folder on PYTHONPATH?") from error
