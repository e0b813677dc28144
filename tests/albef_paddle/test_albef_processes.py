"""Two processes against one: the mean of their losses and gradients, and the queues they keep in common."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.albef_paddle.retrieval_process import build, share_of_step

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("retrieval_process.py")


def test_two_processes_equal_one(tmp_path):
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log")]
    settings = {"PYTHONPATH": str(ROOT), "PYUTILS_CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    alone = share_of_step(build(), 0, 4)
    ranks = [dict(np.load(tmp_path / f"rank{rank}.npz")) for rank in range(2)]
    for name in ("contrast", "matching", "gradient_vision", "gradient_text", "gradient_temperature"):
        mean = (ranks[0][name] + ranks[1][name]) / 2
        scale = float(np.abs(alone[name]).max())
        assert scale > 0, name
        np.testing.assert_allclose(mean, alone[name], rtol=2e-5, atol=2e-5 * scale, err_msg=name)
    for name in build().queue.state_dict():
        for found in ranks:
            np.testing.assert_allclose(found[name], alone[name], rtol=0, atol=1e-6, err_msg=name)
