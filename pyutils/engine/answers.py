"""What a task is asked, and what it answers: shared by `run_predict.py` and `pyutils.pipeline`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from PIL import Image

from pyutils.data.given_images import opened_image
from pyutils.data.records import BoxXYXY
from pyutils.engine.task import Rows
from pyutils.errors import InputError
from pyutils.visualize.answers import draw_answer

Words = Union[str, Sequence[Any]]
_FRAME = 320


@dataclass(frozen=True)
class Example:
    """One example.

    images: keys in the task's visual source (`SplitTask.hold`), two for NLVR2. phrase: words of `text` to locate
    (Flickr30k Entities); "": all of them. question, choices, answer (before rationales): of VCR, each a text or a list
    of words and of lists of object numbers; object_names and object_boxes (pixels) describe the objects.
    """

    images: tuple[str, ...] = ()
    text: str = ""
    phrase: str = ""
    question: Words = ""
    choices: tuple[Words, ...] = ()
    answer: Words = ""
    object_names: tuple[str, ...] = ()
    object_boxes: tuple[BoxXYXY, ...] = ()


@dataclass(frozen=True)
class Answer(ABC):
    """Answer to one example. `images`: the images as they were given; `text`: the question or sentence."""

    images: tuple[Any, ...] = ()
    text: str = ""

    @abstractmethod
    def rows(self) -> Rows:
        """Return the entries as rows of a table, best first."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """Return the answer's own entries as plain values."""

    def to_dict(self) -> dict[str, Any]:
        """Return text and answer as plain values, ready for JSON; images are left out."""
        return {"text": self.text, **self.values()}

    def first(self, top: int) -> Answer:
        """Return the answer with its best `top` entries only."""
        return self

    def show(self) -> Image.Image:
        """Draw images, text and answer; a notebook displays the returned Pillow image."""
        lines = ["  ".join(map(str, row.values())) for row in self.rows()]
        return draw_answer([_pixels(image) for image in self.images], self.text, lines)


@dataclass(frozen=True)
class Choice:
    """A possible answer and its probability, from 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Choices(Answer):
    """Ranked answers, classes or verdicts: `choices`, the most probable first; `column` names them in tables."""

    choices: tuple[Choice, ...] = ()
    column: str = "answer"

    @property
    def label(self) -> str:
        """The most probable choice."""
        return self.choices[0].label

    @property
    def probability(self) -> float:
        """Probability of the most probable choice."""
        return self.choices[0].probability

    def first(self, top: int) -> Choices:
        return replace(self, choices=self.choices[:top])

    def rows(self) -> Rows:
        return [{self.column: entry.label, "probability": f"{entry.probability:.4f}"} for entry in self.choices]

    def values(self) -> dict[str, Any]:
        return {"choices": [{self.column: entry.label, "probability": entry.probability} for entry in self.choices]}


def ranked_choices(
    names: Sequence[str], probabilities: np.ndarray, column: str = "answer", top: Optional[int] = None
) -> Choices:
    """Make `Choices` of the `top` most probable `names`; `probabilities` `[len(names)]`, -inf for excluded ones."""
    order = [int(n) for n in np.argsort(-probabilities, kind="stable")[:top] if np.isfinite(probabilities[n])]
    return Choices(choices=tuple(Choice(names[n], float(probabilities[n])) for n in order), column=column)


@dataclass(frozen=True)
class Match(Answer):
    """How well text and image belong together.

    score: ITM logit, higher for better pairs. probability: of a match, None for a model that only ranks. similarity:
    cosine of the ITC features, None for a model without them.
    """

    score: float = 0.0
    probability: Optional[float] = None
    similarity: Optional[float] = None

    def rows(self) -> Rows:
        if self.probability is None:
            return [{"verdict": "match", "score": f"{self.score:.4f}"}]
        verdicts = (("match", self.probability), ("no match", 1.0 - self.probability))
        ranked = sorted(verdicts, key=lambda entry: -entry[1])
        return [{"verdict": name, "probability": f"{share:.4f}"} for name, share in ranked]

    def values(self) -> dict[str, Any]:
        return {"score": self.score, "probability": self.probability, "similarity": self.similarity}


@dataclass(frozen=True)
class Box:
    """A box in pixels (left, top, right, bottom), its score, and the number of its region (-1: of none)."""

    box: BoxXYXY
    score: float
    region: int = -1


@dataclass(frozen=True)
class Boxes(Answer):
    """Grounding: `boxes` by falling score; `score_name`: "probability" or "score"; `heat` `[rows, columns]` float32:
    the map that they come from, None for a model that scores regions."""

    boxes: tuple[Box, ...] = ()
    score_name: str = "score"
    heat: Optional[np.ndarray] = None

    @property
    def box(self) -> BoxXYXY:
        """The best box, in pixels: left, top, right, bottom."""
        return self.boxes[0].box

    def first(self, top: int) -> Boxes:
        return replace(self, boxes=self.boxes[:top])

    def rows(self) -> Rows:
        return [
            {
                "region": entry.region,
                self.score_name: f"{entry.score:.4f}",
                "box": " ".join(f"{e:.0f}" for e in entry.box),
            }
            for entry in self.boxes
        ]

    def values(self) -> dict[str, Any]:
        boxes = [{"box": list(entry.box), self.score_name: entry.score, "region": entry.region} for entry in self.boxes]
        return {"boxes": boxes}

    def show(self) -> Image.Image:
        """Draw the image with its boxes, the best one in red, and the text."""
        lines = [f"{self.score_name} {entry.score:.3f}" for entry in self.boxes[:1]]
        pictures = [_pixels(image) for image in self.images]
        return draw_answer(pictures, self.text, lines, [entry.box for entry in self.boxes], self.heat)


@dataclass(frozen=True)
class Hit:
    """A retrieved image or text: `item` as it was given, its `index` in the gallery, and its score."""

    item: Any
    index: int
    score: float


@dataclass(frozen=True)
class Ranking(Answer):
    """Retrieval: `hits` by falling score. Scores of one gallery compare; they are no probabilities."""

    hits: tuple[Hit, ...] = ()

    def first(self, top: int) -> Ranking:
        return replace(self, hits=self.hits[:top])

    def rows(self) -> Rows:
        return [{"item": _name(hit), "score": f"{hit.score:.4f}"} for hit in self.hits]

    def values(self) -> dict[str, Any]:
        return {"hits": [{"item": _name(hit), "index": hit.index, "score": hit.score} for hit in self.hits]}

    def show(self) -> Image.Image:
        """Draw the query and the retrieved images or texts."""
        lines = [f"{row['score']}  {row['item']}" for row in self.rows()]
        return draw_answer([_pixels(image) for image in self.images or [h.item for h in self.hits]], self.text, lines)


@dataclass(frozen=True)
class Features(Answer):
    """Feature vectors `[size]` float32: `image`, `text_vector`, `joint`; None for what the model or input lacks."""

    image: Optional[np.ndarray] = None
    text_vector: Optional[np.ndarray] = None
    joint: Optional[np.ndarray] = None

    def _vectors(self) -> Mapping[str, np.ndarray]:
        every = {"image": self.image, "text_vector": self.text_vector, "joint": self.joint}
        return {name: vector for name, vector in every.items() if vector is not None}

    def rows(self) -> Rows:
        return [{"feature": name, "size": len(vector)} for name, vector in self._vectors().items()]

    def values(self) -> dict[str, Any]:
        return {name: vector.tolist() for name, vector in self._vectors().items()}


def feature_rows(vectors: Mapping[str, np.ndarray]) -> list[Features]:
    """Make one `Features` per row of `vectors`, `[b, size]` each."""
    return [Features(**dict(zip(vectors, row))) for row in zip(*vectors.values())]


def both_given(examples: Sequence[Example]) -> None:
    """Raise InputError for an example without image or text, for a model that encodes both together."""
    if not all(example.images and example.text for example in examples):
        raise InputError("feature-extraction: this model encodes image and text together; give both")


def _pixels(image: Any) -> Image.Image:
    """Return a given image in RGB; region features as an empty frame of the image's size."""
    size = (getattr(image, "width", 0) or _FRAME, getattr(image, "height", 0) or _FRAME)
    return opened_image(image) or Image.new("RGB", size, (235, 235, 235))


def _name(hit: Hit) -> str:
    """Name an item for a table: a text or path itself, the number of an image in memory."""
    return str(hit.item) if isinstance(hit.item, (str, Path)) else f"#{hit.index}"


def described(answers: Iterable[Answer], images: Sequence[tuple[Any, ...]], texts: Sequence[str]) -> list[Any]:
    """Return `answers` with the images and texts that they are about."""
    return [replace(answer, images=own, text=text) for answer, own, text in zip(answers, images, texts)]
