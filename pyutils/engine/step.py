"""One optimizer step: micro-batches, gradients, finite check, update."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    "Nothing was saved since, so `last` has finite weights. Lower train.optimizer.lr or lengthen the warm-up, prefer "
    "bf16 to fp16, check the inputs, or set train.non_finite: skip."
)


class LossLayer(paddle.nn.Layer):
    """Layer whose forward is the task's loss; `DataParallel` wraps it so that its hooks run."""

    def __init__(self, task: Task):
        super().__init__()
        self.model = task.model
        self._task = task

    def forward(self, batch: Batch) -> tuple[paddle.Tensor, Logs]:
        """Return the task's (loss, parts to log) of one micro-batch."""
        return self._task.loss(batch)


class Stepper:
    """Takes optimizer steps of `task`; averages gradients over micro-batches and processes."""

    def __init__(self, task: Task, cfg: TrainConfig, optimizer: Optimizer):
        self._cfg, self._optimizer = cfg, optimizer
        self._parameters = [entry.parameter for entry in optimizer.trained]
        self.scaler = LossScaler(cfg.precision)
        self._network: paddle.nn.Layer = LossLayer(task)
        self._parallel = distributed.world_size() > 1
        if self._parallel:
            self._network = paddle.DataParallel(self._network, find_unused_parameters=task.find_unused_parameters)

    def gradients(self, batches: Iterator[Batch]) -> Logs:
        """Accumulate gradients of the next `accumulation_steps` micro-batches; return mean "loss" and parts."""
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
        """Unscale, apply and clear the gradients; return False if they were not finite and the step was skipped.

        Args:
            check: check every gradient first (one transfer from the device); fp16 always does.
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
        """Clear the gradients of a skipped step."""
        self.scaler.update(False)
        self._optimizer.clear_grad()

    def _synchronised(self, last: bool) -> AbstractContextManager:
        """Synchronise gradients between processes in the last micro-batch of a step only."""
        return self._network.no_sync() if self._parallel and not last else nullcontext()


class StepWindow:
    """Losses of the steps since the last report, on the device until they are needed."""

    def __init__(self) -> None:
        self._pending: list[tuple[int, Logs]] = []
        self._values: list[dict[str, float]] = []

    def add(self, step: int, logs: Logs) -> None:
        """Add values of one step; may be called several times per step."""
        self._pending.append((step, logs))

    def first_bad(self) -> tuple[int, dict[str, float]] | None:
        """Return (step, values) of the first step with a value that is not finite since the last call, or None.

        Copies all values from the device in one transfer.
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
        """Return the means over steps and processes since the last call; call `first_bad` before."""
        own, self._values = self._values, []
        steps = [values for rank_values in distributed.all_gather_objects(own) for values in rank_values]
        names = dict.fromkeys(name for values in steps for name in values)
        columns = {name: [values[name] for values in steps if name in values] for name in names}
        return {name: sum(column) / len(column) for name, column in columns.items()}


class FiniteGuard:
    """Handles steps whose loss or gradients are not finite.

    With the policy "stop" the run ends with an InputError with step and losses, before anything is saved. With "skip"
    the step is skipped, at most 20 in a row.
    """

    def __init__(self, policy: str, window: StepWindow):
        self._policy, self._window, self._in_a_row = policy, window, 0

    def loss_is_finite(self) -> bool:
        """Check the values so far; a bad value in one process counts for all."""
        bad = self._window.first_bad()
        if not distributed.any_process(bad is not None):
            return True
        if self._policy == "stop":
            where = "another process has a loss that is not finite"
            if bad:
                where = f"step {bad[0]}: " + ", ".join(f"{name} {value:.6g}" for name, value in bad[1].items())
            raise InputError(f"{where}. {_NOT_FINITE_ADVICE}")
        return False

    def skipped(self, step: int) -> str:
        """Count a skipped step and return a log line. Raises InputError after 20 in a row."""
        self._in_a_row += 1
        if self._in_a_row > _MOST_SKIPPED_IN_A_ROW:
            raise InputError(
                f"step {step}: the last {self._in_a_row} steps all had losses or gradients that are not finite. "
                + _NOT_FINITE_ADVICE
            )
        return f"step {step} skipped: its loss or gradients are not finite"

    def taken(self) -> None:
        """Count a step that was taken."""
        self._in_a_row = 0
