"""`pyutils.pipeline` on trained VisualBERT checkpoints: equal to the predictions of whole splits, and bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from pyutils import pipeline
from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.engine.evaluation import predict_split
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.weights.checkpoint import load_weights
from tests.visualbert_paddle import test_visualbert_flickr, test_visualbert_nlvr2, test_visualbert_vcr
from tests.visualbert_paddle.support import DIMENSION, tiny_yaml
from visualbert_paddle.checkpoints.weights import load_initial, to_names
from visualbert_paddle.tasks.flickr import BOX_NUMBERS, VisualBertFlickr
from visualbert_paddle.tasks.nlvr2 import VisualBertNLVR2
from visualbert_paddle.tasks.vcr import VisualBertVCR
from visualbert_paddle.tasks.vqa import VisualBertVQA


@pytest.fixture
def trained(whole_world, tmp_path):
    """Trains a step; returns the output folder and the task with its weights."""

    def train(kind, config, *overrides):
        if isinstance(config, tuple):
            regions, section, *size = config
            path = tmp_path / "config.yaml"
            path.write_text(tiny_yaml(whole_world, tmp_path / "run", regions, section.format(whole_world), *size))
            config = load_config(kind.config_class, path, ("train.eval_split=''", "train.max_steps=1", *overrides))
        run_task(Run(None), config, kind, load_initial)
        task = kind(config)
        load_weights(task.model, config.output_dir)
        return config.output_dir, task

    return train


def test_questions_are_answered_as_the_split_is(trained, vqa_config):
    folder, task = trained(VisualBertVQA, vqa_config("train.max_steps=1"))
    records = list(task.records("val"))
    expected = predict_split(task, task.config.train, "val").texts
    regions = task.regions.source
    ask = pipeline("visual-question-answering", folder, regions=regions.path, batch_size=9)
    answers = ask([record.image for record in records], [record.question for record in records], top=2)
    assert [answer.label for answer in answers] == list(expected)
    given = pipeline("visual-question-answering", folder)(regions[records[0].image], records[0].question, top=2)
    assert [choice.label for choice in given.choices] == [choice.label for choice in answers[0].choices]
    assert given.probability == pytest.approx(answers[0].probability, abs=1e-5)
    features = regions[records[0].image]
    with pytest.raises(InputError, match=rf"expected regions \[regions, {DIMENSION}\].*3\]"):
        ask(replace(features, features=features.features[:, :3]), "what?")


def test_pairs_equal_their_split(trained):
    section = "X_NLVR/data/detectron_fix_144", test_visualbert_nlvr2.SECTION
    folder, task = trained(VisualBertNLVR2, section)
    records = list(task.records("dev"))
    expected = predict_split(task, task.config.train, "dev").predicted
    judge = pipeline("nlvr", folder, regions=task.regions.source, batch_size=4)
    answers = judge([r.left for r in records], [r.right for r in records], [r.sentence for r in records])
    assert [answer.label == "True" for answer in answers] == list(expected)


def test_phrases_equal_their_split(trained):
    section = "X_FLICKR/data/detectron_fix_100", test_visualbert_flickr.SECTION, DIMENSION + BOX_NUMBERS
    folder, task = trained(VisualBertFlickr, section)
    found = predict_split(task, task.config.train, "val").results
    records = {(record.image, record.sentence_id): record.sentence for record in task.records("val")}
    find = pipeline("grounding", folder, regions=task.regions.source)
    for entry in found[:6]:
        sentence = records[entry["image"], entry["sentence"]]
        if sentence.split().count(entry["phrase"].split()[0]) > 1:
            continue  # the pipeline takes the first place where the words are
        answer = find(entry["image"], sentence, phrase=entry["phrase"])
        assert answer.boxes[0].region == entry["region"]
        boxes = task.read_regions([entry["image"]]).boxes[0]
        np.testing.assert_allclose(answer.box, boxes[entry["region"]])
    with pytest.raises(InputError, match="no such words"):
        find(found[0]["image"], "a red star", phrase="no such words")
    with pytest.raises(InputError, match="regions have no boxes"):
        find(replace(task.regions.source[found[0]["image"]], boxes=None), "a red star")


@pytest.mark.parametrize("mode", ["q_a", "qa_r"])
def test_a_question_of_commonsense_equals_its_split(trained, mode):
    section = "lmdb/vcr_gt_array.lmdb", test_visualbert_vcr.SECTION
    folder, task = trained(VisualBertVCR, section, f"mode={mode}")
    record = task.records("val")[0]
    expected = np.array(predict_split(task, task.config.train, "val").scores[record.annot_id])

    def words(text):
        return [word or list(objects) for word, objects in zip(text.words, text.objects)]

    options = record.answer_choices if mode == "q_a" else record.rationale_choices
    given = {"answer": words(record.answer_choices[record.answer_label])} if mode == "qa_r" else {}
    objects = list(zip(record.object_names, record.object_boxes))
    choose = pipeline("visual-commonsense", folder, regions=task.regions.source)
    answer = choose(record.image, words(record.question), [words(o) for o in options], objects=objects, **given)
    shares = np.exp(expected - expected.max())
    shares = shares / shares.sum()
    assert [c.probability for c in answer.choices] == pytest.approx(sorted(shares, reverse=True), abs=1e-5)
    if mode == "qa_r":
        with pytest.raises(InputError, match="QA→R"):
            choose(record.image, words(record.question), [words(o) for o in options], objects=objects)


def test_features_of_a_question_and_its_image(trained, vqa_config):
    folder, task = trained(VisualBertVQA, vqa_config("train.max_steps=1"))
    records, extract = list(task.records("val"))[:3], pipeline("feature-extraction", folder, task.regions.source)
    found = extract([record.image for record in records], [record.question for record in records])
    alone = extract(records[0].image, records[0].question)
    np.testing.assert_allclose(found[0].joint, alone.joint, atol=1e-5)
    assert alone.joint.shape == (16,) and alone.image is None
    assert np.abs(found[1].joint - alone.joint).max() > 1e-3
    with pytest.raises(InputError, match="give both"):
        extract(records[0].image)


@pytest.mark.parametrize("names", ["huggingface", "authors", "paddlenlp"])
def test_files_of_other_code_bases_answer_alike(trained, vqa_config, tmp_path, names):
    folder, task = trained(VisualBertVQA, vqa_config("train.max_steps=1", "model.region_token_type=1"))
    tensors = {name: tensor.numpy() for name, tensor in task.model.state_dict().items()}
    file = tmp_path / "theirs" / "pytorch_model.bin"
    file.parent.mkdir()
    theirs = {name: np.ascontiguousarray(array) for name, array in to_names(tensors, names).items()}
    save_file(theirs, file)
    (file.parent / "vocab.txt").write_bytes(task.tokenizer.path.read_bytes())
    (file.parent / "answers_vqa.txt").write_text("\n".join(task.answers.answers) + "\n")
    settings = {"model.num_heads": 2, "model.region_token_type": 1, "max_text": 32}
    record = task.records("val")[0]
    regions = task.regions.source
    ask = pipeline("visual-question-answering", file, regions=regions, settings=settings)
    expected = pipeline("visual-question-answering", folder, regions=regions)(record.image, record.question)
    answer = ask(record.image, record.question)
    assert answer.label == expected.label and answer.probability == pytest.approx(expected.probability, abs=1e-5)
    (file.parent / "answers_vqa.txt").write_text("yes\nno\n")
    with pytest.raises(InputError, match="pytorch_model.bin: cannot be loaded as visualbert_vqa"):
        pipeline("visual-question-answering", file, settings=settings)
