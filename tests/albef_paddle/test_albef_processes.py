"""Two processes against one: losses of their shares of a batch, and the queues they keep in common."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle

from albef_paddle.contrast import encode_pairs
from tests.albef_paddle.retrieval_process import build, share_of_step
from tests.support import golden

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("retrieval_process.py")


def test_two_processes_equal_one(tmp_path):
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log")]
    settings = {"PYTHONPATH": str(ROOT), "PYUTILS_CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    model = build()
    arrays = golden("albef/retrieval").inputs
    names = ("image", "input_ids", "attention_mask", "idx")
    images, ids, mask, identities = (paddle.to_tensor(arrays[name]) for name in names)
    with paddle.no_grad():
        teacher = encode_pairs(model.teacher, images, ids, mask)
        model.queue.enqueue(teacher.image_feature, teacher.text_feature, identities)
    for rank in range(2):
        found = dict(np.load(tmp_path / f"rank{rank}.npz"))
        alone = share_of_step(build(), 2 * rank, 2 * rank + 2)
        for name in ("contrast", "matching"):
            np.testing.assert_allclose(found[name], alone[name], rtol=1e-6, err_msg=name)
        for name, tensor in model.queue.state_dict().items():
            np.testing.assert_allclose(found[name], tensor.numpy(), rtol=0, atol=1e-6, err_msg=name)
