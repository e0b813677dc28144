"""Exported ALBEF: equal to the model at any size, answers and matches on its own."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import paddle
import pytest
from PIL import Image

from albef_paddle.config import AlbefConfig, TextConfig, VisionConfig
from albef_paddle.export import AnsweringPredictor, MatchingPredictor
from albef_paddle.network.classification import AlbefForEntailment, AlbefForReasoning
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.network.retrieval import AlbefForRetrieval
from pyutils.data.images import Images
from pyutils.data.transforms import albef_transform
from pyutils.errors import InputError
from pyutils.export.__main__ import main
from pyutils.export.predictor import StaticPredictor
from pyutils.text.sequences import pad
from pyutils.text.tokenizer import WordPiece

_PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] ? what colour is the box are there two red a yes no"
PIECES = _PIECES.split()
ANSWERS = ["yes", "no", "red", "two", "the red box", "red box", "a box"]
QUESTIONS = ["what colour is the box ?", "are there two ?", "red ?"]
CONFIG = AlbefConfig(
    vision=VisionConfig(image_size=16, patch_size=8, width=16, depth=1, num_heads=2),
    text=TextConfig(vocab_size=len(PIECES), hidden_size=16, num_layers=2, fusion_layer=1, num_heads=2,
                    intermediate_size=24, max_positions=32, init_std=0.3),
    embed_dim=8, queue_size=4, decoder_layers=1,
)  # fmt: skip
MODELS = {"retrieval": AlbefForRetrieval, "vqa": AlbefForQuestionAnswering, "ve": AlbefForEntailment,
          "nlvr2": AlbefForReasoning}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A checkpoint folder of each kind, as a run writes it."""
    root = tmp_path_factory.mktemp("albef")
    (root / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    for name, kind in MODELS.items():
        paddle.seed(1)
        kind(CONFIG).save_pretrained(root / name / "best", root / "vocab.txt")
    best = root / "vqa" / "best"
    (best / "list.json").write_text(json.dumps(ANSWERS))
    text = (best / "config.yaml").read_text()
    (best / "config.yaml").write_text(text + "max_tokens: 6\nk_test: 5\nanswer_list: data/albef/list.json\n")
    return root


@pytest.fixture(scope="module")
def served(checkpoints, tmp_path_factory):
    """`served(name)`: the folder of a kind, exported through the command when first asked for."""
    root = tmp_path_factory.mktemp("served")

    @cache
    def folder(name: str):
        arguments = ["--model", f"albef-{name}", "--checkpoint", str(checkpoints / name), "--output", str(root / name)]
        assert main(arguments) == 0
        return root / name

    return folder


@pytest.fixture(scope="module")
def image_files(tmp_path_factory):
    """Three image files."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files = [folder / f"{number}.png" for number in range(3)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(file)
    return files


def inputs_of(checkpoints, image_files, texts, most=None):
    """Images and texts that need no cleaning, as tensors."""
    tokenizer = WordPiece(checkpoints / "vocab.txt", special_in_text=True)
    rows = [[tokenizer.cls, *tokenizer.encode(text.replace("?", ""))][:most] for text in texts]
    read = Images(image_files[0].parent, albef_transform("evaluate", 16)).read
    pixels = np.stack([read(file.name) for file in image_files])
    return [paddle.to_tensor(item) for item in (pixels, pad(rows, 0), pad([[1] * len(row) for row in rows], 0))]


def test_answers_equal_those_of_the_model(checkpoints, served, image_files):
    model = AlbefForQuestionAnswering.from_pretrained(checkpoints / "vqa")
    tokenizer = WordPiece(checkpoints / "vocab.txt", special_in_text=True)
    rows = [[tokenizer.cls, *tokenizer.encode(text), tokenizer.sep] for text in ANSWERS]
    lists = [paddle.to_tensor(item) for item in (pad(rows, 0), pad([[1] * len(row) for row in rows], 0))]
    expected = model.rank(*inputs_of(checkpoints, image_files, QUESTIONS, 6), *lists, 5)
    answered = AnsweringPredictor(served("vqa")).answer(QUESTIONS, image_files, top=5)
    for row, found in enumerate(answered):
        assert [answer.text for answer in found] == [ANSWERS[place] for place in expected.answers[row].tolist()]
        np.testing.assert_allclose([answer.probability for answer in found], expected.probabilities[row], atol=1e-5)


def test_matches_equal_those_of_the_model(checkpoints, served, image_files):
    model = AlbefForRetrieval.from_pretrained(checkpoints / "retrieval")
    texts = ["the red box", "two", "what is a box"]
    pixels, ids, mask = inputs_of(checkpoints, image_files, texts)
    with paddle.no_grad():
        logits = model.itm_logits(model.text.encode(ids, mask), mask, model.text.memories(model.vision(pixels)))
    expected = paddle.nn.functional.softmax(logits, axis=1)[:, 1].numpy()
    found = MatchingPredictor(served("retrieval")).match(texts, image_files)
    np.testing.assert_allclose([match.probability for match in found], expected, atol=1e-5)
    assert all(-1.001 <= match.similarity <= 1.001 for match in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ve", "nlvr2"])
def test_classifiers_take_any_batch(checkpoints, served, image_files, name):
    model = MODELS[name].from_pretrained(checkpoints / name)
    pixels, ids, mask = inputs_of(checkpoints, image_files, QUESTIONS)
    if name == "nlvr2":
        pixels = paddle.stack([pixels, pixels.flip(0)], axis=1)
    found = StaticPredictor(served(name))(images=pixels.numpy(), input_ids=ids.numpy(), text_mask=mask.numpy())[
        "logits"
    ]
    with paddle.no_grad():
        np.testing.assert_allclose(found, model(pixels, ids, mask).numpy(), atol=1e-5)


def test_vocabulary_and_answers_are_exported(served):
    assert {"vocab.txt", "list.json", "export.json"} <= {path.name for path in (served("vqa")).iterdir()}


def test_a_missing_image_is_named_without_listing_directories(served, image_files, tmp_path, monkeypatch):
    def listed(*_):
        raise AssertionError("a folder was listed")

    monkeypatch.setattr("pyutils.data.images.ImageListing", listed)
    predictor = AnsweringPredictor(served("vqa"))
    for lost in ("/nope.png", str(tmp_path), str(tmp_path / "no" / "such" / "key")):
        with pytest.raises(InputError, match=f"{lost}: no such image file"):
            predictor.answer(["red ?"], [lost])
    unnamed = tmp_path / "picture"
    unnamed.write_bytes(image_files[0].read_bytes())
    assert predictor.answer(["red ?"], [unnamed]) == predictor.answer(["red ?"], image_files[:1])


def test_what_is_missing_is_named(checkpoints, served, image_files, tmp_path):
    with pytest.raises(InputError, match="2 questions and 1 images"):
        AnsweringPredictor(served("vqa")).answer(QUESTIONS[:2], image_files[:1])
    with pytest.raises(InputError, match=r"ve/best.*answer_list\.json"):
        main(["--model", "albef-vqa", "--checkpoint", str(checkpoints / "ve"), "--output", str(tmp_path / "x")])
    with pytest.raises(InputError, match=r"missing: classifier\.0\.weight"):
        main(["--model", "albef-ve", "--checkpoint", str(checkpoints / "retrieval"), "--output", str(tmp_path / "x")])
