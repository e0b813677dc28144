"""VCR with VisualBERT: texts, alignment of words with boxes, training, the three accuracies, bad input."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.data.features import FeatureSpec, PackedWriter, RegionFeatures
from pyutils.data.records import TaggedText
from pyutils.engine.determinism import seed_initial
from pyutils.engine.evaluation import evaluate
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from tests.support import golden
from tests.visualbert_paddle.support import (
    DIMENSION,
    as_tensors,
    config_of,
    load_golden_weights,
    network_inputs,
    tiny_yaml,
)
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.commands import COMMANDS
from visualbert_paddle.data.vcr_texts import NOTHING, choice_text, pieces, regions_of_objects
from visualbert_paddle.network.heads import VisualBertForMultipleChoice
from visualbert_paddle.tasks.vcr import VisualBertVCR, VisualBertVCRConfig

SECTION = """
vcr: {{root: {}, images: vcr1images, splits: {{train: vcr/train.jsonl, val: vcr/val.jsonl, test: vcr/test.jsonl}}}}
"""


@pytest.fixture
def vcr_config(whole_world, tmp_path):
    path = tmp_path / "vcr.yaml"
    text = tiny_yaml(whole_world, tmp_path / "run", "lmdb/vcr_gt_array.lmdb", SECTION.format(whole_world))
    path.write_text(text, encoding="utf-8")
    return lambda *overrides: load_config(VisualBertVCRConfig, path, overrides)


def task_of(config):
    seed_initial(config.train.seed)
    return VisualBertVCR(config)


def test_scores_equal_the_recorded_model(vcr_config):
    """One picture for four choices gives what the recorded model gives for the repeated picture."""
    recorded = golden("visualbert/vcr")
    task = task_of(vcr_config())
    task.model = VisualBertForMultipleChoice(config_of(recorded.config))
    load_golden_weights(task.model, recorded.weights)
    task.model.eval()
    inputs = network_inputs(recorded.inputs)
    for name in [name for name in inputs if name.startswith("region")]:
        picture = inputs[name][:, 0]
        np.testing.assert_array_equal(np.repeat(picture[:, None], 4, axis=1), inputs[name])
        inputs[name] = picture
    scores = task.scores(as_tensors(inputs))
    np.testing.assert_allclose(scores.numpy(), recorded.outputs["align.logits"], rtol=1e-4, atol=2e-5)
    loss, _ = task.loss(as_tensors({**inputs, "labels": recorded.inputs["labels"]}))
    assert abs(float(loss) - recorded.outputs["align.loss"]) < 1e-5


def test_texts_name_their_objects(vcr_config):
    task = task_of(vcr_config())
    text = TaggedText(("is", "", "red", "?"), ((), (1, 0), (), ()))
    found = pieces(task.tokenizer, text, ["circle", "cross", "star"])
    assert task.tokenizer.tokens([piece.id for piece in found]) == ["is", "cross", "circle", "red", "?"]
    assert [piece.object for piece in found] == [NOTHING, 1, 0, NOTHING, NOTHING]
    choice = choice_text(task.tokenizer, found, found[1:3], 9)
    words = ["[CLS]", "is", "cross", "circle", "red", "[SEP]", "cross", "circle", "[SEP]"]
    assert task.tokenizer.tokens(choice.sequence.ids) == words
    assert choice.objects == [NOTHING, NOTHING, 1, 0, NOTHING, NOTHING, 1, 0, NOTHING]
    assert choice.sequence.types == [0] * 6 + [1] * 3
    assert len(choice_text(task.tokenizer, found * 9, found, 12).objects) == 12


def test_objects_find_their_regions_at_any_size():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], dtype=np.float32)
    objects = ((40.0, 40.0, 82.0, 80.0), (0.0, 0.0, 20.0, 20.0), (100.0, 100.0, 120.0, 120.0))
    assert regions_of_objects(objects, (200, 200), boxes, (100, 100)).tolist() == [1, 0, NOTHING]
    assert regions_of_objects(objects, (200, 200), boxes, (0, 0)).tolist() == [NOTHING, NOTHING, NOTHING]
    assert regions_of_objects((), (1, 1), boxes, (1, 1)).tolist() == []


@pytest.mark.parametrize("mode", ["answer", "rationale"])
def test_batch_aligns_words_with_regions(vcr_config, mode):
    task = task_of(vcr_config(f"mode={mode}"))
    records = [task.records("train")[place] for place in (0, 5, 9)]
    batch = task.collate(records, np.random.default_rng(0), True)
    assert batch["input_ids"].shape[:2] == (3, 4)
    assert batch["region_features"].shape[::2] == (3, DIMENSION)
    label = "answer_label" if mode == "answer" else "rationale_label"
    assert batch["labels"].tolist() == [getattr(record, label) for record in records]
    for row, record in enumerate(records):
        names = list(record.object_names)
        for choice in range(4):
            ids, aligned = batch["input_ids"][row, choice], batch["alignment"][row, choice]
            for region, places in enumerate(aligned):
                words = task.tokenizer.tokens(ids[places[places >= 0]])
                # The store holds the objects' own boxes in their order.
                assert set(words) <= ({names[region]} if region < len(names) else set())
            said = [names[number] for tags in record.question.objects for number in tags]
            assert len(said) <= (aligned >= 0).sum()
    text = task.tokenizer.decode(batch["input_ids"][0, 0])
    assert (text.count("?") == 1) and text.startswith(("what", "where"))  # noqa: PT018


def test_rationales_follow_the_right_answer(vcr_config):
    task = task_of(vcr_config("mode=rationale"))
    record = task.records("val")[0]
    right = task.tokenizer.decode(task.choices(record)[0].sequence.ids)
    texts = []
    for answer in range(4):
        texts.append(task.tokenizer.decode(task.choices(record, given_answer=answer)[0].sequence.ids))
    assert len(set(texts)) == 4
    assert texts[record.answer_label] == right


def test_people_get_names(vcr_config):
    task = task_of(vcr_config("draw_names=true"))
    record = task.records("train")[0]
    people = type(record)(**{**record.__dict__, "object_names": ("person",) * len(record.object_names)})
    fixed = [choice.sequence.ids for choice in task.choices(people)]
    assert fixed == [choice.sequence.ids for choice in task.choices(people)]
    assert "alex" in task.tokenizer.decode(fixed[0])
    drawn = {task.tokenizer.decode(task.choices(people, np.random.default_rng(n))[0].sequence.ids) for n in range(5)}
    assert len(drawn) > 1


def test_training_and_the_three_accuracies(vcr_config, tmp_path, capfd):
    for mode in ("answer", "rationale"):
        config = vcr_config(f"mode={mode}", f"output_dir={tmp_path}/{mode}", "train.max_steps=4")
        run_task(Run(None), config, VisualBertVCR, load_initial)
        scores = json.loads((tmp_path / mode / "val" / f"scores_{mode}.json").read_text())
        task = task_of(config)
        labels = {record.annot_id: task.label_of(record) for record in task.records("val")}
        assert list(scores) == list(labels)
        right = np.mean([np.argmax(scores[name]) == label for name, label in labels.items()])
        best = json.loads((tmp_path / mode / "metrics.json").read_text())["best"]
        assert best["accuracy"] == pytest.approx(100 * right)
    answers, rationales = str(tmp_path / "answer"), str(tmp_path / "rationale")
    both = ["--checkpoint", answers, "--rationale_checkpoint", rationales]
    COMMANDS.run_prediction([*both, "--split", "val", "--output", str(tmp_path / "out")])
    metrics = json.loads((tmp_path / "out/metrics_val.json").read_text())
    assert metrics["qa_r"] == pytest.approx(best["accuracy"])
    assert metrics["q_ar"] <= min(metrics["q_a"], metrics["qa_r"])
    COMMANDS.run_prediction([*both, "--split", "test", "--output", str(tmp_path / "test")])
    with (tmp_path / "test/leaderboard.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(task_of(config).records("test"))
    assert len(rows[0]) == 21
    groups = [f"rationale_conditioned_on_a{number}" for number in range(4)]
    for group in ("answer", *groups):
        assert sum(float(rows[0][f"{group}_{choice}"]) for choice in range(4)) == pytest.approx(1, abs=1e-5)
    capfd.readouterr()
    COMMANDS.run_prediction(["--checkpoint", answers, "--annot_id", "val-1"])
    assert capfd.readouterr().err.count("| 0.") == 4
    swapped = ["--checkpoint", rationales, "--rationale_checkpoint", answers]
    with pytest.raises(InputError, match="rationale and answer"):
        COMMANDS.run_prediction([*swapped, "--split", "val", "--output", str(tmp_path / "out")])
    with pytest.raises(InputError, match="no question 'val-x'"):
        COMMANDS.run_prediction(["--checkpoint", answers, "--annot_id", "val-x"])


def test_blind_baseline_sees_no_boxes(vcr_config):
    task = task_of(vcr_config("image_input=withheld"))
    batch = task.collate([task.records("train")[0]], np.random.default_rng(0), True)
    assert not batch["region_features"].any()
    assert (batch["alignment"] == NOTHING).all()


def test_tags_that_point_at_no_object(vcr_config, whole_world, tmp_path):
    lines = (whole_world / "vcr/train.jsonl").read_text().splitlines()
    entry = json.loads(lines[1])
    entry["question"].append([7])
    (tmp_path / "bad.jsonl").write_text("\n".join([lines[0], json.dumps(entry)]))
    task = task_of(vcr_config(f"vcr.splits.train={tmp_path}/bad.jsonl"))
    with pytest.raises(InputError, match=r"bad\.jsonl: line 2, question: .* 3 objects, found \[7\]"):
        task.records("train")


def test_hidden_labels_and_features_without_boxes(vcr_config, tmp_path):
    task = task_of(vcr_config("mode=rationale"))
    with pytest.raises(InputError, match=r"'test' has no labels.*run_predict\.py"):
        evaluate(task, task.config.train, "test")
    with pytest.raises(InputError, match="has no answer label"):
        task.collate([task.records("test")[0]], np.random.default_rng(0), False)
    with PackedWriter(tmp_path / "store", FeatureSpec(dimension=DIMENSION, box_format="none")) as writer:
        writer.add("x", RegionFeatures(np.zeros((1, DIMENSION), np.float32), None, 1, 1, None))
    with pytest.raises(InputError, match="without boxes"):
        task_of(vcr_config(f"regions.path={tmp_path}/store"))
    task_of(vcr_config(f"regions.path={tmp_path}/store", "align=false"))
