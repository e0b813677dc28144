"""Export ALBEF (`python -m pyutils.export`) and run the exported model on image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from albef_paddle.config import AlbefConfig
from albef_paddle.network.classification import AlbefForEntailment, AlbefForReasoning
from albef_paddle.network.itc import encode_pairs
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.network.retrieval import AlbefForRetrieval
from pyutils.data.annotations.albef import read_answer_list
from pyutils.data.images import Images
from pyutils.data.transforms import albef_transform
from pyutils.export.program import Exportable
from pyutils.export.served import VOCABULARY, Answer, RunFolder, ServedModel, check_pairs, ranked
from pyutils.formats.atomic import PathLike
from pyutils.metrics.classification import softmax
from pyutils.text.cleaning import clean_caption, clean_question
from pyutils.text.sequences import pad
from pyutils.text.tokenizer import WordPiece

_MAX_WORDS, _QUESTION_TOKENS, _CAPTION_TOKENS, _CANDIDATES = 30, 25, 30, 128


class _Matching(nn.Layer):
    def __init__(self, model: AlbefForRetrieval):
        super().__init__()
        self.model = model

    def forward(self, images, input_ids, text_mask):
        """Return normalised features `[batch, embed_dim]` of images and texts, and ITM logits `[batch, 2]`."""
        own = encode_pairs(self.model, images, input_ids, text_mask)
        memories = self.model.text.memories(own.image_states)
        return own.image_features, own.text_features, self.model.itm_logits(own.text_states, text_mask, memories)


class _Answering(nn.Layer):
    """The answer list is part of the program; its inputs are a question and its image."""

    def __init__(self, model: AlbefForQuestionAnswering, ids: np.ndarray, mask: np.ndarray, k: int):
        super().__init__()
        self.model, self.k = model, min(k, len(ids))
        self.register_buffer("candidate_ids", paddle.to_tensor(ids))
        self.register_buffer("candidate_mask", paddle.to_tensor(mask))

    def forward(self, images, question_ids, question_mask):
        """Return probabilities `[questions, answers]`, 0 for answers not among the `k` with the likeliest first word.

        As `AlbefForQuestionAnswering.rank`, with sizes that are not known in advance.
        """
        model, questions = self.model, question_ids.shape[0]
        memories = model.question_memories(model, images, question_ids, question_mask)
        first, chosen = model.likely_answers(memories, self.candidate_ids, questions, self.k)
        rows = chosen.reshape([-1])
        ids, mask = paddle.gather(self.candidate_ids, rows), paddle.gather(self.candidate_mask, rows)
        logits = model.decoder.logits(model.decoder.states(ids, mask, memories)[:, :-1])
        # [questions · k, a - 1]: cross entropy of every next word
        losses = F.cross_entropy(logits, ids[:, 1:].unsqueeze(-1), reduction="none").squeeze(-1)
        likelihood = (losses * mask[:, 1:].astype("float32")).sum(axis=1).reshape([-1, self.k])
        shares = F.softmax(paddle.log(first) - likelihood, axis=1)
        return paddle.put_along_axis(paddle.zeros([questions, self.candidate_ids.shape[0]]), chosen, shares, axis=1)


class _Classifying(nn.Layer):
    def __init__(self, model: nn.Layer):
        super().__init__()
        self.model = model

    def forward(self, images, input_ids, text_mask):
        """Return logits `[batch, classes]`."""
        return self.model(images, input_ids, text_mask)


def retrieval(checkpoint: PathLike) -> Exportable:
    """Prepare the retrieval model of a checkpoint folder, an output folder or a known name.

    Raises:
        InputError: the checkpoint is of another model.
    """
    model = AlbefForRetrieval.from_pretrained(checkpoint)
    outputs = ["image_feature", "text_feature", "match_logits"]
    return _exportable(_Matching(model), RunFolder(checkpoint), model.config, outputs, _CAPTION_TOKENS)


def entailment(checkpoint: PathLike) -> Exportable:
    """Prepare the SNLI-VE model of a checkpoint, as `retrieval` does."""
    return _classifier(checkpoint, AlbefForEntailment, 1)


def reasoning(checkpoint: PathLike) -> Exportable:
    """Prepare the NLVR2 model of a checkpoint, with images `[batch, 2, 3, size, size]`, as `retrieval` does."""
    return _classifier(checkpoint, AlbefForReasoning, 2)


def _classifier(checkpoint: PathLike, model_class: Any, images: int) -> Exportable:
    model = model_class.from_pretrained(checkpoint)
    return _exportable(_Classifying(model), RunFolder(checkpoint), model.config, ["logits"], _CAPTION_TOKENS, images)


def question_answering(checkpoint: PathLike) -> Exportable:
    """Prepare the VQA model of a checkpoint folder with `vocab.txt` and its answer list, which the program contains.

    Raises:
        InputError: the checkpoint is of another model, or a file is missing.
    """
    run = RunFolder(checkpoint)
    answers = run.beside(run.config.get("answer_list") or "answer_list.json")
    texts = read_answer_list(answers)
    tokenizer = WordPiece(run.path / VOCABULARY, special_in_text=True)
    model = AlbefForQuestionAnswering.from_pretrained(checkpoint)
    most = model.config.text.max_positions - 1
    rows = [[*_ids(tokenizer, text, most), tokenizer.sep] for text in texts]
    mask = pad([[1] * len(row) for row in rows], 0)
    item = _Answering(model, pad(rows, tokenizer.pad), mask, int(run.config.get("k_test", _CANDIDATES)))
    return _exportable(item, run, model.config, ["probabilities"], _QUESTION_TOKENS, text="question", more=[answers])


def _exportable(
    layer: nn.Layer,
    run: RunFolder,
    config: AlbefConfig,
    outputs: Sequence[str],
    max_tokens: int,
    images: int = 1,
    text: str = "",
    more: Sequence[Path] = (),
) -> Exportable:
    """`images`: number per text. `text`: prefix of the text inputs. `more`: files copied beside the program."""
    size = config.vision.image_size
    names = (f"{text}_ids", f"{text}_mask") if text else ("input_ids", "text_mask")
    image_shape = [3, size, size] if images == 1 else [images, 3, size, size]

    def example(number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        batch, words = number + 1, int(rng.integers(4, 10))
        ids, mask = rng.integers(0, config.text.vocab_size, (batch, words)), np.ones((batch, words), "int64")
        mask[0, words - 1 :] = 0
        pixels = rng.standard_normal((batch, *image_shape)).astype("float32")
        return {"images": pixels, names[0]: ids, names[1]: mask}

    inputs: dict[str, Any] = {
        "images": ([None, *image_shape], "float32"),
        **{name: ([None, None], "int64") for name in names},
    }
    settings = {
        "image_size": size,
        "max_words": int(run.config.get("max_words", _MAX_WORDS)),
        "max_tokens": run.limit("max_tokens", max_tokens, config.text.max_positions),
        "answers": more[0].name if more else "",
    }
    return Exportable(layer, inputs, outputs, example, run.files(*more), settings)


def _ids(tokenizer: WordPiece, text: str, max_tokens: int) -> list[int]:
    return [tokenizer.cls, *tokenizer.encode(text, max_words=max_tokens - 1)]


class _ImageModel(ServedModel):
    """An exported model of texts and image files."""

    special_in_text = True

    def text_arrays(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and mask `[texts, t]` int64 of cleaned texts."""
        rows = [_ids(self.tokenizer, text, self.settings["max_tokens"]) for text in texts]
        return pad(rows, self.tokenizer.pad), pad([[1] * len(row) for row in rows], 0)

    def pixels(self, files: Sequence[PathLike]) -> np.ndarray:
        """Read image files as `[files, 3, size, size]` float32. Raises InputError for a missing or damaged one."""
        reader = Images([], albef_transform("evaluate", self.settings["image_size"]))
        return np.stack([reader.read_file(Path(file).expanduser()) for file in files])


class AnsweringPredictor(_ImageModel):
    """Answers questions about image files with an exported model: `AnsweringPredictor("served/vqa")`."""

    read_answers = staticmethod(read_answer_list)

    def answer(self, questions: Sequence[str], images: Sequence[PathLike], top: int = 1) -> list[list[Answer]]:
        """Return the `top` answers to each question about the image file at its position."""
        check_pairs(questions, images, "questions")
        words = self.settings["max_words"]
        ids, mask = self.text_arrays([clean_question(question, words) for question in questions])
        found = self.predictor(images=self.pixels(images), question_ids=ids, question_mask=mask)
        return ranked(found["probabilities"], self.answers, top)


class Match(NamedTuple):
    """Scores of a text and an image: cosine of their features, and ITM probability."""

    similarity: float
    probability: float


class MatchingPredictor(_ImageModel):
    """Scores texts and image files with an exported retrieval model."""

    def match(self, texts: Sequence[str], images: Sequence[PathLike]) -> list[Match]:
        """Return a `Match` for each text and the image file at its position."""
        check_pairs(texts, images, "texts")
        words = self.settings["max_words"]
        ids, mask = self.text_arrays([clean_caption(text, words) for text in texts])
        found = self.predictor(images=self.pixels(images), input_ids=ids, text_mask=mask)
        cosines = (found["image_feature"] * found["text_feature"]).sum(axis=1)
        probabilities = softmax(found["match_logits"])[:, 1]
        return [Match(float(cosine), float(probability)) for cosine, probability in zip(cosines, probabilities)]
