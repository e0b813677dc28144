"""VQA with VisualBERT from files to result file, and what it says to bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file

from pyutils.config.command_line import Run
from pyutils.config.loading import Override
from pyutils.data.features import FeatureSpec, open_regions
from pyutils.data.features.packed import PackedWriter
from pyutils.data.vqa import annotations as vqa_annotations
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.engine.answers import Example
from pyutils.engine.determinism import seed_initial
from pyutils.engine.evaluation import evaluate, evaluating, split_loader
from pyutils.engine.run import run_task
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError
from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece
from pyutils.weights.checkpoint import load_weights
from tests.support import golden
from tests.visualbert_paddle.support import as_tensors
from visualbert_paddle.checkpoints.weights import NAME_MAPS, load_initial
from visualbert_paddle.tasks.vqa import VisualBertVQA, soft_labels


def task_of(config):
    seed_initial(config.train.seed)
    return VisualBertVQA(config)


def records_of(task, split, count=5):
    records = task.records(split)
    return [records[place] for place in range(count)]


def test_batch_has_the_documented_arrays(vqa_config):
    task = task_of(vqa_config())
    records = records_of(task, "train")
    batch = task.collate(records, np.random.default_rng(0), True)
    tokens = batch["input_ids"].shape[1]
    assert {name: array.shape[:2] for name, array in batch.items() if name.startswith("region")} == dict.fromkeys(
        ("region_features", "region_mask", "region_token_type_ids"), (5, batch["region_mask"].shape[1])
    )
    assert tokens == batch["text_mask"].sum(1).max()  # the batch's own longest
    ends = batch["text_mask"].sum(1) - 2
    assert (batch["input_ids"][np.arange(5), ends] == task.tokenizer.mask).all()
    assert batch["labels"].shape == (5, len(task.answers))
    np.testing.assert_allclose(batch["labels"], task.answers.fill([r.answers for r in records]))
    assert "labels" not in task.collate(records, np.random.default_rng(0), False)


def test_texts_and_labels_equal_the_authors_loader():
    """`[CLS] question ? [MASK] [SEP]` ids, boxes and soft scores of the recorded data loader."""
    recorded = golden("visualbert/data_formats")
    root = recorded.folder
    expected = recorded.arrays("expected/vqa_finetune_minival_batch.npz")
    records = list(vqa_annotations.read_imdb(root / "datasets/VQA2/annotations/imdb_minival2014.npy"))
    tokenizer = WordPiece(root / "vocab.txt")
    answers = AnswerVocabulary.load(root / "datasets/VQA2/extras/vocabs/answers_vqa.txt")
    batch = sequences.batch([sequences.question(tokenizer, r.question, 128) for r in records], tokenizer.pad)
    np.testing.assert_array_equal(batch["input_ids"], expected["bert_input_ids"])
    np.testing.assert_array_equal(batch["text_mask"], expected["bert_input_mask"])
    np.testing.assert_allclose(soft_labels(records, answers, "authors"), expected["label"], atol=1e-6)
    regions = open_regions(root / "X_COCO/data/detectron_fix_100").read_batch([r.image for r in records], 100)
    sums = regions.features.astype("float64").sum(-1)
    np.testing.assert_allclose(sums, expected["image_feat_row_sums_f64"][:, : sums.shape[1]], atol=1e-9)
    np.testing.assert_array_equal(regions.mask, expected["image_mask"][:, : sums.shape[1]])


def test_training_lowers_the_loss_and_writes_everything(vqa_config, tmp_path):
    config = vqa_config("train.epochs=4")
    run_task(Run(None), config, VisualBertVQA, load_initial)
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in lines if entry["kind"] == "train"]
    assert losses[-1] < 0.85 * losses[0]
    task = VisualBertVQA(config)
    results = json.loads((run / "val/result.json").read_text())
    assert [entry["question_id"] for entry in results] == task.records("val").column("question_id").tolist()
    assert {entry["answer"] for entry in results} <= set(task.answers.answers) - {"<unk>"}
    assert {"model.safetensors", "config.yaml", "vocab.txt", "answers_vqa.txt", "metrics.json"} <= {
        path.name for path in (run / "best").iterdir()
    }
    run_task(Run(None, evaluate=True), config, VisualBertVQA, load_initial)
    best = json.loads((run / "metrics.json").read_text())["best"]["accuracy"]
    assert json.loads((run / "metrics_val.json").read_text())["accuracy"] == best


def test_region_tokens_can_be_of_type_one(vqa_config):
    config = vqa_config("model.region_token_type=1")
    batch = task_of(config).collate(records_of(task_of(config), "train"), np.random.default_rng(0), False)
    assert (batch["region_token_type_ids"] == 1).all()


def test_baselines_withhold_or_shuffle_pictures(vqa_config):
    shown, shuffled = task_of(vqa_config()), task_of(vqa_config("image_input=shuffled"))
    blind = task_of(vqa_config("image_input=withheld"))
    batch = blind.collate(records_of(blind, "train"), np.random.default_rng(0), False)
    assert batch["region_features"].shape[1] == 1
    assert not batch["region_features"].any()
    pictures = [(a.image, b.image) for a, b in zip(shown.records("train"), shuffled.records("train"))]
    assert all(own != other for own, other in pictures)
    assert len({other for own, other in pictures if own == pictures[0][0]}) == 1  # one picture, one stand-in


def test_imdb_and_official_files_agree(vqa_world):
    folder = vqa_world / "VQA2/annotations"
    parts = ("imdb_val2014.npy", "imdb_minival2014.npy")  # the imdb files keep minival apart
    imdb = {record.question_id: record for part in parts for record in vqa_annotations.read_imdb(folder / part)}
    official = vqa_annotations.read_official(
        folder / "v2_OpenEnded_mscoco_val2014_questions.json", folder / "v2_mscoco_val2014_annotations.json"
    )
    assert len(official) == len(imdb) > 0
    for record in official:
        other = imdb[record.question_id]
        assert (other.image, other.answers) == (record.image, record.answers)


def test_one_image_gets_ranked_answers(vqa_config):
    task = task_of(vqa_config())
    record = task.records("val")[0]
    few, every = (task.answer_questions([Example((record.image,), record.question)], top)[0] for top in (3, 99))
    shares = [choice.probability for choice in every.choices]
    assert every.choices[:3] == few.choices
    assert len(shares) == task.answers.real_answers and shares == sorted(shares, reverse=True)
    assert "<unk>" not in [choice.label for choice in every.choices]
    assert abs(sum(shares) - 1) < 1e-6


def test_evaluation_counts_every_question_once(vqa_config):
    task = task_of(vqa_config("train.batch_size=7"))
    with evaluating(task.model):
        answered = task.predict(split_loader(task, task.config.train, "val"), "val")
    assert len(answered.texts) == len(task.records("val"))
    assert len(task.records("val")) % 7  # the last batch is short
    assert set(answered.accuracy().by_question) == set(task.records("val").column("question_id").tolist())


def test_weights_of_hugging_face_and_ours_start_a_run(vqa_config, tmp_path):
    task = task_of(vqa_config())
    tensors = {name: value.numpy() for name, value in task.model.state_dict().items()}
    theirs = {k: np.ascontiguousarray(v) for k, v in NAME_MAPS["huggingface"].to_theirs(tensors).tensors.items()}
    save_file(theirs, str(tmp_path / "hf.safetensors"))
    other = task_of(replace(vqa_config(), train=replace(vqa_config().train, seed=7)))
    report = load_initial(other.model, str(tmp_path / "hf.safetensors"))
    assert report.ok
    for name, value in other.model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), tensors[name])


def test_pretrained_without_a_classifier_needs_permission(vqa_config, tmp_path):
    task = task_of(vqa_config())
    tensors = {k: v.numpy() for k, v in task.model.state_dict().items() if not k.startswith("classifier.")}
    save_file(tensors, str(tmp_path / "pre.safetensors"))
    with pytest.raises(InputError, match=r"classifier\.weight"):
        load_initial(task.model, str(tmp_path / "pre.safetensors"))
    report = load_initial(task.model, str(tmp_path / "pre.safetensors"), [r"^classifier\."])
    assert report.allowed_missing == ["classifier.weight", "classifier.bias"]


def without_a_training_image(world, folder):
    """A packed store of the world's regions that lacks one training image."""
    source = open_regions(world / "X_COCO/data/detectron_fix_100")
    left_out = next(key for key in list(source) if "train2014" in key)
    with PackedWriter(folder, FeatureSpec(dimension=source.spec.dimension)) as writer:
        for key in source:
            if key != left_out:
                writer.add(key, source[key])
    return folder


def test_missing_features_are_refused_or_skipped(vqa_config, vqa_world, tmp_path, capfd):
    store = without_a_training_image(vqa_world, tmp_path / "store")
    with pytest.raises(InputError, match=r"no features for 1 of \d+ images.*COCO_train2014.*regions\.missing: skip"):
        task_of(vqa_config(f"regions.path={store}")).records("train")
    kept = task_of(vqa_config(f"regions.path={store}", "regions.missing=skip")).records("train")
    assert 0 < len(kept) < len(task_of(vqa_config()).records("train"))
    assert "skipped: 1 images" in capfd.readouterr().err


def test_answers_in_another_order_than_those_of_the_weights(vqa_config, tmp_path, capsys):
    config = vqa_config("train.max_steps=1")
    run_task(Run(None), config, VisualBertVQA, load_initial)
    lines = Path(config.vqa.root, config.vqa.answers).read_text().splitlines()
    (tmp_path / "sorted.txt").write_text("\n".join(sorted(lines, reverse=True)))
    init = tmp_path / "run/best"
    other = (f"vqa.answers={tmp_path / 'sorted.txt'}", f"init={init}", f"output_dir={tmp_path / 'other'}")
    given = Run(None, overrides=[Override("init", str(init), "--set")], evaluate=True)
    with pytest.raises(InputError, match=r"sorted\.txt: differs from .*best/"):
        run_task(given, vqa_config(*other), VisualBertVQA, load_initial)
    capsys.readouterr()
    run_task(Run(None), vqa_config("train.max_steps=1", *other), VisualBertVQA, load_initial)
    assert re.search(r"warning: .*sorted\.txt: differs from", "".join(capsys.readouterr()))


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["model.visual_dim=2048"], r"expected 2048-d regions, .*detectron_fix_100 holds 32-d"),
        (["regions.detector=resnet"], r"expected regions of detector 'resnet'"),
        (["regions.path=/nowhere"], r"/nowhere"),
        (["vqa.answers=none.txt"], r"none\.txt: cannot read the answer list"),
        (["model.vocab_size=20"], r"model\.vocab_size is 20"),
        (["tokenizer=./none.txt"], r"none\.txt: cannot read the vocabulary"),
    ],
)
def test_wrong_settings_are_named_before_training(vqa_config, overrides, message):
    with pytest.raises(InputError, match=message):
        task_of(vqa_config(*overrides))


def test_questions_that_are_trained_on_and_evaluated_on_are_counted(vqa_config, capfd):
    config = vqa_config()
    splits = config.vqa.splits
    config = replace(config, vqa=replace(config.vqa, splits={**splits, "train": splits["train"] + splits["val"]}))
    task = task_of(config)
    count = len(task.records("val"))
    assert "warning:" not in capfd.readouterr().err
    task.train_records()
    assert f"warning: {count} of the {count} questions of split 'val' are" in capfd.readouterr().err


def test_unknown_and_answerless_splits(vqa_config):
    task = task_of(vqa_config())
    with pytest.raises(InputError, match=r"no split 'vall': did you mean \"val\""):
        task.records("vall")
    with pytest.raises(InputError, match=r"'test' has no labels.*run_predict"):
        evaluate(task, task.config.train, "test")


def test_a_batch_larger_than_the_split(vqa_config, tmp_path):
    config = vqa_config("train.batch_size=100000")
    with pytest.raises(InputError, match=r"fewer than one optimizer step.*train\.batch_size"):
        Trainer(task_of(config), config.train, tmp_path / "run").run()


def test_an_empty_split(vqa_config, vqa_world, tmp_path):
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"questions": [], "data_subtype": "train2014"}))
    config = vqa_config()
    files = replace(config.vqa.splits["train"][0], questions=str(empty), annotations="")
    config = replace(config, vqa=replace(config.vqa, splits={**config.vqa.splits, "train": [files]}))
    with pytest.raises(InputError, match="empty"):
        Trainer(task_of(config), config.train, tmp_path / "run").run()


def test_a_checkpoint_of_another_shape(vqa_config, tmp_path):
    small, large = task_of(vqa_config()), task_of(vqa_config("model.hidden_size=32"))
    Trainer(small, vqa_config("train.max_steps=1").train, tmp_path / "run").run()
    with pytest.raises(InputError, match=r"other shape"):
        load_weights(large.model, tmp_path / "run")


def test_loss_by_name_is_the_authors_divergence(vqa_config):
    task = task_of(vqa_config("loss=kl"))
    task.model.eval()
    batch = as_tensors(task.collate(records_of(task, "train"), np.random.default_rng(0), True))
    loss, _ = task.loss(batch)
    scores = paddle.nn.functional.log_softmax(task.scores(batch), axis=-1).numpy()
    labels = batch["labels"].numpy()
    given = labels > 0
    expected = (labels[given] * (np.log(labels[given]) - scores[given])).sum() / len(labels)
    assert abs(float(loss) - expected) < 1e-4
