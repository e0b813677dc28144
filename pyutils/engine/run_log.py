"""Log of a run: progress bar (on a terminal) or plain lines on the console, `log.jsonl`, and boards.

Only the main process writes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pyutils import distributed
from pyutils.console import on_terminal, say, short
from pyutils.engine.boards import Board, open_boards
from pyutils.formats.atomic import atomic_write

LOG_FILE = "log.jsonl"


class RunLog:
    """The log of one run in `output_dir`.

    Args:
        output_dir: for `log.jsonl` and the files of boards; created if missing.
        total_steps, start_step: for the bar and the time left.
        boards: names of the boards that get the scalars (`boards.open_boards`).
        config_text: the configuration as YAML, for the boards.
    """

    def __init__(
        self,
        output_dir: Path,
        total_steps: int,
        start_step: int = 0,
        boards: Sequence[str] = (),
        config_text: str = "",
    ):
        self._total, self._first, self._began = total_steps, start_step, time.monotonic()
        self._file = self._bar = None
        self._boards: list[Board] = []
        if not distributed.is_main():
            return
        output_dir.mkdir(parents=True, exist_ok=True)
        self._boards = open_boards(boards, output_dir, config_text)
        _keep_log_until(output_dir / LOG_FILE, start_step)
        self._file = (output_dir / LOG_FILE).open("a", encoding="utf-8")
        if on_terminal():
            self._bar = tqdm(total=total_steps, initial=start_step, unit="step", dynamic_ncols=True)

    def step(self, step: int) -> None:
        """Move the bar to `step`."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def train(self, step: int, epoch: float, values: Mapping[str, float], speed: Mapping[str, float]) -> None:
        """Report means since the last report.

        Args:
            epoch: passes over the data so far, a fraction.
            values: "loss", its parts, "lr", "grad_norm" …
            speed: "samples_per_second" (all processes), "data_share" (fraction of the time spent waiting for data).
        """
        self._write({"kind": "train", "step": step, "epoch": round(epoch, 4), **values, **speed})
        self._plot("train", {**values, **speed}, step)
        numbers = " ".join(f"{name} {short(value)}" for name, value in values.items())
        pace = f"{speed['samples_per_second']:.1f} samples/s, data {speed['data_share']:.0%}"
        if self._bar is not None:
            self._bar.set_postfix_str(f"{numbers} {pace}")
        else:
            seconds = (time.monotonic() - self._began) / max(1, step - self._first) * (self._total - step)
            left = timedelta(seconds=int(seconds))
            say(f"step {step}/{self._total} epoch {epoch:.2f} {numbers} | {pace}, {left} left")

    def evaluation(self, step: int, epoch: float, split: str, metrics: Mapping[str, float], best: bool) -> None:
        """Report the metrics of a split; `best`: the best result of the run so far."""
        self._write({"kind": "eval", "step": step, "epoch": round(epoch, 4), "split": split, "best": best, **metrics})
        self._plot(split, metrics, step)
        numbers = ", ".join(f"{name} {short(value)}" for name, value in metrics.items())
        say(f"step {step}/{self._total} epoch {epoch:.2f} {split}: {numbers}" + (" (best so far)" if best else ""))

    def event(self, step: int, message: str) -> None:
        """Report a single event: a checkpoint, a skipped step, a stop."""
        self._write({"kind": "event", "step": step, "message": message})
        say(message)

    def close(self) -> None:
        """Close the files and the bar."""
        for part in (self._bar, self._file, *self._boards):
            if part is not None:
                part.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"time": round(time.time(), 3), **_jsonable(entry)}) + "\n")
            self._file.flush()

    def _plot(self, group: str, values: Mapping[str, float], step: int) -> None:
        for board in self._boards:
            for name, value in values.items():
                board.scalar(f"{group}/{name}", value, step)


def _keep_log_until(path: Path, step: int) -> None:
    """Drop the entries after `step`, which a resumed run repeats; all entries for a new run."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # the line a killed process was writing
            if step and json.loads(line)["step"] <= step:
                kept.append(line + "\n")
    with atomic_write(path) as stream:
        stream.writelines(kept)


def _jsonable(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity, which JSON does not have, by text."""
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
