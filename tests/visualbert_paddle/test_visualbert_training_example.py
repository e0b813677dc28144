"""Training from Python in ten lines, as docs/python.md shows it; it equals the script's run."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from pyutils import Trainer, load_task, pipeline
from pyutils.config.command_line import Run
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.tasks.vqa import VisualBertVQA


def test_the_example_of_the_documentation_runs(vqa_yaml, tmp_path, capsys):
    page = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text(encoding="utf-8")
    example = page.partition("## Training\n```python\n")[2].partition("```")[0]
    assert 5 < len([line for line in example.splitlines() if line]) <= 10
    example = example.replace("configs/visualbert/vqa2.yaml", str(vqa_yaml)).replace("epochs=3", "max_steps=2")
    exec(compile(example, "docs/python.md", "exec"), {})
    accuracy, answer = capsys.readouterr().out.splitlines()
    assert float(accuracy) >= 0 and len(ast.literal_eval(answer)["choices"]) == 3


def test_training_from_python_equals_the_script(vqa_yaml, vqa_config, tmp_path):
    task = load_task(vqa_yaml, ["train.max_steps=4", "train.log_every=1"])
    best = Trainer(task, task.config.train, tmp_path / "python").run()
    ask = pipeline("visual-question-answering", tmp_path / "python", regions=task.config.regions.path)
    record = task.records("val")[0]
    assert ask(record.image, record.question).label in task.answers.answers
    config = vqa_config("train.max_steps=4", "train.log_every=1")
    run_task(Run(None), config, VisualBertVQA, load_initial)
    losses = [
        [json.loads(line).get("loss") for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "python", tmp_path / "run")
    ]
    assert losses[0] == losses[1] and any(losses[0])
    assert best["accuracy"] == json.loads((tmp_path / "run" / "metrics.json").read_text())["best"]["accuracy"]


def test_a_configuration_without_task_is_named(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("output_dir: x\n")
    with pytest.raises(InputError, match="empty.yaml: expected `task`"):
        load_task(path)
