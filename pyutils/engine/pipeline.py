"""`pyutils.pipeline`: ask a trained model from Python, the same way for every model.

    from pyutils import pipeline
    ask = pipeline("visual-question-answering", "albef-vqa")
    ask("dog.jpg", "what runs?", top=5)

Models of region features take `RegionFeatures` in place of images, or images with a source of regions.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Optional

import numpy as np

from pyutils.config.command_line import Run
from pyutils.engine.answers import Answer, Choices, Example, Hit, Ranking, Words, described
from pyutils.engine.gallery import Gallery
from pyutils.engine.image_regions import region_describer
from pyutils.engine.opening import open_checkpoint
from pyutils.engine.run import choose_device
from pyutils.engine.split_task import USUAL_TOP, SplitTask
from pyutils.engine.visuals import Visuals, listed, listed_gallery
from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import PathLike
from pyutils.text.cleaning import has_words


class Pipeline(ABC):
    """A trained task that answers given examples in batches.

    `name`: the pipeline's name. Every call takes one example, or lists of them and then returns a list; one image goes
    with a list of texts and one text with a list of images. Images: a path, a Pillow image, an array `[h, w, 3]` uint8
    (RGB) or, for a model of regions, `RegionFeatures`.
    """

    name: ClassVar[str]

    def __init__(self, task: SplitTask, visuals: Visuals, batch_size: int) -> None:
        self.task, self.visuals, self.batch_size = task, visuals, batch_size

    def _answers(
        self, images: Sequence[tuple[Any, ...]], examples: Sequence[Example], top: int, with_text: bool = True
    ) -> list[Any]:
        """Answer `examples`, each about its own `images`, in batches; checks everything before the first batch."""
        if top < 1:
            raise InputError(f"top: expected 1 or more, found {top}")
        if with_text:
            _check_texts([example.text or example.question for example in examples])
        given = [tuple(self.visuals.given(image) for image in own) for own in images]
        answer: Any = self.task.pipelines[self.name]
        answers: list[Answer] = []
        for start in range(0, len(examples), self.batch_size):
            part = slice(start, start + self.batch_size)
            distinct = {id(image): image for own in given[part] for image in own}
            held = self.visuals.read(list(distinct.values()))
            keys = dict(zip(distinct, self.task.hold(held, [image.name for image in distinct.values()])))
            asked = [
                replace(example, images=tuple(keys[id(image)] for image in own))
                for example, own in zip(examples[part], given[part])
            ]
            answers += answer(self.task, asked, top)
        shown = [tuple(image.shown for image in own) for own in given]
        texts = [" ".join(map(str, example.question)) if example.question else example.text for example in examples]
        return [answer.first(top) for answer in described(answers, shown, texts)]


def _check_texts(texts: Sequence[Words]) -> None:
    for number, text in enumerate(texts):
        if not text or (isinstance(text, str) and not has_words(text)):
            raise InputError(f"text {number}: {text!r} has no letter or digit; write a sentence or a question")


def _as_list(values: Any) -> tuple[list[Any], bool]:
    """Return one or several values as a list, and whether they were several."""
    found = listed(values)
    return ([values], False) if found is None else (found, True)


def _paired(first: Any, second: Any, kinds: tuple[str, str]) -> tuple[list[Any], list[Any], bool]:
    """Return two arguments as lists of one length, and whether either was a list."""
    (left, several_left), (right, several_right) = _as_list(first), _as_list(second)
    left = left if several_left else left * len(right)
    right = right if several_right else right * len(left)
    if len(left) != len(right):
        raise InputError(f"{len(left)} {kinds[0]} and {len(right)} {kinds[1]}: give one for each, or a single one")
    return left, right, several_left or several_right


class _OneImage(Pipeline):
    """A pipeline of an image and a text."""

    def _ask(self, image: Any, text: Any, top: int, **fields: Any) -> Any:
        images, texts, several = _paired(image, text, ("images", "texts"))
        answers = self._answers([(each,) for each in images], [Example(text=each, **fields) for each in texts], top)
        return answers if several else answers[0]


class QuestionAnswering(_OneImage):
    """Answers questions about images."""

    name = "visual-question-answering"

    def __call__(self, image: Any, question: Any, top: int = USUAL_TOP) -> Any:
        """Return the `top` answers as `Choices`, or a list of them."""
        return self._ask(image, question, top)


class ImageTextMatching(_OneImage):
    """Scores how well texts and images belong together."""

    name = "image-text-matching"

    def __call__(self, image: Any, text: Any) -> Any:
        """Return a `Match`, or a list of them."""
        return self._ask(image, text, 1)


class VisualEntailment(_OneImage):
    """Decides if an image entails a sentence."""

    name = "visual-entailment"

    def __call__(self, image: Any, sentence: Any) -> Any:
        """Return the classes as `Choices`, or a list of them."""
        return self._ask(image, sentence, USUAL_TOP)


class NLVR(Pipeline):
    """Decides if a sentence is true of two images."""

    name = "nlvr"

    def __call__(self, left: Any, right: Any, sentence: Any) -> Any:
        """Return False and True as `Choices`, the more probable first, or a list of them."""
        lefts, rights, first = _paired(left, right, ("left images", "right images"))
        together = list(zip(lefts, rights))
        numbers, texts, second = _paired(list(range(len(together))) if first else 0, sentence, _PAIRS)
        answers = self._answers([together[n] for n in numbers], [Example(text=text) for text in texts], 2)
        return answers if first or second else answers[0]


class Grounding(_OneImage):
    """Finds what an expression describes in an image."""

    name = "grounding"

    def __call__(
        self, image: Any, expression: Any, top: int = USUAL_TOP, phrase: str = "", boxes: Sequence[Any] = ()
    ) -> Any:
        """Return the `top` boxes as `Boxes`, or a list of them.

        Args:
            phrase: words of the expression to find, for a model that grounds the phrases of a sentence.
            boxes: (left, top, right, bottom) in pixels to choose among, for ALBEF; without them, the region around the
                peak of its heat map is the box. A model of regions chooses among its regions.
        """
        boxes = tuple(tuple(float(edge) for edge in box) for box in boxes)
        if any(len(box) != 4 or box[0] >= box[2] or box[1] >= box[3] for box in boxes):
            raise InputError("boxes: expected left, top, right, bottom in pixels for each box")
        if boxes and self.task.visual_input == "regions":
            raise InputError("boxes: this model chooses among its regions; leave boxes out")
        if phrase and "phrase" not in self.task.example_flags:
            raise InputError(f"phrase: {self.task.name} locates the whole expression; leave phrase out")
        return self._ask(image, expression, top, phrase=phrase, object_boxes=boxes)


class VisualCommonsense(Pipeline):
    """Chooses one of four answers, or rationales, about an image (VCR)."""

    name = "visual-commonsense"

    def __call__(
        self, image: Any, question: Words, choices: Sequence[Words], answer: Words = "", objects: Sequence[Any] = ()
    ) -> Choices:
        """Return the four choices as `Choices`, the most probable first.

        Args:
            question, choices, answer: texts, or lists of words and of lists of numbers of `objects` (VCR's own form).
                answer: for a QA→R model, whose choices are rationales.
            objects: names ("person", "dog"), or (name, (left, top, right, bottom)) in pixels.
        """
        named = [(each, None) if isinstance(each, str) else each for each in objects]
        boxes: Any = tuple(tuple(map(float, box)) for _, box in named if box is not None)
        if boxes and len(boxes) != len(named):
            raise InputError("objects: give a box for every object, or for none")
        asked = Example((), "", "", question, tuple(choices), answer, tuple(name for name, _ in named), boxes)
        return self._answers([(image,)], [asked], len(choices) or 1)[0]


class FeatureExtraction(Pipeline):
    """Computes feature vectors of images, texts or both together."""

    name = "feature-extraction"

    def __call__(self, image: Any = None, text: Any = None) -> Any:
        """Return `Features`, or a list of them. Some models need image and text."""
        if image is None and text is None:
            raise InputError("feature-extraction: give an image, a text, or both")
        if image is None or text is None:
            given = text if image is None else image
            values, several = _as_list(given)
            examples = [Example(text=value if image is None else "") for value in values]
            about = [() if image is None else (value,) for value in values]
            answers = self._answers(about, examples, 1, with_text=text is not None)
        else:
            images, texts, several = _paired(image, text, ("images", "texts"))
            answers = self._answers([(each,) for each in images], [Example(text=each) for each in texts], 1)
        return answers if several else answers[0]


class Retrieval(Pipeline):
    """Finds images for a text in a gallery, and texts for an image."""

    name = "retrieval"
    _gallery: Optional[Gallery] = None
    _items: Sequence[Any] = ()

    def index(self, images: Any) -> Retrieval:
        """Make a gallery of a folder, a list of images, or (None) all images of the region source; returns itself."""
        self.close()
        items = listed_gallery(images, self.visuals)
        self._items, self._gallery = items, self._open(items)
        return self

    def __call__(self, text: Any, gallery: Any = None, top: int = USUAL_TOP) -> Any:
        """Return the `top` images of the gallery for a text as `Ranking`, or a list of them.

        `gallery`: see `index`; None: the one that `index` made.
        """
        if gallery is not None:
            self.index(gallery)
        if self._gallery is None:
            raise InputError("retrieval: no gallery; give a folder or a list of images, or call index() before")
        texts, several = _as_list(text)
        _check_texts(texts)
        scores = self._gallery.scores(texts)
        rankings = [_ranking(self._items, own, top, text=each) for own, each in zip(scores, texts)]
        return rankings if several else rankings[0]

    def texts(self, image: Any, texts: Sequence[str], top: int = USUAL_TOP) -> Any:
        """Return the `top` of `texts` for an image as `Ranking`, or a list of them for a list of images."""
        images, several = _as_list(image)
        texts = list(texts)
        _check_texts(texts)
        gallery = self._open(images)
        try:
            scores = gallery.scores(texts, for_images=True)
        finally:
            gallery.close()
        rankings = [_ranking(texts, own, top, images=(each,)) for own, each in zip(scores.T, images)]
        return rankings if several else rankings[0]

    def close(self) -> None:
        """Remove the gallery and its temporary files."""
        if self._gallery is not None:
            self._gallery.close()
        self._gallery, self._items = None, ()

    def _open(self, items: Sequence[Any]) -> Any:
        if not items:
            raise InputError("retrieval: the gallery is empty; give a folder with images, or a list of them")
        given = [self.visuals.given(item) for item in items]

        def chunks() -> Iterator[Sequence[str]]:
            for start in range(0, len(given), self.batch_size):
                part = given[start : start + self.batch_size]
                yield self.task.hold(self.visuals.read(part), [image.name for image in part])

        return self.task.pipelines[self.name](self.task, chunks)


def _ranking(items: Sequence[Any], scores: np.ndarray, top: int, **about: Any) -> Ranking:
    """Rank `items` by `scores`, without those at -inf."""
    order = np.argsort(-scores, kind="stable")[:top].tolist()
    return Ranking(hits=tuple(Hit(items[n], n, float(scores[n])) for n in order if np.isfinite(scores[n])), **about)


_PAIRS = ("pairs of images", "sentences")
PIPELINES: dict[str, type[Pipeline]] = {
    kind.name: kind
    for kind in (
        QuestionAnswering,
        ImageTextMatching,
        Retrieval,
        VisualEntailment,
        NLVR,
        Grounding,
        VisualCommonsense,
        FeatureExtraction,
    )
}


def pipeline(
    task: str,
    checkpoint: PathLike,
    regions: Any = None,
    batch_size: int = 16,
    config: Optional[PathLike] = None,
    settings: Mapping[str, Any] | None = None,
    member: str = "",
    device: str = "",
) -> Any:
    """Load a trained model to ask it.

    Args:
        task: a key of `PIPELINES`, e.g. "visual-question-answering".
        checkpoint: a checkpoint folder, the output folder of a run, a weight file of any code base, or a name
            (`python -m pyutils.weights list`).
        regions: where a model of regions finds those of an image: the path of a store, whose keys are the images' file
            names; or an object whose `describe([array, …])` returns `RegionFeatures`. None: the extractor that the
            checkpoint was trained with, if it was one of ours.
        batch_size: examples computed at once. config: the configuration of weights without one. settings: dotted
            fields of the configuration to override, e.g. {"k_test": 16}. member: the task of a multi-task checkpoint.
        device: "cpu" leaves a GPU unused.

    Raises:
        InputError: an unknown task; no such checkpoint; one that the task is not for; a missing answer list.
    """
    if task not in PIPELINES:
        raise InputError(f"unknown task {task!r}: {nearest(task, PIPELINES)}")
    if batch_size < 1:
        raise InputError(f"batch_size: expected 1 or more, found {batch_size}")
    choose_device(Run(None, extra={"device": device} if device else {}))
    opened = open_checkpoint(task, checkpoint, config, settings, member)
    built = opened.build()
    source = region_describer(opened.config, opened.file.parent) if regions is None else regions
    return PIPELINES[task](built, Visuals(opened.task_class.visual_input, source), batch_size)
