"""Training curves from a run's `log.jsonl`."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np

from pyutils.extras import need


def read_log(path: Path) -> dict[str, list[dict]]:
    """The entries of a run's `log.jsonl` by kind: "train", "eval", "event"."""
    entries: dict[str, list[dict]] = {"train": [], "eval": [], "event": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a killed process may leave half a line
            entry = json.loads(line)
            entries[entry["kind"]].append(entry)
    return entries


def draw_training(log: Path, output: Path, metric: str = "accuracy", title: str = "") -> Path:
    """Draw loss, learning rate and `metric` over the steps of the run that wrote `log` into the PNG `output`."""
    need("plots", "matplotlib", "drawing curves")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    entries = read_log(log)
    figure, (losses, scores) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    _draw_loss(losses, entries["train"])
    evaluated = [entry for entry in entries["eval"] if metric in entry]
    scores.plot([e["step"] for e in evaluated], [e[metric] for e in evaluated], "o-", color="tab:green", markersize=4)
    for entry in evaluated[-1:]:
        point = (entry["step"], entry[metric])
        scores.annotate(f"{entry[metric]:.2f}", point, textcoords="offset points", xytext=(-6, -14), ha="right")
    split = evaluated[-1]["split"] if evaluated else ""
    scores.set(xlabel="step", title=f"{metric} on {split}" if split else f"no {metric} was recorded")
    scores.grid(alpha=0.3)
    if title:
        figure.suptitle(title)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    plt.close(figure)
    return output


def _draw_loss(axes, rows: list[dict]) -> None:
    """Loss (the log's means over its reporting steps) on a logarithmic axis, and the learning rate on the right."""
    steps, loss = np.array([row["step"] for row in rows]), np.array([row["loss"] for row in rows])
    axes.plot(steps, loss, color="tab:blue", linewidth=1.2)
    if (loss > 0).all():
        axes.set_yscale("log")
    axes.set(xlabel="step", title="training loss")
    axes.set_ylabel("loss", color="tab:blue")
    axes.grid(alpha=0.3)
    rate = axes.twinx()
    rate.plot(steps, [row.get("lr", np.nan) for row in rows], color="tab:orange", linewidth=1)
    rate.set_ylabel("learning rate", color="tab:orange")
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    rate.set_ylim(bottom=0)
