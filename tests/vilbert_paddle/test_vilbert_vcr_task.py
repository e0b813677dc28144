"""VCR with ViLBERT: Q→A, QA→R and Q→AR."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.engine.evaluation import evaluate, evaluating
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.vcr import VCRTask, read_scores


def test_answers_rationales_and_both(yaml_of, tmp_path):
    right = {}
    for asked in ("answer", "rationale"):
        results = tmp_path / "answer/val/scores_answer.json"
        overrides = (f"mode={asked}", *((f"vcr.answer_results={results}",) if asked == "rationale" else ()))
        config = load_config(VCRTask.config_class, yaml_of("vcr", asked), overrides)
        run_task(Run(None), with_recipe(config, ["match"]), VCRTask, load_initial)
        scores = read_scores(tmp_path / asked / f"val/scores_{asked}.json")
        records = list(VCRTask(config).records("val"))
        labels = [getattr(record, f"{asked}_label") for record in records]
        right[asked] = np.array([int(np.argmax(scores[r.annot_id])) == label for r, label in zip(records, labels)])
        metrics = json.loads((tmp_path / asked / "metrics.json").read_text())["best"]
        assert metrics["accuracy"] == pytest.approx(100 * right[asked].mean())
    assert metrics["q_ar"] == pytest.approx(100 * (right["answer"] & right["rationale"]).mean())


def test_a_picture_is_read_once_for_its_four_choices(build):
    task = build(VCRTask, "vcr")
    records = [task.records("train")[place] for place in range(3)]
    batch = task.collate(records, np.random.default_rng(0), True)
    assert batch["input_ids"].shape[:2] == (3, 4)
    assert batch["region_features"].shape[0] == 3
    tensors = {name: paddle.to_tensor(array) for name, array in batch.items()}
    assert task.scores(tensors).shape == [3, 4]


def test_hidden_labels_and_wrong_results_are_refused(build, tmp_path):
    task = build(VCRTask, "vcr")
    with evaluating(task.model), pytest.raises(InputError, match="has no labels"):
        evaluate(task, task.config.train, "test")
    with pytest.raises(InputError, match="nothing.json"):
        read_scores(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{}", r"lacks (\d+) of \1 questions of split 'val'"),
        ('{"val-0": [0, 0, 0, 1]}', r"lacks \d+ of \d+ questions of split 'val'.*scores_answer.json"),
    ],
)
def test_wrong_answer_results_are_refused_before_training(yaml_of, tmp_path, content, message):
    if content:
        (tmp_path / "answers.json").write_text(content)
    overrides = ("mode=rationale", f"vcr.answer_results={tmp_path}/answers.json")
    config = load_config(VCRTask.config_class, yaml_of("vcr"), overrides)
    with pytest.raises(InputError, match=message):
        run_task(Run(None), with_recipe(config, ["match"]), VCRTask, load_initial)
    assert not (tmp_path / "run/log.jsonl").exists()
