"""The commands as users type them, in processes of their own: training, resuming, several processes, prediction."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pyutils.weights import read
from tests.visualbert_paddle.support import world_yaml
from visualbert_paddle.checkpoints.weights import NAME_MAPS
from visualbert_paddle.tasks.vqa import VisualBertVQA

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "visualbert_paddle/run_vqa2.py"


def environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PADDLE_")}
    return {**kept, "PYUTILS_CPU_THREADS": "1", "GPUS": "", "PYTHON": sys.executable, **extra}


def run(*command: str, **options) -> subprocess.CompletedProcess:
    extra = options.pop("env", {})
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=options.pop("cwd", ROOT), env=environment(**extra)
    )


def script(*arguments: str, **options) -> subprocess.CompletedProcess:
    return run(sys.executable, str(ROOT / SCRIPT), *map(str, arguments), **options)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return read(folder / "model.safetensors")


@pytest.fixture
def home(vqa_world, vqa_config, tmp_path):
    """A home folder laid out as the original's users have it, with a tiny visualbert-vqa-pre."""
    from safetensors.numpy import save_file

    folder = tmp_path / "home"
    datasets, models = folder / ".paddlenlp/datasets", folder / ".paddlenlp/models/visualbert-vqa-pre"
    datasets.mkdir(parents=True)
    models.mkdir(parents=True)
    (datasets / "VQA2").symlink_to(vqa_world / "VQA2")
    state = {name: value.numpy() for name, value in VisualBertVQA(vqa_config()).model.state_dict().items()}
    kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    theirs = NAME_MAPS["huggingface"].to_theirs(kept).tensors
    save_file({k: np.ascontiguousarray(v) for k, v in theirs.items()}, str(models / "model.safetensors"))
    return folder


def test_the_original_command(vqa_world, vqa_yaml, home, tmp_path):
    """The PaddleNLP example's command, typed from another folder; only the sizes come from our small configuration."""
    output = tmp_path / "out"
    done = script(
        *("--config", vqa_yaml, "--input_dir", f"{vqa_world}/X_COCO/", "--output_dir", output, "--task_name", "vqa2"),
        *("--model_type", "visualbert", "--model_name_or_path", "visualbert-vqa-pre", "--batch_size", "64"),
        *("--learning_rate", "2e-5", "--save_steps", "10000", "--num_train_epochs", "1"),
        *("--annotations", "~/.paddlenlp/datasets/VQA2", "--set", "init_may_miss=['^classifier[.]']"),
        env={"HOME": str(home)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "2 missing, allowed" in done.stderr
    assert (output / "best/model.safetensors").is_file()
    assert "batch_size: 64" in (output / "config.yaml").read_text()
    assert json.loads((output / "val/result.json").read_text())


def test_prediction_of_a_split_and_of_one_image(vqa_yaml, tmp_path):
    trained = script("--config", vqa_yaml, "--max_steps", "2")
    assert trained.returncode == 0, trained.stderr
    predict = (sys.executable, str(ROOT / "visualbert_paddle/run_predict.py"), "--checkpoint", str(tmp_path / "run"))
    split = run(*predict, "--split", "test", "--output_dir", str(tmp_path / "server"))
    assert split.returncode == 0, split.stderr
    answers = json.loads((tmp_path / "server/result.json").read_text())
    assert answers and set(answers[0]) == {"question_id", "answer"}  # noqa: PT018
    image = "COCO_val2014_000000000029"
    one = run(*predict, "--image", image, "--question", "is there a red circle?", "--top", "2")
    assert one.returncode == 0, one.stderr
    assert len([line for line in one.stderr.splitlines() if line.startswith("| ")]) == 4
    for wrong, message in (
        (["--split", "test", "--image", image], "--split and --image"),
        (["--image", image], "--image --text for one example"),
        (
            ["--image", image, "--question", "what?", "--top", "-3"],
            "--top: expected a whole number of at least 1",
        ),
        (["--image", image, "--question", "what?", "--picture", "/nope.png"], "--picture: expected an image file"),
        (["--split", "test", "--seed", "1"], "unknown flag --seed"),
        (["--split", "test", "--of_split", "val"], "--of_split is not for visualbert_vqa"),
    ):
        refused = run(*predict, *wrong)
        assert refused.returncode == 2
        assert message in refused.stderr
    absent = run(*predict, "--image", "COCO_val2014_000000999999", "--question", "what?")
    assert absent.returncode == 2
    assert "no features for image 'COCO_val2014_000000999999'" in absent.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--learning_rat", "1"], "did you mean \"--learning_rate\""),
        (["--set", "train.epoch=1"], "did you mean \"train.epochs\""),
        (["--set", "regions.path=/nowhere"], "/nowhere"),
        (["--task_name", "vqa"], "vqa2"),
    ],
)  # fmt: skip
def test_wrong_commands_end_with_status_two(vqa_yaml, arguments, message):
    done = script("--config", vqa_yaml, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["predict", "pretrain", "vcr"])
def test_scripts_list_their_configuration(name):
    listed = run(sys.executable, f"visualbert_paddle/run_{name}.py", "--help-config")
    assert listed.returncode == 0
    assert "regions.path" in listed.stdout


@pytest.mark.parametrize("devices", ["abc", "0,", "0;1"])
def test_malformed_devices_are_refused(vqa_world, vqa_yaml, tmp_path, devices):
    places = {"DATA_DIR": f"{vqa_world}/X_COCO", "ANNOTATIONS": f"{vqa_world}/VQA2", "LOG_DIR": str(tmp_path / "logs")}
    done = run("sh", str(ROOT / "shell/vqa-finetune.sh"), "--config", str(vqa_yaml), env={**places, "GPUS": devices})
    assert done.returncode == 2
    assert f"GPUS=0,1 (empty: the CPU), found '{devices}'" in done.stderr
    assert not (tmp_path / "logs").exists()


def test_two_processes_equal_one(vqa_world, tmp_path):
    """Half the batch on each of two processes: the same weights (rounding apart) and metrics as one process."""
    outcomes = {}
    for name, batch, launcher in (
        ("one", "8", ()),
        ("two", "4", ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log"))),
    ):
        config = tmp_path / f"{name}.yaml"
        config.write_text(world_yaml(vqa_world, tmp_path / name))
        done = run(
            *(sys.executable, *launcher, str(ROOT / SCRIPT), "--config", str(config), "--batch_size", batch),
            *("--max_steps", "3", "--set", "model.hidden_dropout=0", "--set", "model.attention_dropout=0"),
            *("--set", "train.eval_batch_size=5"),
        )
        assert done.returncode == 0, done.stderr + done.stdout
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        outcomes[name] = weights(tmp_path / name / "last"), metrics, (tmp_path / name / "val/result.json").read_text()
    (one, one_metrics, one_results), (two, two_metrics, two_results) = outcomes["one"], outcomes["two"]
    for name, value in one.items():
        # A bias of all keys shifts the scores of a query alike: its gradient is rounding, which AdamW scales up.
        if not name.endswith("attend.key.bias"):
            np.testing.assert_allclose(two[name], value, rtol=0, atol=2e-6, err_msg=name)
    assert one_metrics == two_metrics
    assert one_results == two_results
    assert len(json.loads(two_results)) % (2 * 5)  # batches of 5 on two processes do not fill up evenly


def test_a_killed_run_resumes_bit_for_bit(vqa_world, tmp_path):
    finished = {}
    for name in ("whole", "killed"):
        config = tmp_path / f"{name}.yaml"
        config.write_text(world_yaml(vqa_world, tmp_path / name))
        command = [sys.executable, str(ROOT / SCRIPT), "--config", str(config), "--num_train_epochs", "3"]
        command += ["--save_steps", "7", "--set", "train.workers=1"]
        if name == "killed":
            kill_when_saved(command, tmp_path / name)
            command.append("--resume")
        done = run(*command)
        assert done.returncode == 0, done.stderr
        assert ("resuming from" in done.stderr) == (name == "killed")
        finished[name] = weights(tmp_path / name / "last"), json.loads((tmp_path / name / "metrics.json").read_text())
    for name, value in finished["whole"][0].items():
        np.testing.assert_array_equal(finished["killed"][0][name], value, err_msg=name)
    assert finished["killed"][1] == finished["whole"][1]


def kill_when_saved(command: list[str], folder: Path) -> None:
    """Start `command` and kill it a random moment after its first checkpoint."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (folder / "last/state.json").is_file():
        assert process.poll() is None and time.monotonic() < deadline  # noqa: PT018
        time.sleep(0.01)
    time.sleep(float(np.random.default_rng().uniform(0, 0.5)))
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_shell_recipe_says_what_is_missing(tmp_path):
    for command, cwd in ((("sh", "vqa-finetune.sh"), ROOT / "shell"), (("sh", "shell/vqa-finetune.sh"), ROOT)):
        done = run(*command, cwd=cwd, env={"DATA_DIR": str(tmp_path), "HOME": str(tmp_path)})
        assert done.returncode == 2
        assert "data/detectron_fix_100 is missing" in done.stderr
        assert "DATA_DIR=sample" in done.stderr


def test_shell_recipe_runs(vqa_world, vqa_yaml, home, tmp_path):
    done = run(
        *(
            "sh",
            str(ROOT / "shell/vqa-finetune.sh"),
            "--config",
            str(vqa_yaml),
            "--max_steps",
            "1",
            "--batch_size",
            "8",
        ),
        *("--set", "init_may_miss=['^classifier[.]']"),
        env={"DATA_DIR": f"{vqa_world}/X_COCO", "LOG_DIR": str(tmp_path / "logs"), "HOME": str(home)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "logs/last/model.safetensors").is_file()


def test_evaluation_takes_the_configuration_of_the_run_and_prediction_a_folder_of_the_split(vqa_yaml, tmp_path):
    trained = script("--config", vqa_yaml, "--set", "init=", "--max_steps", "1", "--resume")
    assert trained.returncode == 0, trained.stderr
    assert f"nothing to resume in {tmp_path / 'run'}" in trained.stderr
    evaluated = script("--output_dir", str(tmp_path / "run"), "--evaluate")
    assert evaluated.returncode == 0, evaluated.stderr
    predict = (sys.executable, str(ROOT / "visualbert_paddle/run_predict.py"), "--checkpoint", str(tmp_path / "run"))
    assert run(*predict, "--split", "test").returncode == 0
    assert (tmp_path / "run/test/result.json").is_file()
    (tmp_path / "file").write_text("mine")
    refused = run(*predict, "--split", "test", "--output_dir", str(tmp_path / "file"))
    assert refused.returncode == 2
    assert "is a file" in refused.stderr
