"""`pyutils.pipeline` on trained ALBEF checkpoints: equal to the predictions of whole splits, and bad input."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image
from safetensors.numpy import save_file

from albef_paddle.checkpoints.weights import to_original
from albef_paddle.commands import COMMANDS
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.tasks.base import AlbefRunConfig, with_decay
from albef_paddle.tasks.entailment import AlbefEntailment, AlbefEntailmentConfig
from albef_paddle.tasks.grounding import AlbefGrounding, AlbefGroundingConfig
from albef_paddle.tasks.nlvr2 import AlbefNLVR2
from albef_paddle.tasks.retrieval import AlbefRetrieval, AlbefRetrievalConfig
from albef_paddle.tasks.vqa import AlbefVQA, AlbefVQAConfig
from pyutils import pipeline
from pyutils.config import load_config
from pyutils.download import published as downloads
from pyutils.engine.evaluation import predict_split
from pyutils.engine.trainer import Trainer
from pyutils.errors import InputError
from pyutils.metrics.retrieval import Positives, ranks_of_candidates
from pyutils.weights import registry


@pytest.fixture
def trained(world, write_yaml, tmp_path):
    """Trains two steps; returns the output folder and the task."""

    def train(kind, config_class, images, train_list, val_list, **entries):
        path = write_yaml(images, world.lists(train=train_list, val=val_list), **entries)
        task = kind(with_decay(load_config(config_class, path)))
        Trainer(task, task.config.train, tmp_path / "run").run()
        return str(tmp_path / "run"), task

    return train


@pytest.fixture
def vqa(trained, world):
    answers = str(world.data / "albef" / "answer_list.json")
    return trained(AlbefVQA, AlbefVQAConfig, "coco", "vqa_train.json", "vqa_val.json", answer_list=answers)


@pytest.fixture
def retrieval(trained):
    lists = "flickr30k_train.json", "flickr30k_val.json"
    return trained(AlbefRetrieval, AlbefRetrievalConfig, "flickr30k", *lists, k_test=6)


def files_of(task, records, field="image"):
    return [task.images(False).path(getattr(record, field)) for record in records]


def test_questions_are_answered_as_the_split_is(vqa, capsys):
    folder, task = vqa
    expected = predict_split(task, task.config.train, "val").texts
    records = list(task.records("val"))
    ask = pipeline("visual-question-answering", folder, batch_size=5)
    answers = ask(files_of(task, records), [record.question for record in records], top=3)
    assert [answer.label for answer in answers] == list(expected)
    alone = ask(files_of(task, records)[0], records[0].question, top=3)
    assert [choice.label for choice in alone.choices] == [choice.label for choice in answers[0].choices]
    assert alone.probability == pytest.approx(answers[0].probability, abs=1e-5)
    assert len(alone.choices) == 3 and alone.to_dict()["text"] == records[0].question
    json.dumps(alone.to_dict())
    assert alone.show().width > 300


def test_paths_pillow_images_and_arrays_give_one_answer(vqa):
    folder, task = vqa
    file = files_of(task, task.records("val"))[0]
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    array = np.asarray(image)
    ask = pipeline("visual-question-answering", folder)
    answers = [ask(each, "is there a star?") for each in (file, str(file), image, array)]
    answers += ask(np.stack([array, array]), "is there a star?")
    assert len({tuple(choice.label for choice in answer.choices) for answer in answers}) == 1
    shares = np.array([[choice.probability for choice in answer.choices] for answer in answers])
    np.testing.assert_allclose(shares[1], shares[0], atol=1e-6)
    np.testing.assert_allclose(shares[3:], shares[2:3].repeat(len(shares) - 3, 0), atol=1e-6)
    # A large JPEG file is decoded at a smaller scale, an image in memory is whole already.
    np.testing.assert_allclose(shares[2], shares[0], atol=5e-3)
    wide = Image.new("RGB", (90, 20), "red")
    both = ask([image, wide], "is there a star?")
    assert both[0].probability == pytest.approx(answers[2].probability, abs=1e-5)
    assert [choice.label for choice in both[1].choices] == [c.label for c in ask(wide, "is there a star?").choices]


def test_entailment_equals_its_split(trained):
    folder, task = trained(AlbefEntailment, AlbefEntailmentConfig, "flickr30k", "ve_train.json", "ve_dev.json")
    records = list(task.records("val"))
    expected = predict_split(task, task.config.train, "val")
    classify = pipeline("visual-entailment", folder)
    answers = classify(files_of(task, records), [record.sentence for record in records])
    assert [answer.label for answer in answers] == [expected.classes[n] for n in expected.predicted]
    assert all(sum(c.probability for c in answer.choices) == pytest.approx(1) for answer in answers)


def test_a_pair_of_images_equals_its_split(trained):
    folder, task = trained(AlbefNLVR2, AlbefRunConfig, "nlvr2", "nlvr_train.json", "nlvr_dev.json")
    records = list(task.records("val"))
    expected = predict_split(task, task.config.train, "val").predicted
    judge = pipeline("nlvr", folder, batch_size=3)
    left, right = files_of(task, records, "left"), files_of(task, records, "right")
    answers = judge(left, right, [record.sentence for record in records])
    assert [answer.label == "True" for answer in answers] == list(expected)
    assert judge(left[0], right[0], records[0].sentence).choices[0].label == answers[0].label
    assert len(judge(left[0], right[0], ["a star", "a ring"])) == 2
    assert judge(left[0], right[0], "a star").show().width > 600


def test_a_gallery_ranks_as_the_evaluation_does(retrieval, world, tmp_path):
    folder, task = retrieval
    records = list(task.records("val"))
    captions = [caption for record in records for caption in record.captions]
    owners = np.repeat(np.arange(len(records)), [len(record.captions) for record in records])
    _, of_texts = Positives.of_captions(owners, len(records))
    expected = predict_split(task, task.config.train, "val")
    with_gallery = pipeline("retrieval", folder, batch_size=4).index(files_of(task, records))
    rankings = with_gallery(captions, top=task.config.k_test)
    items = np.array([[hit.index for hit in ranking.hits] for ranking in rankings])
    scores = np.array([[hit.score for hit in ranking.hits] for ranking in rankings])
    # Right items beyond the candidates have their rank by ITC, which the pipeline does not give: -1 here.
    found = ranks_of_candidates(items, scores, of_texts, np.full(len(captions), -1))
    assert (found >= 0).any()
    np.testing.assert_array_equal(found[found >= 0], expected.image_ranks[found >= 0])
    first = with_gallery(captions[0], top=2)
    assert [hit.index for hit in first.hits] == items[0, :2].tolist() and len(first.show().getbands()) == 3
    folders = with_gallery("a red star", world.data / "flickr30k", top=3)
    assert all(hit.item.is_file() for hit in folders.hits) and len(folders.hits) == 3
    of_image = with_gallery.texts(files_of(task, records)[:2], captions, top=4)
    assert [len(ranking.hits) for ranking in of_image] == [4, 4] and of_image[0].hits[0].item in captions
    whole = with_gallery.texts(files_of(task, records), captions, top=task.config.k_test)
    of_images, _ = Positives.of_captions(owners, len(records))
    items = np.array([[hit.index for hit in ranking.hits] for ranking in whole])
    scores = np.array([[hit.score for hit in ranking.hits] for ranking in whole])
    found = ranks_of_candidates(items, scores, of_images, np.full(len(records), -1))
    assert (found >= 0).any()
    np.testing.assert_array_equal(found[found >= 0], expected.text_ranks[found >= 0])


def test_matching_gives_the_score_of_the_ranking(retrieval):
    folder, task = retrieval
    records = list(task.records("val"))[:3]
    files, texts = files_of(task, records), [record.captions[0] for record in records]
    matches = pipeline("image-text-matching", folder)(files, texts)
    ranking = pipeline("retrieval", folder)(texts[0], [files[0]])
    assert ranking.hits[0].score == pytest.approx(matches[0].score, abs=1e-4)
    for match in matches:
        assert 0 < match.probability < 1 and -1 <= match.similarity <= 1
    assert matches[0].to_dict().keys() == {"text", "score", "probability", "similarity"}


def test_an_expression_is_located(trained):
    lists = "refcoco+_train.json", "refcoco+_test.json"
    entries = {"block_num": 1}
    folder, task = trained(AlbefGrounding, AlbefGroundingConfig, "coco", *lists, **entries)
    records = list(task.records("val"))[:3]
    files, texts = files_of(task, records), [record.expression for record in records]
    find = pipeline("grounding", folder)
    for answer, file in zip(find(files, texts), files):
        with Image.open(file) as image:
            width, height = image.size
        left, top, right, bottom = answer.box
        assert 0 <= left < right <= width and 0 <= top < bottom <= height and 0 < answer.boxes[0].score <= 1
        row, column = np.unravel_index(answer.heat.argmax(), answer.heat.shape)
        x, y = (column + 0.5) * width / answer.heat.shape[1], (row + 0.5) * height / answer.heat.shape[0]
        assert left < x < right and top < y < bottom
        assert answer.show().width > 300
    boxes = [(0, 0, 20, 20), (20, 20, 60, 60)]
    chosen = find(files[0], texts[0], boxes=boxes)
    assert sorted(entry.region for entry in chosen.boxes) == [0, 1]
    assert chosen.boxes[0].score >= chosen.boxes[1].score
    with pytest.raises(InputError, match="phrase: albef_grounding"):
        find(files[0], texts[0], phrase="star")
    with pytest.raises(InputError, match="left, top, right, bottom"):
        find(files[0], texts[0], boxes=[(5, 5, 1, 9)])


def test_bad_input_is_named(vqa, tmp_path):
    folder, task = vqa
    good = files_of(task, task.records("val"))[0]
    ask = pipeline("visual-question-answering", folder)
    text, empty = tmp_path / "text.jpg", tmp_path / "empty.png"
    text.write_text("no image")
    empty.touch()
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:100])
    for image, message in (
        (tmp_path / "missing.jpg", "missing.jpg: no such image file"),
        (tmp_path, "no such image file"),
        (text, "text.jpg: its 8 bytes are no image"),
        (empty, "empty.png: the file is empty"),
        (cut, "cut.png: .*damaged or truncated"),
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((4, 4, 7), np.uint8), r"uint8 \[4, 4, 7\]"),
        (7, "int is no image"),
    ):
        with pytest.raises(InputError, match=message):
            ask([good, image], "what is it?")
    for arguments, message in (
        ((good, "?!"), r"text 0: '\?!'"),
        ((good, ["a star", " "]), "text 1: ' '"),
        (([good, good], ["a", "b", "c"]), "2 images and 3 texts"),
        ((good, "what?", 0), "top: .*found 0"),
    ):
        with pytest.raises(InputError, match=message):
            ask(*arguments)
    assert ask([], []) == []


@pytest.mark.parametrize(
    ("task", "extra", "message"),
    [
        ("nlvr", {}, "of task albef_vqa, which pipeline nlvr is not for: it takes albef_nlvr2"),
        ("vqa", {}, "unknown task 'vqa'"),
        ("visual-question-answering", {"regions": "x"}, "reads images"),
        ("visual-question-answering", {"batch_size": 0}, "batch_size"),
        ("visual-question-answering", {"settings": {"k_tset": 3}}, "k_tset.*k_test"),
        ("visual-question-answering", {"config": "none.yaml"}, "none.yaml"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_named(vqa, task, extra, message):
    with pytest.raises(InputError, match=message):
        pipeline(task, vqa[0], **extra)


def test_an_unknown_name_is_named():
    with pytest.raises(InputError, match='albef-vqaa.*did you mean "albef-vqa"'):
        pipeline("visual-question-answering", "albef-vqaa")


@pytest.fixture
def published(vqa, tmp_path, monkeypatch):
    """The VQA checkpoint as its authors would publish it, on a mirror, and the settings that its file cannot tell."""
    folder, task = vqa
    mirror = tmp_path / "mirror" / "toy-vqa"
    mirror.mkdir(parents=True)
    tensors = {name: tensor.numpy() for name, tensor in task.model.state_dict().items()}
    save_file({name: np.ascontiguousarray(array) for name, array in to_original(tensors).items()}, mirror / "vqa.pth")
    for path in task.checkpoint_files():
        (mirror / path.name).write_bytes(path.read_bytes())
    table = tmp_path / "registry.yaml"
    table.write_text(
        "toy-vqa:\n  about: a toy\n  model: albef\n  task: albef_vqa\n"
        "  sources: [{url: 'https://huggingface.co/authors/toy/resolve/main/vqa.pth'}]\n"
        "  files: [{url: 'https://x.invalid/vocab.txt'}, {url: 'https://x.invalid/answer_list.json'}]\n"
    )
    monkeypatch.setattr(registry, "TABLE", table)
    monkeypatch.setattr(registry, "MODELS_HOME", tmp_path / "models")
    monkeypatch.setenv(downloads.OFFLINE, "1")
    monkeypatch.setenv(downloads.MIRRORS, str(tmp_path / "mirror"))
    registry.forget()
    yield {"model.text.num_heads": 2, "model.vision.num_heads": 2, "data.draft_margin": 2.0}
    registry.forget()


@pytest.mark.parametrize("name", ["toy-vqa", "authors/toy"])
def test_a_published_name_comes_with_vocabulary_and_answers(vqa, published, tmp_path, capsys, name):
    folder, task = vqa
    file = files_of(task, task.records("val"))[0]
    ask = pipeline("visual-question-answering", name, settings=published)
    expected = pipeline("visual-question-answering", folder)(file, "is there a star?")
    assert {path.name for path in (tmp_path / "models/toy-vqa").iterdir()} == {
        "vqa.pth", "vocab.txt", "answer_list.json"
    }  # fmt: skip
    answer = ask(file, "is there a star?")
    assert answer.label == expected.label and answer.probability == pytest.approx(expected.probability, abs=1e-4)
    capsys.readouterr()
    settings = [text for key, value in published.items() for text in ("--set", f"{key}={value}")]
    example = ["--image", str(file), "--text", "is there a star?", "--top", "1"]
    COMMANDS.run_prediction(["--checkpoint", name, *example, *settings])
    assert f"| {expected.label}" in capsys.readouterr().err
    with pytest.raises(InputError, match="task albef_vqa, which pipeline nlvr is not for"):
        pipeline("nlvr", name, settings=published)


def test_a_training_from_a_published_name_takes_its_vocabulary_and_answers(
    vqa, published, world, write_yaml, tmp_path, monkeypatch
):
    _, task = vqa
    monkeypatch.chdir(tmp_path)  # where data/albef/answer_list.json is not
    lists = world.lists(train="vqa_train.json", val="vqa_val.json")
    recipe = write_yaml("coco", lists, tokenizer="elsewhere/vocab.txt", init="toy-vqa")
    settings = [f"output_dir={tmp_path / 'next'}", "train.max_steps=1"]
    settings += [f"{key}={value}" for key, value in published.items() if key.startswith("model")]
    arguments = [text for setting in settings for text in ("--set", setting)]
    COMMANDS.run_training(COMMANDS.commands[2], ["--config", str(recipe), *arguments])
    for path in task.checkpoint_files():
        assert (tmp_path / "next/last" / path.name).read_bytes() == path.read_bytes()
        assert (tmp_path / "models/toy-vqa" / path.name).is_file()
    COMMANDS.run_training(COMMANDS.commands[2], ["--config", str(recipe), "--checkpoint", "toy-vqa", *arguments[2:],
        "--output_dir", str(tmp_path / "measured"), "--evaluate"])  # fmt: skip
    assert 0 <= json.loads((tmp_path / "measured/metrics_val.json").read_text())["accuracy"] <= 100

    other = tmp_path / "other.json"
    other.write_text(json.dumps(["yes", "no"]))
    COMMANDS.run_training(COMMANDS.commands[2], ["--config", str(recipe), *arguments[2:], "--set",
        f"answer_list={other}", "--output_dir", str(tmp_path / "own"), "--set", "k_test=2"])  # fmt: skip
    assert (tmp_path / "own/last/other.json").read_text() == other.read_text()


def test_a_published_name_without_its_answers_says_where_they_belong(published, tmp_path):
    (tmp_path / "mirror/toy-vqa/answer_list.json").unlink()
    with pytest.raises(InputError, match="toy-vqa is used with answer_list.json.*models/toy-vqa/answer_list.json"):
        pipeline("visual-question-answering", "toy-vqa", settings=published)


def test_a_file_of_another_code_base_is_recognised(vqa, published, tmp_path):
    folder, task = vqa
    file = files_of(task, task.records("val"))[0]
    weights = tmp_path / "mirror/toy-vqa/vqa.pth"
    expected = pipeline("visual-question-answering", folder)(file, "is there a star?")
    answer = pipeline("visual-question-answering", weights, settings=published)(file, "is there a star?")
    assert answer.label == expected.label and answer.probability == pytest.approx(expected.probability, abs=1e-4)
    with pytest.raises(InputError, match="(?s)vqa.pth: .*albef_ve.*classifier"):
        pipeline("visual-entailment", weights, settings=published)
    other = tmp_path / "other.safetensors"
    save_file({"w": np.ones(3, np.float32)}, other)
    with pytest.raises(InputError, match="other.safetensors: weights of none of albef, vilbert, visualbert"):
        pipeline("visual-entailment", other)


def test_a_saved_model_is_asked(vqa, tmp_path):
    folder, task = vqa
    file = files_of(task, task.records("val"))[0]
    model = AlbefForQuestionAnswering.from_pretrained(folder)
    model.save_pretrained(tmp_path / "saved")
    answers = str(task.config.answer_list)
    ask = pipeline("visual-question-answering", tmp_path / "saved", settings={"answer_list": answers})
    expected = pipeline("visual-question-answering", folder)(file, "is there a star?")
    assert ask(file, "is there a star?").label == expected.label


def test_features_compare_as_matching_does(retrieval):
    folder, task = retrieval
    records = list(task.records("val"))[:3]
    files, texts = files_of(task, records), [record.captions[0] for record in records]
    extract = pipeline("feature-extraction", folder)
    images, words, both = extract(image=files), extract(text=texts), extract(files, texts)
    matches = pipeline("image-text-matching", folder)(files, texts)
    for image, text, joint, match in zip(images, words, both, matches):
        assert float(image.image @ text.text_vector) == pytest.approx(match.similarity, abs=1e-5)
        assert np.linalg.norm(image.image) == pytest.approx(1, abs=1e-5) and image.joint is None
        np.testing.assert_allclose(joint.image, image.image, atol=1e-5)
        logits = task.model.matching(paddle.to_tensor(joint.joint[None])).numpy()
        assert logits[0, 1] == pytest.approx(match.score, abs=1e-4)
    assert extract(text="a star").to_dict().keys() == {"text", "text_vector"}
    with pytest.raises(InputError, match="give an image, a text, or both"):
        extract()


def test_the_tokenizer_travels_with_the_model(vqa, tmp_path):
    folder, task = vqa
    model = AlbefForQuestionAnswering.from_pretrained(folder)
    assert model.config == AlbefForQuestionAnswering.from_pretrained(folder).config
    assert model.tokenizer.encode("a [MASK] star") == task.tokenizer.encode("a [MASK] star")
    model.save_pretrained(tmp_path / "saved")
    again = AlbefForQuestionAnswering.from_pretrained(tmp_path / "saved")
    assert again.tokenizer.path == tmp_path / "saved" / "vocab.txt"
    again.vocabulary.write_text(again.vocabulary.read_text() + "onemore\ntwomore\n")
    with pytest.raises(InputError, match=r"saved/vocab.txt: \d+ pieces, but the model has \d+"):
        _ = again.tokenizer
    again.vocabulary = None
    with pytest.raises(InputError, match="no vocab.txt"):
        _ = again.tokenizer


def test_the_tokenizer_of_a_published_name_is_downloaded(published, vqa):
    changes = {name: value for name, value in published.items() if name.startswith("model.")}
    model = AlbefForQuestionAnswering.from_pretrained(
        "toy-vqa", **{name.partition(".")[2]: value for name, value in changes.items()}
    )
    assert model.tokenizer.encode("a star") == vqa[1].tokenizer.encode("a star")


def test_a_model_is_uploaded_as_it_is_saved(vqa, tmp_path, monkeypatch):
    """A stand-in for huggingface_hub."""
    uploaded = {}

    class HfApi:
        def create_repo(self, name, private, exist_ok):
            uploaded["private"] = private

        def upload_folder(self, repo_id, folder_path):
            if repo_id == "x/denied":
                raise OSError("401")
            uploaded[repo_id] = sorted(path.name for path in Path(folder_path).iterdir())

    hub = types.ModuleType("huggingface_hub")
    hub.HfApi = HfApi
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    model = AlbefForQuestionAnswering.from_pretrained(vqa[0])
    assert model.push_to_hub("x/toy", private=True).endswith("/x/toy")
    assert uploaded["private"] and {"config.yaml", "model.safetensors", "vocab.txt"} <= set(uploaded["x/toy"])
    with pytest.raises(InputError, match="x/denied: not uploaded .401."):
        model.push_to_hub("x/denied")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="x/toy: .*pip install huggingface_hub"):
        model.push_to_hub("x/toy")
