"""Texts of VisualBERT's pre-training: captions, questions with answers, statements (paper, section 3.3).

A source reads its splits and turns a record into an example; all random choices come from the given generator.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from pyutils.config import setting
from pyutils.data.annotations import nlvr2
from pyutils.data.annotations.nlvr2 import NLVR2Config
from pyutils.data.features.inputs import RegionInputs
from pyutils.data.records import PairRecord, VQARecord
from pyutils.data.vqa import caption_items
from pyutils.data.vqa import splits as vqa_splits
from pyutils.data.vqa.answers import AnswerVocabulary
from pyutils.data.vqa.caption_items import CaptionItem, CaptionItems, CaptionsConfig
from pyutils.data.vqa.splits import VQAConfig
from pyutils.errors import InputError
from pyutils.text import sequences
from pyutils.text.sequences import TextSequence
from pyutils.text.tokenizer import WordPiece
from visualbert_paddle.tasks.base import VisualBertRunConfig


@dataclass(frozen=True)
class PretrainingConfig:
    """The `pretraining:` section of a configuration."""

    dataset: Literal["coco_captions", "vqa2", "nlvr2"] = setting("coco_captions", "Data to train on.")
    objective: Literal["words", "words_and_matching"] = setting(
        "words", "MLM only, or also matching: caption and image (COCO), truth of the statement (NLVR2)."
    )
    captions: Literal["two", "one"] = setting("two", "COCO: two captions, or one (false at times when matching).")
    false_captions: float = setting(0.5, "COCO with one caption and matching: share of captions of another image.")
    masking: float = setting(0.15, "Share of the words to mask.")
    avoid_unused: bool = setting(False, "Random replacements are never [unused…] pieces; the originals take any piece.")


@dataclass(frozen=True)
class VisualBertPretrainingConfig(VisualBertRunConfig):
    """Configuration of run_pretrain.py."""

    pretraining: PretrainingConfig = setting(PretrainingConfig, "Data set and objective.")
    coco: CaptionsConfig = setting(CaptionsConfig, "Captions.")
    vqa: VQAConfig = setting(VQAConfig, "Questions, answers, answer list.")
    nlvr2: NLVR2Config = setting(NLVR2Config, "Statements about pairs of images.")


class Example(NamedTuple):
    """A text before masking, its images (one, or left and right), and the matching label (None without matching)."""

    text: TextSequence
    images: tuple[str, ...]
    matches: bool | None


class TextSource(ABC):
    """One data set to pre-train on. `pairs`: an example has two images."""

    pairs = False

    def __init__(self, config: VisualBertPretrainingConfig, tokenizer: WordPiece):
        self.config, self.tokenizer = config, tokenizer
        self.matching = config.pretraining.objective == "words_and_matching"

    @abstractmethod
    def read(self, split: str, regions: RegionInputs) -> Sequence[Any]:
        """Read the records of `split` whose images have regions."""

    @abstractmethod
    def example(self, record: Any, rng: np.random.Generator) -> Example:
        """Draw one example of a record."""

    @abstractmethod
    def seed_of(self, record: Any) -> int:
        """The seed of the record's random choices in evaluation."""


class CaptionTexts(TextSource):
    """COCO: `[CLS] caption [SEP] caption [SEP]` or `[CLS] caption [SEP]`."""

    def read(self, split: str, regions: RegionInputs) -> CaptionItems:
        records = regions.available(caption_items.read_split(self.config.coco, split), "image")
        return CaptionItems(records, regions.shown(records))

    def example(self, record: CaptionItem, rng: np.random.Generator) -> Example:
        """One or two captions of the image, or a false caption."""
        settings = self.config.pretraining
        if settings.captions == "two":
            chosen = caption_items.two_captions(record, rng.random(), lambda n: int(rng.integers(n)))
        else:
            share = settings.false_captions if self.matching else 0.0
            chosen = caption_items.one_caption(record, rng.random(), lambda n: int(rng.integers(n)), share)
        text = caption_text(self.tokenizer, chosen, self.config.max_text)
        return Example(text, (record.image,), chosen.matches if self.matching else None)

    def seed_of(self, record: CaptionItem) -> int:
        return record.index


class QuestionTexts(TextSource):
    """VQA v2: `[CLS] question ? answer [SEP]` with one of the answers that humans gave."""

    def __init__(self, config: VisualBertPretrainingConfig, tokenizer: WordPiece):
        super().__init__(config, tokenizer)
        if self.matching:
            raise InputError("vqa2 has no matching to predict: set pretraining.objective to words")
        self.answers = AnswerVocabulary.load(vqa_splits.answer_list(config.vqa))

    def read(self, split: str, regions: RegionInputs) -> Sequence[VQARecord]:
        return regions.shown(regions.available(vqa_splits.read_split(self.config.vqa, split), "image"))

    def example(self, record: VQARecord, rng: np.random.Generator) -> Example:
        """The question with a drawn answer, one in the answer list if there is any; repeated ones are more likely."""
        if not record.answers:
            raise InputError(f"question {record.question_id} has no answers to learn from: take another split")
        known = [answer for answer in record.answers if self.answers.class_of(answer) is not None]
        choices = known or list(record.answers)
        answer = choices[int(rng.integers(len(choices)))]
        text = sequences.question(self.tokenizer, record.question, self.config.max_text, answer)
        return Example(text, (record.image,), None)

    def seed_of(self, record: VQARecord) -> int:
        return record.question_id


class StatementTexts(TextSource):
    """NLVR2: `[CLS] statement [SEP]` about two images."""

    pairs = True

    def read(self, split: str, regions: RegionInputs) -> Sequence[PairRecord]:
        records = regions.available(nlvr2.read_split(self.config.nlvr2, split), "left", "right")
        return regions.shown(records, "left", "right")

    def example(self, record: PairRecord, rng: np.random.Generator) -> Example:
        if self.matching and record.label is None:
            raise InputError(f"example {record.identifier} has no label: set pretraining.objective to words")
        text = sequences.single(self.tokenizer, self.tokenizer.encode(record.sentence), self.config.max_text)
        return Example(text, (record.left, record.right), record.label if self.matching else None)

    def seed_of(self, record: PairRecord) -> int:
        return zlib.crc32(record.identifier.encode())


def caption_text(tokenizer: WordPiece, chosen: caption_items.Captions, max_text: int) -> TextSequence:
    """One or two captions as a sequence of at most `max_text` positions."""
    if chosen.second is None:
        return sequences.single(tokenizer, tokenizer.encode(chosen.first), max_text)
    first, second = tokenizer.encode_batch([chosen.first, chosen.second])
    return sequences.pair(tokenizer, first, second, max_text)


SOURCES: dict[str, Callable[[Any, Any], TextSource]] = {
    "coco_captions": CaptionTexts,
    "vqa2": QuestionTexts,
    "nlvr2": StatementTexts,
}
