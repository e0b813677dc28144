"""A tiny task for the engine's tests: a two-layer network on synthetic records, with dropout and a task state."""

from __future__ import annotations

import argparse
import os
import signal

import numpy as np
import paddle
from paddle import nn

from pyutils.config import load_config
from pyutils.config.command_line import Run, run_main
from pyutils.engine import evaluation
from pyutils.engine.run import RunConfig, run_task
from pyutils.engine.settings import TrainConfig
from pyutils.engine.task import Task
from pyutils.errors import InputError
from pyutils.metrics.predictions import Predictions

INPUTS, CLASSES = 6, 3


class Network(nn.Layer):
    """Inputs -> hidden -> class scores, and a counter buffer that the task moves."""

    def __init__(self, hidden: int = 8, dropout: float = 0.1):
        super().__init__()
        self.hidden = nn.Linear(INPUTS, hidden)
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, CLASSES)
        self.register_buffer("updates", paddle.zeros([1]))

    def forward(self, x):
        return self.output(self.drop(nn.functional.gelu(self.hidden(x))))


class ToyTask(Task):
    """Classify points by the sign of fixed directions; every record is (position, x [6])."""

    name = "toy"
    best_metric = "accuracy"
    config_text = "task: toy\n"

    def __init__(self, train: int = 37, val: int = 21, dropout: float = 0.1, hidden: int = 8, files=()):
        self.sizes = {"train": train, "val": val}
        self.model = Network(hidden, dropout)
        self.files = files
        self.trail = np.zeros(4, dtype=np.float32)
        self.noise = 0.01 if dropout else 0.0
        self.nan_at: int | None = None
        self.seen: list[int] = []
        self.steps = 0
        self.made = 0
        self.written = 0
        self.counted = 0

    def _records(self, split: str) -> list[tuple[int, np.ndarray]]:
        points = np.random.default_rng(len(split)).standard_normal((self.sizes[split], INPUTS)).astype(np.float32)
        return list(enumerate(points))

    def train_records(self):
        return self._records("train")

    def eval_records(self, split):
        if split not in self.sizes:
            raise InputError(f"unknown split {split!r}")
        return self._records(split)

    def collate(self, records, rng, training):
        x = np.stack([point for _, point in records])
        labels = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.3).astype(np.int64)
        if training:
            self._fail(os.environ)
        noise = rng.standard_normal(x.shape) * self.noise if training else 0.0
        return {"x": x + np.float32(noise), "labels": labels}

    def _fail(self, asked):
        self.made += 1
        if asked.get("TOY_WORKER_DIES_AT") == str(self.made):
            os.kill(os.getpid(), signal.SIGKILL)
        if asked.get("TOY_BAD_BATCH_AT") == str(self.made - 1):
            raise InputError("images/7.jpg: cut short. Replace the file.")

    def loss(self, batch):
        if self.model.training:
            self.seen.append(len(batch["index"]))
        scores = self.model(batch["x"])
        loss = nn.functional.cross_entropy(scores, batch["labels"])
        if self.nan_at is not None and self.steps == self.nan_at:
            loss = loss * float("nan")
        return loss, {"fit": loss.detach()}

    def predict(self, loader, split):
        def predict(batch):
            scores = self.model(batch["x"])
            return {"right": scores.argmax(-1) == batch["labels"], "scores": scores}

        columns = evaluation.predict_all(predict, loader)
        self.counted = len(columns["index"])
        return ToyPredictions(self, columns)

    def after_step(self, step):
        self.steps = step
        self.trail = np.roll(self.trail, 1) + np.float32(step)
        self.model.updates.set_value(self.model.updates + 1)
        if os.environ.get("TOY_KILL_AT") == str(step):
            self._kill(os.environ)

    def _kill(self, asked):
        number = int(asked.get("TOY_SIGNAL", signal.SIGKILL))
        if "TOY_STOP_RANK" in asked:
            if asked["TOY_STOP_RANK"] == asked.get("PADDLE_TRAINER_ID"):
                os.kill(os.getpid(), signal.SIGSTOP)
        elif "TOY_GROUP" in asked:
            os.killpg(0, number)
        elif "TOY_PARENT" in asked:
            if asked.get("PADDLE_TRAINER_ID") == "0":
                os.kill(os.getppid(), number)
        else:
            os.kill(os.getpid(), number)

    def state_dict(self):
        return {"trail": self.trail, "steps": self.steps}

    def load_state_dict(self, state):
        self.trail, self.steps = state["trail"], int(state["steps"])

    def checkpoint_files(self):
        return self.files


class ToyPredictions(Predictions):
    """Class scores of a split."""

    def __init__(self, task, columns):
        self.task, self.columns = task, columns

    def metrics(self):
        return {
            "accuracy": float(np.mean(self.columns["right"])),
            "mean_score": float(np.mean(self.columns["scores"].astype(np.float64))),
            "counted": float(len(self.columns["index"])),
        }

    def write(self, directory):
        self.task.written += 1
        directory.mkdir(exist_ok=True)
        file = directory / "result.txt"
        file.write_text(str(len(self.columns["index"])))
        return [file]


def main() -> None:
    """`toy.py OUTPUT [--resume auto] [key=value …]`: train; dropout and split sizes from the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output_dir")
    parser.add_argument("--resume")
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_intermixed_args()
    cfg = load_config(TrainConfig, None, arguments.settings)
    config = RunConfig(output_dir=arguments.output_dir, train=cfg)
    run_task(Run(None, resume=arguments.resume), config, _build, lambda *_: None)


def _build(_config):
    asked = os.environ
    return ToyTask(
        int(asked.get("TOY_TRAIN", "37")), int(asked.get("TOY_VAL", "21")), float(asked.get("TOY_DROPOUT", "0.1"))
    )


if __name__ == "__main__":
    run_main(main)
