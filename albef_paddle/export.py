"""ALBEF for serving: what `python -m pyutils.export` writes, and asking it about image files."""

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
from pyutils.export import Exportable, Predictor
from pyutils.export.folders import (
    VOCABULARY,
    Answer,
    beside,
    checkpoint_folder,
    paired,
    ranked,
    required,
    run_settings,
)
from pyutils.formats.atomic import PathLike
from pyutils.metrics.classification import softmax
from pyutils.text.cleaning import clean_caption, clean_question
from pyutils.text.sequences import pad
from pyutils.text.tokenizer import WordPiece

ANSWERS = "answer_list.json"
_MAX_WORDS, _QUESTION_TOKENS, _CAPTION_TOKENS, _CANDIDATES = 30, 25, 30, 128
CLASSIFIERS = {"entailment": AlbefForEntailment, "reasoning": AlbefForReasoning}


class _Matching(nn.Layer):
    def __init__(self, model: AlbefForRetrieval):
        super().__init__()
        self.model = model

    def forward(self, images, input_ids, text_mask):
        """Unit features `[batch, embed_dim]` of images and texts, and matching logits `[batch, 2]`."""
        own = encode_pairs(self.model, images, input_ids, text_mask)
        memories = self.model.text.memories(own.image_states)
        return own.image_features, own.text_features, self.model.itm_logits(own.text_states, text_mask, memories)


class _Answering(nn.Layer):
    """The answer list is part of the program, so that only a question and its image are given."""

    def __init__(self, model: AlbefForQuestionAnswering, ids: np.ndarray, mask: np.ndarray, k: int):
        super().__init__()
        self.model, self.k = model, min(k, len(ids))
        self.register_buffer("candidate_ids", paddle.to_tensor(ids))
        self.register_buffer("candidate_mask", paddle.to_tensor(mask))

    def forward(self, images, question_ids, question_mask):
        """Probabilities `[questions, answers]`, 0 for answers that are not among the `k` of likeliest first word.

        The same as `AlbefForQuestionAnswering.rank`, with sizes that need not be known in advance.
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
        """Logits `[batch, classes]`."""
        return self.model(images, input_ids, text_mask)


def retrieval(checkpoint: PathLike) -> Exportable:
    """The retrieval model of a checkpoint folder, an output folder or a known name. InputError when it is none."""
    model = AlbefForRetrieval.from_pretrained(checkpoint)
    outputs = ["image_feature", "text_feature", "match_logits"]
    return _exportable(_Matching(model), checkpoint, model.config, outputs, _CAPTION_TOKENS)


def entailment(checkpoint: PathLike) -> Exportable:
    """The SNLI-VE model of a checkpoint; its argument and errors as in `retrieval`."""
    return _classifier(checkpoint, "entailment", 1)


def reasoning(checkpoint: PathLike) -> Exportable:
    """The NLVR2 model of a checkpoint, which takes `[batch, 2, 3, size, size]`; otherwise as `retrieval`."""
    return _classifier(checkpoint, "reasoning", 2)


def _classifier(checkpoint: PathLike, kind: str, images: int) -> Exportable:
    model = CLASSIFIERS[kind].from_pretrained(checkpoint)
    return _exportable(_Classifying(model), checkpoint, model.config, ["logits"], _CAPTION_TOKENS, images)


def question_answering(checkpoint: PathLike) -> Exportable:
    """The VQA model of a checkpoint folder with `vocab.txt` and its answer list, which become part of the program.

    InputError when it is no such checkpoint, or a file is missing.
    """
    folder = checkpoint_folder(checkpoint)
    run = run_settings(folder)
    answers = beside(folder, run.get("answer_list"), ANSWERS)
    required(folder, [VOCABULARY, answers.name])
    model = AlbefForQuestionAnswering.from_pretrained(checkpoint)
    tokenizer = WordPiece(folder / VOCABULARY, special_in_text=True)
    most = model.config.text.max_positions - 1
    rows = [[*_ids(tokenizer, text, most), tokenizer.sep] for text in read_answer_list(answers)]
    mask = pad([[1] * len(row) for row in rows], 0)
    item = _Answering(model, pad(rows, tokenizer.pad), mask, int(run.get("k_test", _CANDIDATES)))
    return _exportable(
        item, checkpoint, model.config, ["probabilities"], _QUESTION_TOKENS, text="question", more=[answers]
    )


def _exportable(
    layer: nn.Layer,
    checkpoint: PathLike,
    config: AlbefConfig,
    outputs: Sequence[str],
    max_tokens: int,
    images: int = 1,
    text: str = "",
    more: Sequence[Path] = (),
) -> Exportable:
    """`images`: how many a text is read with. `text`: what its inputs are called. `more`: files to send along."""
    folder, size = checkpoint_folder(checkpoint), config.vision.image_size
    run = run_settings(folder)
    names = (f"{text}_ids", f"{text}_mask") if text else ("input_ids", "text_mask")
    picture = [3, size, size] if images == 1 else [images, 3, size, size]

    def example(number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        batch, words = number + 1, int(rng.integers(4, 10))
        ids, mask = rng.integers(0, config.text.vocab_size, (batch, words)), np.ones((batch, words), "int64")
        mask[0, words - 1 :] = 0
        pixels = rng.standard_normal((batch, *picture)).astype("float32")
        return {"images": pixels, names[0]: ids, names[1]: mask}

    inputs: dict[str, Any] = {
        "images": ([None, *picture], "float32"),
        **{name: ([None, None], "int64") for name in names},
    }
    settings = {
        "image_size": size,
        "max_words": int(run.get("max_words", _MAX_WORDS)),
        "max_tokens": min(int(run.get("max_tokens", max_tokens)), config.text.max_positions),
        "answers": more[0].name if more else "",
    }
    files = [path for path in (folder / VOCABULARY, *more) if path.is_file()]
    return Exportable(layer, inputs, outputs, example, files, settings)


def _ids(tokenizer: WordPiece, text: str, max_tokens: int) -> list[int]:
    return [tokenizer.cls, *tokenizer.encode(text, max_words=max_tokens - 1)]


class _Served:
    """An exported model with its tokenizer. `options` are those of `pyutils.export.Predictor`."""

    def __init__(self, folder: PathLike, **options) -> None:
        self.predictor = Predictor(folder, **options)
        self.folder = required(folder, [VOCABULARY])
        self.tokenizer = WordPiece(self.folder / VOCABULARY, special_in_text=True)

    def text_arrays(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask `[texts, t]` int64 of cleaned texts."""
        rows = [_ids(self.tokenizer, text, self.predictor.settings["max_tokens"]) for text in texts]
        return pad(rows, self.tokenizer.pad), pad([[1] * len(row) for row in rows], 0)

    def pixels(self, files: Sequence[PathLike]) -> np.ndarray:
        """Image files as `[files, 3, size, size]` float32. InputError for a missing or damaged one."""
        transform = albef_transform("evaluate", self.predictor.settings["image_size"])
        reader = Images([], transform)
        return np.stack([reader.read_file(Path(file).expanduser()) for file in files])


class AnsweringPredictor(_Served):
    """Answers questions about image files with an exported model: `AnsweringPredictor("served/vqa")`."""

    def __init__(self, folder: PathLike, **options) -> None:
        super().__init__(folder, **options)
        required(folder, [self.predictor.settings["answers"]])
        self.answers = read_answer_list(self.folder / self.predictor.settings["answers"])

    def answer(self, questions: Sequence[str], pictures: Sequence[PathLike], top: int = 1) -> list[list[Answer]]:
        """The `top` answers to each question about the image file at the same place in `pictures`."""
        paired(questions, pictures, "questions")
        words = self.predictor.settings["max_words"]
        ids, mask = self.text_arrays([clean_question(question, words) for question in questions])
        found = self.predictor(images=self.pixels(pictures), question_ids=ids, question_mask=mask)
        return ranked(found["probabilities"], self.answers, top)


class Match(NamedTuple):
    """How text and image fit: cosine of their features, and the probability that they belong together."""

    similarity: float
    probability: float


class MatchingPredictor(_Served):
    """Tells how texts and image files fit with an exported retrieval model."""

    def match(self, texts: Sequence[str], pictures: Sequence[PathLike]) -> list[Match]:
        """One `Match` for each text and the image file at the same place in `pictures`."""
        paired(texts, pictures, "texts")
        words = self.predictor.settings["max_words"]
        ids, mask = self.text_arrays([clean_caption(text, words) for text in texts])
        found = self.predictor(images=self.pixels(pictures), input_ids=ids, text_mask=mask)
        cosines = (found["image_feature"] * found["text_feature"]).sum(axis=1)
        return [
            Match(float(cosine), float(share)) for cosine, share in zip(cosines, softmax(found["match_logits"])[:, 1])
        ]
