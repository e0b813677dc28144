"""Records: the annotation of one example, one frozen dataclass per task, without pixels, tensors or models.

`image` is an image key: the file name without folder and extension, as feature stores and image folders know it, e.g.
"COCO_val2014_000000262148". Field types are those that `pyutils.data.table.RecordTable` can store in columns.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar, Optional, Union

# x, y of the upper left corner, then width and height, in pixels (COCO's convention).
BoxXYWH = tuple[float, float, float, float]
# x1, y1, x2, y2 in pixels.
BoxXYXY = tuple[float, float, float, float]
VISUAL_GENOME_WEIGHT = 0.5


class Record:
    """What checks of a data set need to know of every record.

    image_fields, text_fields: names of the fields that hold image keys and texts.
    """

    image_fields: ClassVar[tuple[str, ...]] = ("image",)
    text_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that a model reads."""
        return tuple(getattr(self, name) for name in self.text_fields)

    @property
    def labelled(self) -> bool:
        """True if there is something to learn or to measure with."""
        return True

    @property
    def identity(self) -> str:
        """The record in messages."""
        return str(getattr(self, self.image_fields[0]))


@dataclass(frozen=True)
class VQARecord(Record):
    """A question about an image.

    `answers` are the human answers (ten in VQA v2), as the annotation spells them, repeated as often as given; empty
    when the split has none. `question_type` and `answer_type` are the official ones ("what color is the", "number").
    """

    question_id: int
    image: str
    question: str
    answers: tuple[str, ...] = ()
    question_type: str = ""
    answer_type: str = ""
    text_fields = ("question",)

    @property
    def labelled(self) -> bool:
        return bool(self.answers)

    @property
    def identity(self) -> str:
        return f"question {self.question_id}"


@dataclass(frozen=True)
class CaptionRecord(Record):
    """An image with all its captions. `caption_ids` are COCO's annotation ids in the order of `captions`, or empty."""

    image: str
    captions: tuple[str, ...]
    image_id: Union[int, str]
    caption_ids: tuple[int, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        return self.captions


@dataclass(frozen=True)
class PairRecord(Record):
    """Two images and a sentence about both (NLVR2). `label`: is the sentence true; None when not published."""

    identifier: str
    left: str
    right: str
    sentence: str
    label: Optional[bool]
    image_fields = ("left", "right")
    text_fields = ("sentence",)

    @property
    def labelled(self) -> bool:
        return self.label is not None

    @property
    def identity(self) -> str:
        return f"example {self.identifier}"


@dataclass(frozen=True)
class EntailmentRecord(Record):
    """An image as premise and a sentence as hypothesis (SNLI-VE).

    `label` is "entailment", "neutral" or "contradiction"; None when the annotators agreed on none or it is hidden.
    """

    image: str
    sentence: str
    label: Optional[str]
    identifier: str
    text_fields = ("sentence",)

    @property
    def labelled(self) -> bool:
        return self.label is not None

    @property
    def identity(self) -> str:
        return f"example {self.identifier}"


@dataclass(frozen=True)
class ReferRecord(Record):
    """A referring expression and the box of what it refers to (RefCOCO, RefCOCO+, RefCOCOg)."""

    ref_id: int
    sentence_id: int
    image: str
    image_id: int
    expression: str
    box: BoxXYWH
    ann_id: int
    category_id: int
    text_fields = ("expression",)


@dataclass(frozen=True)
class WeightedVQARecord(VQARecord):
    """A VQA question whose different answers are weighted in training (ALBEF's generative VQA).

    `dataset` is "vqa" or "vg" (Visual Genome). `image` is the path that the list gives.
    """

    dataset: str = "vqa"

    def weighted_answers(self) -> dict[str, float]:
        """Return the weight of each different answer: its share of the human answers, in "vg" a constant."""
        counts = Counter(self.answers)
        if self.dataset == "vg":
            return dict.fromkeys(counts, VISUAL_GENOME_WEIGHT)
        return {answer: count / len(self.answers) for answer, count in counts.items()}


@dataclass(frozen=True)
class ExpressionRecord(Record):
    """A referring expression whose box may be unknown: weakly supervised grounding trains without boxes (ALBEF).

    `image` is the path that the list gives. `image_id` is -1, `split` "" and `box` None where the list does not say.
    """

    image: str
    expression: str
    ref_id: int
    image_id: int = -1
    split: str = ""
    box: Optional[BoxXYWH] = None
    text_fields = ("expression",)


@dataclass(frozen=True)
class TaggedText:
    """Text with references to objects of the image (VCR writes "[0, 2] are smiling").

    `words[i]` is a word, or "" for a reference; `objects[i]` are the numbers of the referenced objects, or empty.
    """

    words: tuple[str, ...]
    objects: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class VCRRecord(Record):
    """A question, four answers and four rationales about an image with numbered objects (VCR).

    `object_names[k]` and `object_boxes[k]` (pixels of a `width` x `height` image) describe object `k`. Labels are the
    index of the right choice, None in the test split.
    """

    annot_id: str
    image: str
    question: TaggedText
    answer_choices: tuple[TaggedText, ...]
    rationale_choices: tuple[TaggedText, ...]
    answer_label: Optional[int]
    rationale_label: Optional[int]
    object_names: tuple[str, ...] = ()
    object_boxes: tuple[BoxXYXY, ...] = ()
    width: int = 0
    height: int = 0

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(" ".join((*self.question.words, *answer.words)) for answer in self.answer_choices)

    @property
    def labelled(self) -> bool:
        return self.answer_label is not None and self.rationale_label is not None

    @property
    def identity(self) -> str:
        return f"question {self.annot_id}"


@dataclass(frozen=True)
class Phrase:
    """Words `start` to `end` (exclusive) of a sentence and the boxes of what they name.

    `boxes` is empty when nothing in the image is marked for the phrase. `phrase_id` is the coreference chain it
    belongs to, `phrase_type` Flickr30k Entities' categories ("people", "clothing", …), joined by "/".
    """

    start: int
    end: int
    text: str
    phrase_id: str
    phrase_type: str
    boxes: tuple[BoxXYXY, ...] = ()


@dataclass(frozen=True)
class PhraseRecord(Record):
    """One caption of an image with its marked phrases (Flickr30k Entities). Boxes are pixels of `width` x `height`."""

    image: str
    sentence: str
    phrases: tuple[Phrase, ...] = field(default=())
    sentence_id: int = 0
    width: int = 0
    height: int = 0
    text_fields = ("sentence",)
