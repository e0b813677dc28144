"""`pyutils.pipeline` on trained ViLBERT checkpoints: equal to the predictions of whole splits, and bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest
from PIL import Image

from pyutils import pipeline
from pyutils.config import load_config
from pyutils.config.command_line import Run
from pyutils.data.features import open_regions
from pyutils.engine.evaluation import evaluating, predict_split
from pyutils.engine.run import run_task
from pyutils.errors import InputError
from pyutils.metrics.retrieval import Positives, ranks_of_candidates
from pyutils.weights.checkpoint import load_weights
from tests.vilbert_paddle.worlds import NETWORK
from vilbert_paddle.checkpoints.weights import load_initial
from vilbert_paddle.tasks.base import with_recipe
from vilbert_paddle.tasks.multitask import TASKS, MultitaskTask


@pytest.fixture
def trained(yaml_of, tmp_path):
    """Trains a step; returns the output folder and the task with its best weights."""

    def train(kind, *overrides):
        task_class = TASKS[kind]
        config = load_config(task_class.config_class, yaml_of(kind), ("train.max_steps=1", *overrides))
        run_task(Run(None), with_recipe(config, task_class.heads_of(config)), task_class, load_initial)
        task = task_class(config)
        load_weights(task.model, tmp_path / "run")
        return tmp_path / "run", task

    return train


@pytest.mark.parametrize(("kind", "name"), [("vqa", "visual-question-answering"), ("ve", "visual-entailment")])
def test_answers_equal_those_of_the_split(trained, kind, name):
    folder, task = trained(kind)
    records = list(task.records("val"))
    expected = predict_split(task, task.config.train, "val")
    wanted = list(expected.texts) if kind == "vqa" else [expected.classes[n] for n in expected.predicted]
    texts = [record.question if kind == "vqa" else record.sentence for record in records]
    regions = task.reader.inputs.source
    by_store = pipeline(name, folder, regions=regions.path, batch_size=7)([r.image for r in records], texts)
    assert [answer.label for answer in by_store] == wanted
    given = pipeline(name, folder)([regions[record.image] for record in records], texts)
    assert [answer.label for answer in given] == wanted
    assert [a.probability for a in given] == pytest.approx([a.probability for a in by_store], abs=1e-5)
    assert given[0].show().width > 300


def test_pairs_equal_their_split(trained):
    folder, task = trained("nlvr2")
    records = list(task.records("val"))
    expected = predict_split(task, task.config.train, "val").predicted
    judge = pipeline("nlvr", folder, regions=task.reader.inputs.source, batch_size=4)
    answers = judge([r.left for r in records], [r.right for r in records], [r.sentence for r in records])
    assert [answer.label == "True" for answer in answers] == list(expected)


def test_expressions_equal_their_split(trained):
    folder, task = trained("refer")
    records = list(task.records("val"))
    expected = predict_split(task, task.config.train, "val").chosen
    find = pipeline("grounding", folder, regions=task.reader.inputs.source.path, batch_size=4)
    answers = find([record.image for record in records], [record.expression for record in records], top=3)
    assert [answer.boxes[0].region for answer in answers] == list(expected)
    boxes = task.reader.read([records[0].image], keep_boxes=True).boxes[0]
    np.testing.assert_allclose(answers[0].box, boxes[answers[0].boxes[0].region])
    assert len(answers[0].boxes) == 3
    for extra, message in (({"boxes": [(0, 0, 5, 5)]}, "boxes: "), ({"phrase": "star"}, "phrase: vilbert_refer")):
        with pytest.raises(InputError, match=message):
            find(records[0].image, records[0].expression, **extra)


@pytest.mark.parametrize("head", ["match", "alignment"])
def test_a_gallery_ranks_as_the_evaluation_does(trained, yaml_of, tmp_path, head):
    folder, task = trained("retrieval")
    records = list(task.records("val"))
    settings = {}
    if head == "alignment":
        config = replace(task.config, retrieval=replace(task.config.retrieval, head=head))
        task, settings = type(task)(config), {"retrieval.head": head}
        from pyutils.weights.checkpoint import save_checkpoint

        folder = tmp_path / "zero_shot"
        save_checkpoint(folder, task.model, task.config_text, task.checkpoint_files())
    captions = [caption for record in records for caption in record.captions]
    owners = np.repeat(np.arange(len(records)), [len(record.captions) for record in records])
    expected = predict_split(task, task.config.train, "val")
    find = pipeline("retrieval", folder, regions=task.reader.inputs.source, batch_size=5, settings=settings)
    rankings = find(captions, [record.image for record in records], top=len(records))
    items, scores = (
        np.array([[getattr(hit, field) for hit in ranking.hits] for ranking in rankings])
        for field in ("index", "score")
    )
    _, of_texts = Positives.of_captions(owners, len(records))
    none = np.full(len(captions), -1)  # every image is a candidate
    np.testing.assert_array_equal(ranks_of_candidates(items, scores, of_texts, none), expected.image_ranks)
    match = pipeline("image-text-matching", folder, regions=task.reader.inputs.source)
    found = match(records[0].image, captions[:2])
    pairs = [next(hit.score for hit in ranking.hits if hit.index == 0) for ranking in rankings[:2]]
    assert [each.score for each in found] == pytest.approx(pairs, abs=1e-5)
    assert (found[0].probability is None) == (head == "match")
    best = find.texts(records[0].image, captions, top=2)
    assert len(best.hits) == 2 and best.hits[0].score >= best.hits[1].score
    assert len(find("a red star", top=2).hits) == 2


def test_a_question_of_commonsense_equals_its_split(trained):
    folder, task = trained("vcr", "annotated_regions.path=''")
    record = task.records("val")[0]
    expected = predict_split(task, task.config.train, "val").scores[record.annot_id]
    choose = pipeline("visual-commonsense", folder, regions=task.reader.inputs.source)

    def words(text):
        return [word or list(objects) for word, objects in zip(text.words, text.objects)]

    choices = [words(choice) for choice in record.answer_choices]
    answer = choose(record.image, words(record.question), choices, objects=record.object_names)
    shares = np.exp(expected) / np.exp(expected).sum()
    assert [choice.probability for choice in answer.choices] == pytest.approx(sorted(shares, reverse=True), abs=1e-5)
    for bad, message in (
        ({"choices": choices[:3]}, "expected 4 choices, found 3"),
        ({"question": [[99], "is"]}, "question.*99"),
    ):
        given = {"question": words(record.question), "choices": choices, **bad}
        with pytest.raises(InputError, match=message):
            choose(record.image, given["question"], given["choices"], objects=record.object_names)


def test_an_extractor_describes_images_of_one_size_together(trained, tmp_path):
    folder, task = trained("vqa")
    source = task.reader.inputs.source
    keys = list(source)[:3]
    asked = []

    class Extractor:
        def describe(self, images):
            asked.append([image.shape for image in images])
            return [source[keys[int(image[0, 0, 0])]] for image in images]

    images = [Image.new("RGB", (20 + 10 * (n == 1), 20), (n, 0, 0)) for n in range(3)]
    ask = pipeline("visual-question-answering", folder, regions=Extractor())
    answers = ask(images, "is there a star?")
    assert sorted(asked) == [[(20, 20, 3), (20, 20, 3)], [(20, 30, 3)]]
    expected = pipeline("visual-question-answering", folder)([source[key] for key in keys], "is there a star?")
    assert [answer.choices for answer in answers] == [answer.choices for answer in expected]


def test_a_member_of_a_multitask_checkpoint(yaml_of, world, tmp_path):
    path = tmp_path / "multitask.yaml"
    tasks = "\ntasks:\n" + "".join(f'  {kind}: {{task: {kind}, config: "{yaml_of(kind)}"}}\n' for kind in ("ve", "vqa"))
    path.write_text(NETWORK.format(world=world, output=tmp_path / "many") + tasks)
    config = load_config(MultitaskTask.config_class, path, ("train.max_steps=1", "model.task_tokens=20"))
    run_task(Run(None), with_recipe(config, MultitaskTask.heads_of(config)), MultitaskTask, load_initial)
    regions = open_regions(world / "lmdb/flickr30k_base64.lmdb")
    classify = pipeline("visual-entailment", tmp_path / "many", regions=regions, member="ve")
    assert len(classify(next(iter(regions)), "a red star").choices) == 3
    with pytest.raises(InputError, match="vilbert_ve.*pipeline nlvr"):
        pipeline("nlvr", tmp_path / "many", member="ve")
    with pytest.raises(InputError, match="ve"):
        pipeline("visual-entailment", tmp_path / "many", member="vee")


def test_bad_input_is_named(trained, world, tmp_path):
    folder, task = trained("vqa")
    source = task.reader.inputs.source
    features = source[next(iter(source))]
    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file)
    ask = pipeline("visual-question-answering", folder)
    for image, message in (
        (file, "a.png: this model reads region features"),
        (replace(features, features=features.features[:, :5]), r"expected regions \[regions, 32\].*5\]"),
        (replace(features, boxes=None), "no boxes"),
        (replace(features, width=0, height=0), "image size is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            ask(image, "what?")
    by_store = pipeline("visual-question-answering", folder, regions=source.path)
    for image, message in (("nowhere", "has no features for image 'nowhere'"), (Image.open(file), "file name or key")):
        with pytest.raises(InputError, match=message):
            by_store(image, "what?")
    for regions, message in ((tmp_path / "none.lmdb", "none.lmdb does not exist"), (3, "a int is no source")):
        with pytest.raises(InputError, match=message):
            pipeline("visual-question-answering", folder, regions=regions)


def test_features_are_what_the_head_reads(trained):
    """The joint vector through the classifier gives the answer's score."""
    folder, task = trained("vqa")
    records = list(task.records("val"))[:3]
    extract = pipeline("feature-extraction", folder, regions=task.reader.inputs.source)
    found = extract([record.image for record in records], [record.question for record in records])
    joint = paddle.to_tensor(np.stack([features.joint for features in found]))
    with evaluating(task.model):
        scores = task.model.heads["vqa"](joint).numpy()
    np.testing.assert_allclose(scores, task.scores_of(records), atol=1e-4)
    np.testing.assert_allclose(found[0].joint, found[0].image * found[0].text_vector, atol=1e-6)
