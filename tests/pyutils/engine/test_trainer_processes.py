"""Runs that are killed, interrupted or spread over two processes, each in processes of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pyutils.engine.output import only_run
from pyutils.errors import InputError
from pyutils.formats.tensor_files import read_safetensors
from pyutils.weights.checkpoint import load_state

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("toy.py")
SETTINGS = ("batch_size=4", "epochs=3", "log_every=4", "optimizer.lr=0.01", "save_every_steps=4", "scalars=false")
TOTAL_STEPS = 27
IGNORING = (
    "import runpy, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run(folder, *arguments, launcher=(), **environment):
    """Exit status and console of `toy.py`."""
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), *SETTINGS, *arguments]
    settings = {"PYTHONPATH": str(ROOT), "PYUTILS_CPU_THREADS": "1", "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        command,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        preexec_fn=_hears_hang_up,
    )
    return done.returncode, done.stderr + done.stdout


def _hears_hang_up():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that run under nohup would hand on that it is ignored


def arrays(folder, name):
    return read_safetensors(folder / name)


def assert_same_run(first, second):
    """Weights, optimizer, task state and metrics are equal bit for bit."""
    for name in ("last/model.safetensors", "last/state.safetensors", "best/model.safetensors", "metrics.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    states = [load_state(folder / "last").values for folder in (first, second)]
    for state in states:
        del state["identity"]
    assert states[0] == states[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    status, console = run(folder, "workers=0")
    assert status == 0, console
    return folder


def test_a_killed_run_ends_as_the_uninterrupted_one_and_leaves_no_worker(uninterrupted, tmp_path):
    step = random.SystemRandom().randrange(5, TOTAL_STEPS)
    # The console is a pipe: a data worker that outlived its killed trainer would hold it open until the timeout.
    status, _ = run(tmp_path, "workers=1", TOY_KILL_AT=str(step))
    assert status == -signal.SIGKILL
    saved = load_state(tmp_path / "last").values["progress"]["step"]
    assert 4 <= saved < step
    status, console = run(tmp_path, "workers=1", "--resume", "auto")
    assert status == 0 and f"at step {saved}/{TOTAL_STEPS}" in console
    assert_same_run(uninterrupted, tmp_path)


def test_ctrl_c_and_sigterm_save_and_exit_with_their_status(uninterrupted, tmp_path):
    status, console = run(tmp_path, "workers=1", TOY_KILL_AT="6", TOY_SIGNAL=str(int(signal.SIGINT)))
    assert status == 130 and "stopped at step 6" in console
    assert load_state(tmp_path / "last").values["progress"]["step"] == 6
    status, console = run(
        tmp_path, "workers=0", "--resume", "auto", TOY_KILL_AT="18", TOY_SIGNAL=str(int(signal.SIGTERM))
    )
    assert status == 143 and "stopped at step 18" in console
    assert run(tmp_path, "workers=0", "--resume", "auto")[0] == 0
    assert_same_run(uninterrupted, tmp_path)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_to_the_whole_group_with_a_data_worker_finishes_the_step(uninterrupted, tmp_path, name):
    number = getattr(signal, name)
    status, console = run(tmp_path, "workers=1", TOY_KILL_AT="6", TOY_SIGNAL=str(int(number)), TOY_GROUP="1")
    assert status == 128 + number and "stopped at step 6" in console, console
    assert run(tmp_path, "workers=1", "--resume", "auto")[0] == 0
    assert_same_run(uninterrupted, tmp_path)


def test_a_signal_that_the_caller_ignores_stays_ignored(uninterrupted, tmp_path):
    command = [sys.executable, "-c", IGNORING, str(SCRIPT), str(tmp_path), *SETTINGS, "workers=0"]
    settings = {"PYTHONPATH": str(ROOT), "TOY_KILL_AT": "6", "TOY_SIGNAL": str(int(signal.SIGHUP))}
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_same_run(uninterrupted, tmp_path)


def test_a_killed_data_worker_is_one_error_with_advice(tmp_path):
    status, console = run(tmp_path, "workers=1", TOY_WORKER_DIES_AT="12")
    assert status == 2 and "\nerror: a data worker was ended from outside" in console, console


def test_a_record_that_cannot_be_read_loses_no_step(uninterrupted, tmp_path):
    status, console = run(tmp_path, "workers=0", "save_every_steps=0", TOY_BAD_BATCH_AT="6")
    assert status == 2 and "no data for step 7" in console, console
    assert load_state(tmp_path / "last").values["progress"]["step"] == 6
    assert run(tmp_path, "workers=0", "--resume", "auto")[0] == 0
    assert_same_run(uninterrupted, tmp_path)


def test_a_second_run_in_the_same_folder_is_refused_and_names_the_first(tmp_path):
    with only_run(tmp_path):
        status, console = run(tmp_path, "workers=0")
    assert status == 2 and f"process {os.getpid()} on" in console and "another --output_dir" in console, console
    assert run(tmp_path, "workers=0", "max_steps=1")[0] == 0  # the end of the first frees the folder


def test_flipped_bytes_of_a_saved_state_are_not_resumed(tmp_path):
    assert run(tmp_path, "workers=0", "max_steps=4")[0] == 0
    for name in ("state.safetensors", "model.safetensors"):
        file = tmp_path / "last" / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 4]) + whole[-2:])
        with pytest.raises(InputError, match=f"{name}: not the file that was written"):
            load_state(tmp_path / "last")
        file.write_bytes(whole)
    load_state(tmp_path / "last")


def test_a_frozen_process_is_named_by_the_other(tmp_path):
    launcher = ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log"))
    options = ("workers=0", "batch_size=2", "silent_after=6")
    status, console = run(tmp_path / "run", *options, launcher=launcher, TOY_KILL_AT="6", TOY_STOP_RANK="1")
    log = console + "".join(path.read_text() for path in (tmp_path / "log").glob("workerlog.*"))
    assert status != 0 and "process 1 of the run has been silent for 6 seconds, last heard" in log, log


def test_processes_whose_launcher_is_killed_save_and_stop(tmp_path):
    log = tmp_path / "log"
    launcher = ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(log))
    options = ("workers=0", "batch_size=2", "epochs=1000", "save_every_steps=0", "eval_every_epochs=0")
    status, _ = run(tmp_path / "run", *options, launcher=launcher, TOY_KILL_AT="6", TOY_PARENT="1")
    assert status == -signal.SIGKILL
    for _ in range(200):
        if "--resume auto resumes here" in (log / "workerlog.0").read_text():
            break
        time.sleep(0.1)
    assert load_state(tmp_path / "run" / "last").values["progress"]["step"] < 9000


def test_two_processes_equal_one_at_the_same_global_batch(tmp_path):
    launcher = ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log"))
    options = ("workers=0", "accumulation_steps=2")
    quiet = {"TOY_DROPOUT": "0"}
    status, console = run(tmp_path / "two", *options, "batch_size=2", launcher=launcher, **quiet)
    assert status == 0, console
    status, console = run(tmp_path / "one", *options, **quiet)
    assert status == 0, console
    one, two = (arrays(tmp_path / name, "last/model.safetensors") for name in ("one", "two"))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-6)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text())["last"] for name in ("one", "two")]
    assert metrics[0]["counted"] == metrics[1]["counted"] == 21  # odd: the processes' shares differ
    assert metrics[0]["accuracy"] == metrics[1]["accuracy"]
    assert metrics[0]["mean_score"] == pytest.approx(metrics[1]["mean_score"], abs=1e-6)
    losses = [_train_losses(tmp_path / name) for name in ("one", "two")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-6)


def _train_losses(folder):
    entries = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [entry["loss"] for entry in entries if entry["kind"] == "train"]
