"""One optimizer step: micro-batches, gradients, the check that they are finite, the update."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import paddle

from pyutils import distributed
from pyutils.engine.precision import LossScaler, autocast, gradients_are_finite
from pyutils.engine.settings import TrainConfig
from pyutils.engine.task import Batch, Task
from pyutils.errors import InputError
from pyutils.optim import Optimizer

Logs = dict[str, paddle.Tensor]

_MOST_SKIPPED_IN_A_ROW = 20
_NOT_FINITE_ADVICE = (
    "Nothing was saved since, so `last` holds good weights. Lower train.optimizer.lr or lengthen the warm-up, prefer "
    "bf16 to fp16, look for damaged inputs, or set train.non_finite: skip."
)


class LossLayer(paddle.nn.Layer):
    """The layer whose forward is the task's loss: what data parallel training must wrap for its hooks to fire."""

    def __init__(self, task: Task):
        super().__init__()
        self.model = task.model
        self._task = task

    def forward(self, batch: Batch) -> tuple[paddle.Tensor, Logs]:
        """The task's (loss, parts to log) of one micro-batch."""
        return self._task.loss(batch)


class Stepper:
    """Takes optimizer steps of `task`.

    Args:
        optimizer: holds the trained parameters; clips and updates.
    Gradients of the micro-batches of a step are averaged, over accumulation and over processes.
    """

    def __init__(self, task: Task, cfg: TrainConfig, optimizer: Optimizer):
        self._cfg, self._optimizer = cfg, optimizer
        self._parameters = [entry.parameter for entry in optimizer.trained]
        self.scaler = LossScaler(cfg.precision)
        self._network: paddle.nn.Layer = LossLayer(task)
        self._parallel = distributed.world_size() > 1
        if self._parallel:
            self._network = paddle.DataParallel(self._network, find_unused_parameters=task.find_unused_parameters)

    def gradients(self, batches: Iterator[Batch]) -> Logs:
        """Add up the gradients of the next `accumulation_steps` micro-batches; the means of "loss" and its parts."""
        count = self._cfg.accumulation_steps
        totals: Logs = {}
        for number in range(count):
            with self._synchronised(number == count - 1):
                with autocast(self._cfg.precision):
                    loss, parts = self._network(next(batches))
                self._optimizer.backward(self.scaler.scaled(loss / count))
            for name, value in {**parts, "loss": loss}.items():
                share = value.detach().astype("float32").reshape([]) / count
                totals[name] = totals[name] + share if name in totals else share
        return {"loss": totals.pop("loss"), **totals}

    def update(self, check: bool) -> bool:
        """Unscale and apply the gradients and drop them; False when they were not finite and the step was left out.

        Args:
            check: look at every gradient first (one transfer from the device); fp16 always does.
        """
        finite = self.scaler.unscale(self._parameters)
        if check and not self.scaler.enabled:
            finite = gradients_are_finite([p.grad for p in self._parameters if p.grad is not None])
        if finite:
            self._optimizer.step()
        self.scaler.update(finite)
        self._optimizer.clear_grad()
        return finite

    def drop(self) -> None:
        """Drop the gradients of a step that is left out."""
        self.scaler.update(False)
        self._optimizer.clear_grad()

    def _synchronised(self, last: bool) -> AbstractContextManager:
        """Processes exchange gradients in the last micro-batch of a step only."""
        return self._network.no_sync() if self._parallel and not last else nullcontext()


class StepWindow:
    """Losses of the steps since the last report, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self._pending: list[tuple[int, Logs]] = []
        self._values: list[dict[str, float]] = []

    def add(self, step: int, logs: Logs) -> None:
        """Note values of one step; a step may be noted in parts."""
        self._pending.append((step, logs))

    def first_bad(self) -> tuple[int, dict[str, float]] | None:
        """(step, values) of the first step noted since the last call that has a value that is not finite, or None.

        Fetches all noted values from the device in one transfer.
        """
        pending, self._pending = self._pending, []
        if not pending:
            return None
        flat = paddle.stack([value for _, logs in pending for value in logs.values()]).numpy().tolist()
        bad = None
        for step, logs in pending:
            values = {name: flat.pop(0) for name in logs}
            if all(map(math.isfinite, values.values())):
                self._values.append(values)
            elif bad is None:
                bad = step, values
        return bad

    def means(self) -> dict[str, float]:
        """Mean over steps and processes of every value noted since the last call; call `first_bad` before."""
        own, self._values = self._values, []
        steps = [values for rank_values in distributed.all_gather_objects(own) for values in rank_values]
        names = dict.fromkeys(name for values in steps for name in values)
        return {name: _mean([values[name] for values in steps if name in values]) for name in names}


class FiniteGuard:
    """Decides what happens to a step whose loss or gradients are not finite.

    With the policy "stop" the run ends with an InputError that names step and losses, before anything is saved. With
    "skip" that step is left out, at most 20 in a row.
    """

    def __init__(self, policy: str, window: StepWindow):
        self._policy, self._window, self._in_a_row = policy, window, 0

    def loss_is_finite(self) -> bool:
        """Look at the values noted so far; on one bad process, all processes act alike."""
        bad = self._window.first_bad()
        if not distributed.any_process(bad is not None):
            return True
        if self._policy == "stop":
            where = f"step {bad[0]}: {describe(bad[1])}" if bad else "another process has a loss that is not finite"
            raise InputError(f"{where}. {_NOT_FINITE_ADVICE}")
        return False

    def skipped(self, step: int) -> str:
        """Note that a step was left out; the line for the log. InputError when it happens all the time."""
        self._in_a_row += 1
        if self._in_a_row > _MOST_SKIPPED_IN_A_ROW:
            raise InputError(
                f"step {step}: the last {self._in_a_row} steps all had losses or gradients that are not finite. "
                + _NOT_FINITE_ADVICE
            )
        return f"step {step} left out: its loss or gradients are not finite"

    def taken(self) -> None:
        """Note that a step was taken."""
        self._in_a_row = 0


def describe(values: Mapping[str, float]) -> str:
    """`loss nan, itm 0.693` for messages."""
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
