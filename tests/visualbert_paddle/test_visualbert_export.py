"""Exported VisualBERT: equal to the model at any size, answers questions on its own."""

from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import paddle
import pytest

from pyutils.data.features import RegionFeatures
from pyutils.errors import InputError
from pyutils.export.__main__ import main
from pyutils.export.predictor import StaticPredictor
from pyutils.export.program import Exportable, export
from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece
from tests.visualbert_paddle.support import as_tensors
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.export import AnsweringPredictor, question_answering
from visualbert_paddle.network.heads import VisualBertForQuestionAnswering, VisualBertForReasoning

ANSWERS = ["<unk>", "yes", "no", "red", "two"]
QUESTIONS = ["what colour is the box ?", "are there two ?", "red ?"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint folder with vocabulary and answers, as a run writes it."""
    folder = tmp_path_factory.mktemp("vqa")
    pieces = "[PAD] [UNK] [CLS] [SEP] [MASK] ? what colour is the box are there two red"
    words = pieces.split()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    config = VisualBertConfig(vocab_size=len(words), hidden_size=16, num_layers=2, num_heads=2, intermediate_size=24,
                              max_positions=32, visual_dim=8, region_token_type=1)  # fmt: skip
    paddle.seed(0)
    VisualBertForQuestionAnswering(config, len(ANSWERS)).save_pretrained(folder / "best", folder / "vocab.txt")
    (folder / "best" / "answers_vqa.txt").write_text("\n".join(ANSWERS) + "\n")
    text = (folder / "best" / "config.yaml").read_text()
    (folder / "best" / "config.yaml").write_text(text + "max_text: 20\nvqa: {answers: extras/vocabs/answers_vqa.txt}\n")
    return folder


@pytest.fixture(scope="module")
def served(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "vqa"
    assert main(["--model", "visualbert-vqa", "--checkpoint", str(checkpoint), "--output", str(folder)]) == 0
    return folder


def pictures() -> list[RegionFeatures]:
    rng = np.random.default_rng(0)
    return [RegionFeatures(rng.standard_normal((count, 8)).astype("float32"), None) for count in (3, 6, 1)]


def test_answers_equal_those_of_the_model(checkpoint, served):
    model = VisualBertForQuestionAnswering.from_pretrained(checkpoint)
    tokenizer = WordPiece(checkpoint / "vocab.txt")
    answered = AnsweringPredictor(served).answer(QUESTIONS, pictures(), top=4)
    for question, picture, ranked in zip(QUESTIONS, pictures(), answered):
        batch = sequences.batch([sequences.question(tokenizer, question, 20)], tokenizer.pad)
        batch["region_features"] = picture.features[None]
        batch["region_mask"] = np.ones((1, len(picture)), "int64")
        batch["region_token_type_ids"] = np.ones((1, len(picture)), "int64")
        with paddle.no_grad():
            scores = model(**as_tensors(batch)).numpy()[0, 1:].astype("float64")
        shares = np.exp(scores) / np.exp(scores).sum()
        assert [answer.text for answer in ranked] == [ANSWERS[1 + place] for place in np.argsort(-shares)]
        np.testing.assert_allclose([answer.probability for answer in ranked], np.sort(shares)[::-1], atol=1e-6)


def test_only_what_is_needed_is_written(served):
    names = {path.name for path in served.iterdir()}
    program = names & {"model.json", "model.pdmodel"}
    assert len(program) == 1
    assert {"model.pdiparams", "export.json", "vocab.txt", "answers_vqa.txt"} <= names
    assert AnsweringPredictor(served).predictor.settings["max_text"] == 20


def test_onnx_is_written_and_compared(checkpoint, tmp_path):
    try:
        import paddle2onnx  # noqa: F401
    except (ImportError, ValueError):
        pytest.skip("needs a paddle2onnx for this Paddle")
    assert export(question_answering(checkpoint), tmp_path / "onnx", onnx=True) < 1e-5
    assert (tmp_path / "onnx" / "model.onnx").stat().st_size > 1000


def test_onnx_without_its_package_is_a_plain_error(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)
    with pytest.raises(InputError, match="(?s)needs a paddle2onnx for this Paddle .*pip install paddle2onnx onnx"):
        export(question_answering(checkpoint), tmp_path / "onnx", onnx=True)


def test_bad_inputs_of_a_predictor_are_named(served):
    predictor = StaticPredictor(served)
    good = question_answering_example(predictor)
    assert predictor(**good)["scores"].shape == (1, len(ANSWERS))
    with pytest.raises(InputError, match="no input 'region_feature': did you mean \"region_features\""):
        predictor(**good, region_feature=good["region_features"])
    with pytest.raises(
        InputError, match=r"'region_features': expected float32 \[any, any, 8\], found float32 \[1, 2, 7\]"
    ):
        predictor(**{**good, "region_features": good["region_features"][..., :7]})
    with pytest.raises(InputError, match=r"'input_ids': expected int64 \[any, any\], found int32"):
        predictor(**{**good, "input_ids": good["input_ids"].astype("int32")})
    with pytest.raises(InputError, match="'text_mask' is missing"):
        predictor(**{name: value for name, value in good.items() if name != "text_mask"})


def question_answering_example(predictor: StaticPredictor) -> dict[str, np.ndarray]:
    sizes = {"region_features": (1, 2, 8), "region_mask": (1, 2), "region_token_type_ids": (1, 2)}
    return {name: np.ones(sizes.get(name, (1, 4)), dtype) for name, (_, dtype) in predictor.inputs.items()}


def test_pictures_that_do_not_fit_are_named(served):
    predictor = AnsweringPredictor(served)
    with pytest.raises(InputError, match="3 questions and 1 images"):
        predictor.answer(QUESTIONS, pictures()[:1])
    with pytest.raises(InputError, match="expected 8-d regions, image 0 has 5-d ones"):
        predictor.answer(["red ?"], [RegionFeatures(np.ones((2, 5), "float32"), None)])


def test_models_without_their_answers_are_named(checkpoint, tmp_path):
    config = VisualBertForQuestionAnswering.from_pretrained(checkpoint).config
    VisualBertForReasoning(config).save_pretrained(tmp_path / "nlvr2")
    with pytest.raises(InputError, match=r"nlvr2/answers\.txt: .*2 outputs"):
        question_answering(tmp_path / "nlvr2")
    VisualBertForQuestionAnswering(config, 4).save_pretrained(tmp_path / "vqa")
    assert question_answering(tmp_path / "vqa").files == []
    (tmp_path / "vqa/answers.txt").write_text("\n".join(ANSWERS))
    with pytest.raises(InputError, match=r"answers\.txt: 5 answers, but the model has 4 outputs"):
        question_answering(tmp_path / "vqa")


@pytest.mark.parametrize("top", [0, -1])
def test_at_least_one_answer_is_asked_for(served, top):
    with pytest.raises(InputError, match=f"top: expected 1 or more, found {top}"):
        AnsweringPredictor(served).answer(QUESTIONS, pictures(), top=top)


def test_folders_that_are_no_exported_model_are_named(served, tmp_path):
    with pytest.raises(InputError, match="not an exported model"):
        StaticPredictor(tmp_path)
    (tmp_path / "export.json").write_text("{")
    with pytest.raises(InputError, match=r"export\.json: "):
        StaticPredictor(tmp_path)
    (tmp_path / "export.json").write_bytes((served / "export.json").read_bytes())
    with pytest.raises(InputError, match=r"model\.json or model\.pdmodel"):
        StaticPredictor(tmp_path)


def test_a_program_that_differs_is_not_kept(checkpoint, tmp_path):
    class Noisy(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = paddle.nn.Linear(2, 2, weight_attr=paddle.nn.initializer.Constant(0.0))

        def forward(self, x):
            return self.linear(x) + (0.1 if paddle.in_dynamic_mode() else 0.0)

    item = Exportable(Noisy(), {"x": ([None, 2], "float32")}, ["y"], lambda n: {"x": np.ones((n + 1, 2), "float32")})
    with pytest.raises(InputError, match="differs from the model by 0.1, more than 1e-05; it was not kept"):
        export(item, tmp_path / "noisy")
    assert not (tmp_path / "noisy").exists()


def test_an_export_replaces_only_an_earlier_one(checkpoint, tmp_path):
    def tried(folder):
        return main(["--model", "visualbert-vqa", "--checkpoint", str(checkpoint), "--output", str(folder)])

    for folder, lost in ((checkpoint, "best"), (checkpoint / "best", "model.safetensors")):
        with pytest.raises(InputError, match=f"contains .*{lost}"):
            tried(folder)
    with pytest.raises(InputError, match="vocab.txt: is a file"):
        tried(checkpoint / "vocab.txt")
    assert (checkpoint / "best" / "model.safetensors").is_file() and (checkpoint / "vocab.txt").is_file()
    assert tried(tmp_path / "out") == tried(tmp_path / "out") == 0


def test_a_saved_model_replaces_only_an_earlier_one(checkpoint, tmp_path):
    model = VisualBertForQuestionAnswering.from_pretrained(checkpoint)
    model.save_pretrained(tmp_path / "out")
    model.save_pretrained(tmp_path / "out", weights_format="pdparams")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out: the folder contains notes\.txt, which would be lost"):
        model.save_pretrained(tmp_path / "out")
    with pytest.raises(InputError, match=r"notes\.txt: is a file"):
        model.save_pretrained(tmp_path / "out" / "notes.txt")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_full_disk_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pyutils.export.program._write_program", full)
    with pytest.raises(InputError, match=r"served: cannot be written \(No space left on device\); nothing was left"):
        export(question_answering(checkpoint), tmp_path / "served")
    assert not list(tmp_path.iterdir())


def test_the_command_reports_a_lost_checkpoint(tmp_path):
    command = [sys.executable, "-m", "pyutils.export", "--model", "visualbert-vqa", "--checkpoint",
               str(tmp_path / "none"), "--output", str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "no such checkpoint" in done.stderr and "Traceback" not in done.stderr
