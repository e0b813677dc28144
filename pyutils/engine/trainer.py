"""The training loop, the same for every task.

schedule -> micro-batches -> finite check -> clip and update -> log -> (evaluate, keep best) -> checkpoint
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import paddle

from pyutils import distributed
from pyutils.compat import use_cpu_threads
from pyutils.console import say
from pyutils.data.loader import train_loader
from pyutils.data.order import TrainOrder
from pyutils.engine import evaluation
from pyutils.engine.determinism import seed_step
from pyutils.engine.heartbeat import Place, watching
from pyutils.engine.identity import check_identity, run_identity
from pyutils.engine.match import check_match
from pyutils.engine.meter import Meter
from pyutils.engine.output import BEST, check_owner, only_run, run_name, set_aside
from pyutils.engine.resume import LAST, Progress, capture, load_run, resume_folder, unpack
from pyutils.engine.run_log import RunLog
from pyutils.engine.settings import TrainConfig
from pyutils.engine.step import FiniteGuard, Stepper, StepWindow
from pyutils.engine.stop_signals import Stopped, StopSignals
from pyutils.engine.task import Batch, Task
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write, write_json
from pyutils.metrics.predictions import Predictions
from pyutils.optim import build_optimizer
from pyutils.schedule import build_schedule
from pyutils.weights.checkpoint import CONFIG_FILE, METRICS_FILE, RunState, load_weights, save_checkpoint

_STEPS_BETWEEN_STOP_CHECKS_ON_GPU = 10


class Trainer:
    """Trains and evaluates one task.

    Args:
        task: model, data and objective.
        cfg: the engine's settings.
        output_dir: for `last/`, `best/`, `config.yaml`, `metrics.json`, `log.jsonl`, `vdl/`.
    Call `determinism.seed_initial(cfg.seed)` before the task builds its model.
    """

    def __init__(self, task: Task, cfg: TrainConfig, output_dir: str | Path):
        self.task, self.cfg, self.output_dir = task, cfg, Path(output_dir)
        self.progress, self._place = Progress(), Place()
        distributed.initialize()
        use_cpu_threads()

    def run(self, resume: str | None = None) -> dict[str, float]:
        """Train to the end and return the metrics of the best evaluation ({} without any).

        Args:
            resume: None, "auto", or a checkpoint or output folder (`resume.resume_folder`).
        Raises:
            InputError: empty or too small split, checkpoint of another run, loss that is not finite, full disk, another
                training in `output_dir`, a data worker that was killed.
            SystemExit: 128 + the number of a signal (`StopSignals`), after the step is finished and `last` is written.
        """
        with watching(self.cfg.silent_after, self._place):
            self._prepare(resume)
            self.task.before_training()
            with only_run(self.output_dir):  # not earlier: what is refused until here leaves no folder
                return self._train()

    def _train(self) -> dict[str, float]:
        if not self._in_place:
            set_aside(self.output_dir)
        boards = self.cfg.boards if self.cfg.scalars else ()
        self._log = RunLog(self.output_dir, self.total_steps, self.progress.step, boards, self.task.config_text)
        self._announce()
        with StopSignals() as self._stop:
            try:
                self._loop()
            except Stopped:
                self._save_last()
                self._leave()
            finally:
                self._log.close()
        return self.progress.best_metrics

    def evaluate(self, split: str) -> tuple[dict[str, float], Predictions]:
        """Return metrics and predictions of `split` with the current weights; write result files to
        `<output_dir>/<split>`."""
        distributed.broadcast_state(self.task.model)
        metrics, predictions = evaluation.evaluate(self.task, self.cfg, split)
        if distributed.is_main():
            predictions.write(self.output_dir / split)
        distributed.barrier()
        return metrics, predictions

    def _prepare(self, resume: str | None) -> None:
        """Build all parts of the run and restore a saved state."""
        cfg, task = self.cfg, self.task
        self._on_gpu = paddle.get_device().startswith("gpu")
        self._records = task.train_records()
        world, rank = distributed.world_size(), distributed.rank()
        self.order = TrainOrder(len(self._records), cfg.batch_size, world, rank, cfg.accumulation_steps, cfg.seed)
        self.order.check()
        self.total_steps = cfg.total_steps(self.order.steps_per_epoch)
        if cfg.eval_split and not len(task.eval_records(cfg.eval_split)):
            raise InputError(f"split {cfg.eval_split!r} (train.eval_split) is empty")
        if cfg.evaluates:
            evaluation.check_labelled(task, cfg.eval_split)
        self.optimizer = build_optimizer(cfg.optimizer, dict(task.model.named_parameters()))
        self._adjust_model()
        steps_per_epoch = self.order.steps_per_epoch
        self.schedule = build_schedule(cfg.schedule, self.total_steps, steps_per_epoch, cfg.optimizer.lr or 1.0)
        self._identity = run_identity(cfg, self.order, task, self._records)
        self._identity["run"] = run_name(self._identity)
        check_owner(self.output_dir, task.name, one_run=bool(resume))
        folder = resume_folder(resume, self.output_dir)
        state = load_run(folder) if folder else None
        if folder and state:
            check_identity(state.values["identity"], self._identity, folder)
            check_match(task, folder)
            load_weights(task.model, folder)
        distributed.broadcast_state(task.model)
        self.stepper = Stepper(task, cfg, self.optimizer)
        if folder and state:
            self._restore(folder, state)
        self._in_place = folder is not None and folder.resolve() == (self.output_dir / LAST).resolve()

    def _adjust_model(self) -> None:
        """Stop gradients that the optimizer would not clear; set recomputation in layers that support it."""
        trained = {id(entry.parameter) for entry in self.optimizer.trained}
        for parameter in self.task.model.parameters():
            if id(parameter) not in trained:
                parameter.stop_gradient = True
        for layer in self.task.model.sublayers(include_self=True):
            if hasattr(layer, "recompute_layers"):
                layer.recompute_layers = self.cfg.recompute

    def _restore(self, folder: Path, state: RunState) -> None:
        self.optimizer.load_state_dict(unpack("optimizer", state))
        self.schedule.load_state_dict(unpack("schedule", state))
        self.stepper.scaler.load_state_dict(unpack("scaler", state))
        self.task.load_state_dict(unpack("task", state))
        self.progress = Progress(**state.values["progress"])
        self._identity["run"] = state.values["identity"].get("run", self._identity["run"])
        say(f"resuming from {folder} at step {self.progress.step}/{self.total_steps}")

    def _announce(self) -> None:
        order = self.order
        self._log.event(
            self.progress.step,
            f"training {self.task.name}: {order.records} records, effective batch {order.effective_batch} "
            f"({order.batch_size} x {order.world} process(es) x {order.accumulation} accumulation), "
            f"{order.steps_per_epoch} steps per epoch, {self.total_steps} steps in total, "
            f"{self.cfg.precision} on {paddle.get_device()}",
        )
        if distributed.is_main() and self.task.config_text:
            with atomic_write(self.output_dir / CONFIG_FILE) as stream:
                stream.write(self.task.config_text)

    def _loop(self) -> None:
        """Steps, evaluations and checkpoints until the last step or a signal."""
        self._window, self._meter = StepWindow(), Meter()
        self._guard = FiniteGuard(self.cfg.non_finite, self._window)
        if self._evaluate_if_due() and self.progress.step:
            self._save_last()
        self.task.model.train()
        with closing(self._batches()) as batches:  # closed at once: its workers ignore SIGTERM and would outlive it
            while self.progress.step < self.total_steps:
                self._one_step(batches)
                if self._stop_agreed():
                    self._guard.loss_is_finite()
                    self._save_last()
                    distributed.barrier()
                    self._leave()
                if self.progress.step % self.cfg.log_every == 0 or self.progress.step == self.total_steps:
                    self._report()
                with self._meter.paused():
                    self._evaluate_if_due()
                    self._save_if_due()

    def _batches(self) -> Generator[Batch, None, None]:
        """Return the micro-batches from the current step on, with their waiting time measured."""
        accumulation = self.cfg.accumulation_steps
        start, stop = self.progress.step * accumulation, self.total_steps * accumulation
        loader = train_loader(self._records, self.task.collate, self.order, start, stop, self.cfg.workers)
        return self._meter.timed(loader)

    def _first_batch(self, batches: Iterator[Batch]) -> Batch:
        """Return the first micro-batch of a step. If it cannot be made, `last` is written first: no step is lost."""
        try:
            return next(batches)
        except Exception:
            self._guard.loss_is_finite()
            if self.progress.step:
                self._save_last()
                say(f"no data for step {self.progress.step + 1}; {LAST} is saved, --resume auto goes on from there")
            raise

    def _one_step(self, batches: Iterator[Batch]) -> None:
        self._place.text = f"in step {self.progress.step + 1}"
        seed_step(self.cfg.seed, self.progress.step, distributed.rank())
        self._rate = self.schedule.rate(self.progress.step)
        if self.cfg.optimizer.lr is not None:
            self.optimizer.set_lr(self._rate)
        logs = self.stepper.gradients(chain([self._first_batch(batches)], batches))
        self.progress.step = step = self.progress.step + 1
        self._window.add(step, logs)
        skips = self.cfg.non_finite == "skip"
        # On a GPU the losses stay there until the next report, unless bad steps are skipped: no wait in each step.
        if (skips or not self._on_gpu) and not self._guard.loss_is_finite():
            self.stepper.drop()
            self._log.event(step, self._guard.skipped(step))
        elif not self.stepper.update(check=skips):
            self._log.event(step, self._guard.skipped(step))
        else:
            self._guard.taken()
            if self.optimizer.grad_norm is not None:
                self._window.add(step, {"grad_norm": self.optimizer.grad_norm.astype("float32").reshape([])})
            self.task.after_step(step)
        self._meter.add_step()
        self._log.step(step)

    def _report(self) -> None:
        self._guard.loss_is_finite()
        speed = self._meter.report(self.order.effective_batch)
        self._log.train(self.progress.step, self._epoch, {**self._window.means(), "lr": self._rate}, speed)

    @property
    def _epoch(self) -> float:
        return self.progress.step / self.order.steps_per_epoch

    def _stop_agreed(self) -> bool:
        """Return True if some process got a signal, in every process after the same step."""
        every = _STEPS_BETWEEN_STOP_CHECKS_ON_GPU if self._on_gpu and distributed.world_size() > 1 else 1
        return self.progress.step % every == 0 and distributed.any_process(self._stop.received is not None)

    def _evaluation_is_due(self) -> bool:
        cfg, step = self.cfg, self.progress.step
        if not cfg.eval_split or self.progress.evaluated_at == step:
            return False
        if step == 0:
            return cfg.evaluate_before_training
        if cfg.eval_every_steps and step % cfg.eval_every_steps == 0:
            return True
        if not cfg.eval_every_epochs:
            return False
        return step == self.total_steps or step % (self.order.steps_per_epoch * cfg.eval_every_epochs) == 0

    def _evaluate_if_due(self) -> bool:
        """Evaluate if due; return True if so. An error, e.g. of a file that only evaluation reads, loses no step."""
        if not self._evaluation_is_due():
            return False
        self._guard.loss_is_finite()
        before = replace(self.progress)
        try:
            self._evaluate()
        except Exception:
            self.progress = before
            if before.step:
                self._save_last()
                say(f"the evaluation at step {before.step} failed; {LAST} is saved, --resume auto evaluates again")
            raise
        return True

    def _evaluate(self) -> None:
        """Evaluate, save the best weights, and update the schedule."""
        task, now, split = self.task, self.progress, self.cfg.eval_split
        self._place.text = f"in the evaluation at step {now.step}"
        # A signal ends an evaluation at once: no step is in progress, and a resumed run evaluates first.
        with self._stop.at_once():
            metrics, predictions = evaluation.evaluate(task, self.cfg, split)
        best = now.best_step < 0 or metrics[task.best_metric] > now.best_metrics[task.best_metric]
        now.evaluated_at, now.metrics = now.step, metrics
        if best:
            now.best_step, now.best_metrics = now.step, metrics
        self._log.evaluation(now.step, self._epoch, split, metrics, best)
        if distributed.is_main():
            if best:
                self._save(self.output_dir / BEST, metrics)
                predictions.write(self.output_dir / split)
            summary = {"split": split, **predictions.conditions(), "last": {"step": now.step, **metrics}}
            write_json(self.output_dir / METRICS_FILE, {**summary, "best": {"step": now.best_step, **now.best_metrics}})
        if now.step and now.step % self.order.steps_per_epoch == 0:
            self.schedule.observe(metrics[task.best_metric])
        distributed.barrier()

    def _save_if_due(self) -> None:
        step, every = self.progress.step, self.cfg.save_every_steps
        regular = bool(every) and step % every == 0
        if regular or step == self.total_steps or step % self.order.steps_per_epoch == 0:
            self._guard.loss_is_finite()
            self._save_last()
            if regular and self.cfg.keep_every_steps and distributed.is_main():
                self._save(self.output_dir / f"step_{step}", self.progress.metrics)
            distributed.barrier()

    def _save_last(self) -> None:
        """Write `last` with the state of the run, in the main process; states are equal in all."""
        if not distributed.is_main():
            return
        states: dict[str, Any] = {"optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.stepper.scaler}
        groups = {name: part.state_dict() for name, part in {**states, "task": self.task}.items()}
        state = capture(self.progress, self.total_steps, self._identity, groups)
        self._save(self.output_dir / LAST, self.progress.metrics, state)

    def _save(self, folder: Path, metrics: dict[str, float], state: RunState | None = None) -> None:
        task, files = self.task, self.task.checkpoint_files()
        own, kind, texts = self._identity["run"], self.cfg.checkpoint_format, task.checkpoint_texts()
        save_checkpoint(folder, task.model, task.config_text, files, metrics, state, kind, own, texts)

    def _leave(self) -> None:
        """Exit with the status of the signal; `last` has been written."""
        self._log.event(self.progress.step, f"stopped at step {self.progress.step}; --resume auto resumes here")
        raise SystemExit(self._stop.exit_status)
