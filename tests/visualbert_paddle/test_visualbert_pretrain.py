"""Pre-training VisualBERT: recorded batches with their draws, losses of the recorded model, all three data sets."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.data.annotations.nlvr2 import NLVR2Config
from pyutils.data.annotations.nlvr2 import read_split as read_nlvr2
from pyutils.data.features.inputs import RegionConfig
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.data.vqa import caption_items
from pyutils.data.vqa.caption_items import CaptionFiles, CaptionItems, CaptionsConfig
from pyutils.data.vqa.splits import VQAConfig, VQAFiles
from pyutils.data.vqa.splits import read_split as read_vqa
from pyutils.engine.determinism import seed_initial
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.text import sequences
from pyutils.text.masking import MaskDraws
from pyutils.weights import read
from tests.support import golden
from tests.visualbert_paddle.support import as_tensors, config_of, load_golden_weights, network_inputs, tiny_yaml
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.heads import VisualBertForPretraining, VisualBertForReasoning
from visualbert_paddle.tasks.pretrain import VisualBertPretraining, labelled_words
from visualbert_paddle.tasks.pretraining_texts import (
    Example,
    PretrainingConfig,
    VisualBertPretrainingConfig,
    caption_text,
)

MINIVAL = "../VQA2/annotations/imdb_minival2014.npy"
VAL = "annotations/captions_val2014.json"
RECORDED = golden("visualbert/data_formats")


def recorded_task(dataset, regions, dimension, objective="words_and_matching", **settings):
    """A task over the recorded files, as small as can be."""
    root = RECORDED.folder
    config = VisualBertPretrainingConfig(
        tokenizer=str(root / "vocab.txt"),
        model=VisualBertConfig(
            vocab_size=0, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=8, visual_dim=dimension
        ),
        regions=RegionConfig(path=str(root / regions), max_regions=144),
        pretraining=PretrainingConfig(dataset=dataset, objective=objective, **settings),
        coco=CaptionsConfig(
            root=str(root / "datasets/COCOCaptions"),
            splits={
                "train": [
                    CaptionFiles("annotations/captions_train2014.json"),
                    CaptionFiles(VAL, without_images_of=MINIVAL),
                ],
                "val": [CaptionFiles(VAL, only_images_of=MINIVAL)],
            },
        ),
        vqa=VQAConfig(
            root=str(root / "datasets/VQA2"),
            splits={"train": [VQAFiles(f"annotations/imdb_{name}2014.npy") for name in ("train", "val")]},
        ),
        nlvr2=NLVR2Config(root=str(root / "datasets/NLVR2"), splits={"train": "annotations/train.json"}),
    )
    return VisualBertPretraining(config)


class Replay:
    """The draws that the authors' loader made for one sample."""

    def __init__(self, sample):
        self.calls = list(sample["draws"])

    def chance(self) -> float:
        assert self.calls[0]["call"] == "random.random"
        return self.calls.pop(0)["result"]

    def integer(self) -> tuple[int, int]:
        """(drawn, number of possible values)."""
        call = self.calls.pop(0)
        assert call["call"] == "random.randint"
        assert call["args"][0] == 0
        return call["result"], call["args"][1] + 1

    def words(self, count: int) -> MaskDraws:
        """The remaining draws, one chance a word; a replacement stands behind the word's chance."""
        chances, words = [], []
        for call in self.calls:
            if call["call"] == "random.random":
                chances.append(call["result"])
                words.append(0)
            else:
                words[-1] = call["result"]["id"]
        assert len(chances) == count
        return MaskDraws(np.array(chances), np.array(words, dtype=np.int64))


def items_in_order(task, split, ids):
    """The recorded loader's list of captions: our items by the place it gave them."""
    items = task.records(split)
    where = [caption for record in items.images for caption in record.caption_ids]
    where = {caption: index for index, caption in enumerate(where)}
    return items, [where[caption] for caption in ids]


def check_batch(batch, expected):
    """Our batch against the recorded one: ids, masks, types, labels, regions."""
    np.testing.assert_array_equal(batch["input_ids"], expected["bert_input_ids"])
    np.testing.assert_array_equal(batch["text_mask"], expected["bert_input_mask"])
    np.testing.assert_array_equal(batch["token_type_ids"], expected["bert_input_type_ids"])
    regions = batch["region_mask"].shape[1]
    length = batch["input_ids"].shape[1] + regions
    labels = np.full((len(batch["input_ids"]), length), -1)
    said = batch["word_labels"]
    labels.reshape(-1)[batch["word_positions"]] = np.where(
        said == -100, -1, said
    )  # -100 stands where no word is hidden
    np.testing.assert_array_equal(labels[:, :-regions], expected["masked_lm_labels"])
    assert (labels[:, -regions:] == -1).all()
    np.testing.assert_array_equal(batch["region_mask"], expected["image_mask"][:, :regions])
    assert not expected["image_mask"][:, regions:].any()
    sums = batch["region_features"].astype("float64").sum(-1)
    np.testing.assert_allclose(sums, expected["image_feat_row_sums_f64"][:, :regions], atol=1e-9)
    if "image_feat_variable" in expected:
        np.testing.assert_array_equal(batch["region_features"], expected["image_feat_variable"][:, :regions])


DIMENSIONS = [
    RECORDED.arrays(f"expected/{name}_batch.npz")["image_feat_variable"].shape[-1]
    for name in ("vqa_finetune_train", "coco_pretrain_fix144_train")
]
FIX_100 = ("X_COCO/data/detectron_fix_100", DIMENSIONS[0])
FIX_144 = ("X_COCO/data/detectron_fix_144", DIMENSIONS[1])


@pytest.mark.parametrize(
    "case, regions, settings",
    [
        ("fix100_train", FIX_100, {}),
        ("fix100_validation", FIX_100, {}),
        ("fix144_train", FIX_144, {}),
        ("falsecaption_train", FIX_100, {"captions": "one"}),
        ("single_train", FIX_100, {"captions": "one", "objective": "words"}),
    ],
)
def test_caption_batches_equal_the_authors_loader(case, regions, settings):
    task = recorded_task("coco_captions", *regions, **settings)
    split = "val" if case.endswith("validation") else "train"
    ids = RECORDED.json("expected/coco_items.json")[{"val": "validation", "train": "train"}[split]]
    items, places = items_in_order(task, split, ids)
    assert len(items) == len(ids)
    examples, draws = [], []
    for sample in RECORDED.json(f"expected/coco_pretrain_{case}.json")["samples"]:
        replay, item = Replay(sample), items[places[sample["index"]]]

        def integer(count, replay=replay, item=item):
            drawn, of = replay.integer()
            assert of == count
            return drawn if count == len(item.siblings) else places[drawn]

        if settings.get("captions") != "one":
            chosen = caption_items.two_captions(item, replay.chance(), integer)
        elif task.source.matching:
            chosen = caption_items.one_caption(item, replay.chance(), integer)
        else:
            chosen = caption_items.one_caption(item, 0.5, integer, 0.0)
        text = caption_text(task.tokenizer, chosen, 128)
        matches = chosen.matches if task.source.matching else None
        assert sample["is_random_next"] == (None if matches is None else int(matches))
        examples.append(Example(text, (item.image,), matches))
        draws.append(replay.words(sum(text.words)))
    batch, expected = task.batch_of(examples, draws), RECORDED.arrays(f"expected/coco_pretrain_{case}_batch.npz")
    check_batch(batch, expected)
    if task.source.matching:
        np.testing.assert_array_equal(batch["matches"], expected["is_random_next"])
    else:
        assert "matches" not in batch


def test_question_batches_equal_the_authors_loader():
    """With the answer spelt letter by letter, as theirs is; ours is one word (below)."""
    task = recorded_task("vqa2", *FIX_100, objective="words")
    records = {record.question_id: record for record in read_vqa(task.config.vqa, "train")}
    examples, draws = [], []
    for sample in RECORDED.json("expected/vqa_pretrain_train.json")["samples"]:
        replay, record = Replay(sample), records[sample["question_id"]]
        answer = replay.calls.pop(0)["result"]
        text = sequences.question(task.tokenizer, record.question, 128, " ".join(answer))
        examples.append(Example(text, (record.image,), None))
        draws.append(replay.words(sum(text.words)))
    check_batch(task.batch_of(examples, draws), RECORDED.arrays("expected/vqa_pretrain_train_batch.npz"))


def test_answers_are_whole_words_of_the_list():
    task = recorded_task("vqa2", *FIX_100, objective="words")
    rng = np.random.default_rng(0)
    for record in task.records("train"):
        example = task.source.example(record, rng)
        pieces = task.tokenizer.tokens(example.text.ids)
        said = pieces[pieces.index("?") + 1 : -1]
        known = [answer for answer in record.answers if task.source.answers.class_of(answer) is not None]
        assert said in [task.tokenizer.tokens(task.tokenizer.encode(answer)) for answer in known or record.answers]


@pytest.mark.parametrize(
    "case, objective", [("nlvr_pretrain_train", "words_and_matching"), ("nlvr_pretrain_mlm_train", "words")]
)
def test_statement_batches_equal_the_authors_loader(case, objective):
    task = recorded_task("nlvr2", "X_NLVR/data/detectron_fix_144", DIMENSIONS[1], objective)
    records = {record.identifier: record for record in read_nlvr2(task.config.nlvr2, "train")}
    examples, draws = [], []
    for sample in RECORDED.json(f"expected/{case}.json")["samples"]:
        examples.append(task.source.example(records[sample["identifier"]], np.random.default_rng(0)))
        draws.append(Replay(sample).words(sum(examples[-1].text.words)))
    batch, expected = task.batch_of(examples, draws), RECORDED.arrays(f"expected/{case}_batch.npz")
    check_batch(batch, expected)
    np.testing.assert_array_equal(batch["region_token_type_ids"], expected["visual_embeddings_type"])
    assert ("matches" in batch) == (objective == "words_and_matching")
    if "matches" in batch:
        np.testing.assert_array_equal(batch["matches"], expected["is_random_next"][:, 0])


def test_loss_equals_the_recorded_model():
    """The task's loss, which scores the hidden words alone, is the recorded one over all positions."""
    recorded = golden("visualbert/pretrain")
    task = recorded_task("coco_captions", *FIX_100)
    task.model = VisualBertForPretraining(config_of(recorded.config))
    load_golden_weights(task.model, recorded.weights)
    task.model.eval()
    arrays = recorded.inputs
    inputs = network_inputs(arrays)
    words, regions = inputs["input_ids"].shape[1], inputs["region_mask"].shape[1]
    hidden = labelled_words(
        list(np.where(arrays["labels_authors"] < 0, -100, arrays["labels_authors"])), words, regions
    )
    batch = as_tensors({**inputs, **hidden, "matches": arrays["sentence_image_labels"]})
    loss, parts = task.loss(batch)
    assert abs(float(loss) - recorded.outputs["loss"]) < 1e-5
    assert abs(float(parts["words"]) - recorded.outputs["loss_mlm"]) < 1e-5
    assert abs(float(parts["matching"]) - recorded.outputs["loss_sentence_image"]) < 1e-5


SECTION = """
pretraining: {{dataset: {1}, objective: {2}}}
coco:
  root: {0}/COCO
  splits:
    train: [{{captions: annotations/captions_train2014.json}}]
    val: [{{captions: annotations/captions_val2014.json}}]
vqa:
  root: {0}/VQA2
  splits:
    train: [{{questions: annotations/imdb_train2014.npy}}]
    val: [{{questions: annotations/imdb_val2014.npy}}]
nlvr2:
  root: {0}/NLVR2
  splits: {{train: annotations/train.json, val: annotations/dev.json}}
"""
CASES = [
    ("coco_captions", "words_and_matching"),
    ("coco_captions", "words"),
    ("vqa2", "words"),
    ("nlvr2", "words"),
    ("nlvr2", "words_and_matching"),
]


@pytest.fixture
def pretraining_config(whole_world, tmp_path):
    def made(dataset, objective, *overrides):
        path = tmp_path / "pretrain.yaml"
        regions = "X_NLVR/data/detectron_fix_144" if dataset == "nlvr2" else "X_COCO/data/detectron_fix_100"
        section = SECTION.format(whole_world, dataset, objective)
        path.write_text(tiny_yaml(whole_world, tmp_path / "run", regions, section), encoding="utf-8")
        return load_config(VisualBertPretrainingConfig, path, overrides)

    return made


def task_of(config):
    seed_initial(config.train.seed)
    return VisualBertPretraining(config)


@pytest.mark.parametrize("dataset, objective", CASES)
def test_training_learns_words(pretraining_config, dataset, objective, tmp_path):
    overrides = ("train.max_steps=12", "train.epochs=3", "train.optimizer.lr=1e-2", "pretraining.masking=0.3")
    run_task(Run(None), pretraining_config(dataset, objective, *overrides), VisualBertPretraining, load_initial)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [entry.get("words", entry["loss"]) for entry in lines if entry["kind"] == "train"]
    assert np.mean(losses[-3:]) < 0.9 * losses[0]
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["last"]
    assert ("matching_accuracy" in metrics) == (objective == "words_and_matching")
    assert (tmp_path / "run/best/vocab.txt").is_file()


@pytest.mark.parametrize("dataset, objective", CASES)
def test_evaluation_does_not_depend_on_the_batches(pretraining_config, dataset, objective):
    """A record's captions, answer and hidden words are its own in evaluation; drawn anew in training."""
    found = []
    for size in (3, 8):
        task = task_of(pretraining_config(dataset, objective, f"train.batch_size={size}"))
        with evaluating(task.model):
            found.append(task.predict(split_loader(task, task.config.train, "val"), "val").metrics())
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    record = task.records("train")[0]
    batches = [task.collate([record], np.random.default_rng(seed), True)["input_ids"].tolist() for seed in range(20)]
    assert any(ids != batches[0] for ids in batches)
    again = task.collate([record], np.random.default_rng(0), True)["input_ids"].tolist()
    assert again == batches[0]


def test_no_hidden_word_is_no_loss(pretraining_config):
    task = task_of(pretraining_config("coco_captions", "words", "pretraining.masking=1e-9"))
    batch = as_tensors(task.collate([task.records("train")[0]], np.random.default_rng(0), True))
    loss, _ = task.loss(batch)
    loss.backward()
    assert float(loss) == 0.0
    assert batch["word_labels"].tolist() == [-100]
    with evaluating(task.model):
        assert task.predict(split_loader(task, task.config.train, "val"), "val").metrics()["word_accuracy"] == 0.0


def test_replacements_avoid_unused_pieces_only_when_asked(pretraining_config):
    def drawn(*overrides):
        task = task_of(pretraining_config("coco_captions", "words", "pretraining.masking=1.0", *overrides))
        records = [task.records("train")[place] for place in range(100)]
        ids = task.collate(records, np.random.default_rng(0), True)["input_ids"]
        return [piece for row in ids for piece in task.tokenizer.tokens(row) if piece.startswith("[unused")]

    assert drawn()
    assert not drawn("pretraining.avoid_unused=true")


def caption_table(*images):
    return CaptionItems(
        RecordTable(CaptionRecord, [CaptionRecord(f"i{n}", texts, n) for n, texts in enumerate(images)])
    )


def test_captions_of_a_single_image_have_no_false_partner():
    alone, lonely = caption_table(("a", "b")), caption_table(("a",), ("b", "c"))
    with pytest.raises(InputError, match="single image"):
        caption_items.two_captions(alone[0], 0.9, lambda n: 0)
    numbers = iter([0, 2])
    found = caption_items.two_captions(lonely[0], 0.1, lambda n: next(numbers))
    assert found == ("a", "c", False)  # its image has no other caption; the first draw was its own image
    assert [item.caption for item in lonely] == ["a", "b", "c"]
    assert lonely[2].siblings == ("b",)


def test_wrong_settings(pretraining_config, whole_world, tmp_path):
    with pytest.raises(InputError, match="vqa2 has no matching to predict"):
        task_of(pretraining_config("vqa2", "words_and_matching"))
    with pytest.raises(InputError, match=r"coco\.splits has no split 'vall': did you mean \"val\""):
        task_of(pretraining_config("coco_captions", "words")).records("vall")
    lines = (whole_world / "NLVR2/annotations/train.json").read_text().splitlines()[:2]
    (tmp_path / "hidden.json").write_text("\n".join(json.dumps({**json.loads(x), "label": None}) for x in lines))
    task = task_of(pretraining_config("nlvr2", "words_and_matching", f"nlvr2.splits.train={tmp_path}/hidden.json"))
    with pytest.raises(InputError, match="has no label: set pretraining.objective to words"):
        task.collate([task.records("train")[0]], np.random.default_rng(0), True)
    test = replace(task.config.vqa, splits={"train": [VQAFiles("annotations/imdb_test2015.npy")]})
    config = replace(pretraining_config("vqa2", "words"), vqa=test)
    with pytest.raises(InputError, match=r"question \d+ has no answers to learn from"):
        blank = task_of(config)
        blank.collate([blank.records("train")[0]], np.random.default_rng(0), True)


def test_pictures_of_another_record(pretraining_config):
    shown = task_of(pretraining_config("coco_captions", "words")).records("train")
    shuffled = task_of(pretraining_config("coco_captions", "words", "image_input=shuffled")).records("train")
    assert all(own.image != other.image and own.caption == other.caption for own, other in zip(shown, shuffled))


def test_pretrained_weights_start_a_fine_tune(pretraining_config, tmp_path):
    task = task_of(pretraining_config("nlvr2", "words", "train.max_steps=1"))
    run_task(Run(None), task.config, VisualBertPretraining, load_initial)
    model = VisualBertForReasoning(task.config.model)
    report = load_initial(model, str(tmp_path / "run"), [r"^classifier\."])
    assert report.allowed_missing == ["classifier.weight", "classifier.bias"]
    trained = read(tmp_path / "run/best/model.safetensors")
    for name, value in model.state_dict().items():
        if not name.startswith("classifier."):
            np.testing.assert_array_equal(value.numpy(), trained[name])
