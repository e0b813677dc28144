"""Questions about scenes with ten answers each, balanced over complementary images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import NamedTuple, Optional

import numpy as np

from pyutils.sample.balance import balanced
from pyutils.sample.language import plural, with_article
from pyutils.sample.pool import SampleImage
from pyutils.sample.scenes import SIZES, Concepts, Scene
from pyutils.sample.vqa_files import ANSWERS_PER_QUESTION, Question

QUESTIONS_PER_SCENE = 8
# A text may take this multiple of its even share, because many texts cannot fill theirs, and at least this number.
_ROOM, _FEWEST_OF_TEXT = 1.25, 6
# How many of the ten people give another answer than the true one.
_DISSENT = (0, 0, 0, 0, 1, 1, 2, 3)


class Asked(NamedTuple):
    """A question text, its official question type, and its answer in a scene (None where it cannot be asked)."""

    text: str
    question_type: str
    answer: Callable[[Scene], Optional[str]]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _attribute(name: str, **wanted: str) -> Callable[[Scene], Optional[str]]:
    def answer(scene: Scene) -> Optional[str]:
        thing = scene.only(**wanted)
        return getattr(thing, name) if thing else None

    return answer


def _count(**wanted: str) -> Callable[[Scene], str]:
    return lambda scene: str(len(scene.select(**wanted)))


def _relation(method: str, first: str, second: str) -> Callable[[Scene], Optional[str]]:
    def answer(scene: Scene) -> Optional[str]:
        one, other = scene.only(shape=first), scene.only(shape=second)
        if one is None or other is None:
            return None
        holds, reverse = getattr(one, method)(other), getattr(other, method)(one)
        return _yes(holds) if holds or reverse else None

    return answer


def _more(first: str, second: str) -> Callable[[Scene], Optional[str]]:
    def answer(scene: Scene) -> Optional[str]:
        counts = len(scene.select(shape=first)), len(scene.select(shape=second))
        return None if counts == (0, 0) else _yes(counts[0] > counts[1])

    return answer


def question_kinds(concepts: Concepts) -> list[list[Asked]]:
    """All question texts about these shapes and colours, one list per kind."""
    shapes, colours = concepts
    existence = [
        Asked(
            f"Is there {with_article(f'{c} {s}')}?",
            "is there a",
            lambda scene, c=c, s=s: _yes(bool(scene.select(s, c))),
        )
        for c in colours
        for s in shapes
    ]
    colour = [Asked(f"What color is the {s}?", "what color is the", _attribute("colour", shape=s)) for s in shapes]
    colour += [
        Asked(f"What color is the {z} {s}?", "what color is the", _attribute("colour", shape=s, size=z))
        for s in shapes
        for z in SIZES
    ]
    shape = [Asked(f"What shape is the {c} object?", "what", _attribute("shape", colour=c)) for c in colours]
    count = [Asked(f"How many {plural(s)} are there?", "how many", _count(shape=s)) for s in shapes]
    count += [Asked(f"How many {c} objects are there?", "how many", _count(colour=c)) for c in colours]
    count += [Asked(f"How many {z} objects are there?", "how many", _count(size=z)) for z in SIZES]
    count += [Asked("How many objects are in the picture?", "how many", _count())]
    pairs = list(permutations(shapes, 2))
    relation = [Asked(f"Is the {a} left of the {b}?", "is the", _relation("is_left_of", a, b)) for a, b in pairs]
    relation += [Asked(f"Is the {a} above the {b}?", "is the", _relation("is_above", a, b)) for a, b in pairs]
    size = [
        Asked(
            f"Is the {s} large?",
            "is the",
            lambda scene, s=s: _yes(t.size == "large") if (t := scene.only(shape=s)) else None,
        )
        for s in shapes
    ]
    more = [Asked(f"Are there more {plural(a)} than {plural(b)}?", "are there", _more(a, b)) for a, b in pairs]
    return [existence, colour, shape, count, relation, size, more]


class _Row(NamedTuple):
    """A question about an image: its answer there, and all answers that its text has in the split."""

    image: SampleImage
    asked: Asked
    answer: str
    answers: tuple[str, ...]


def ask(images: Sequence[SampleImage], rng: np.random.Generator, concepts: Concepts) -> list[Question]:
    """Questions about the scenes of one split, about eight per scene, ordered by image.

    Every text is asked equally often for each of its answers within the split: the text alone does not reveal it.
    """
    kinds = question_kinds(concepts)
    share = max(QUESTIONS_PER_SCENE * len(images) // len(kinds), 2)
    rows: list[_Row] = []
    for kind in kinds:
        chosen: list[_Row] = []
        most = max(round(_ROOM * share / len(kind)), _FEWEST_OF_TEXT)
        # The same order for every split: without room for all texts, the splits leave out the same ones.
        for number in np.random.default_rng(len(kind)).permutation(len(kind)):
            asked = kind[number]
            by_answer: dict[str, list[SampleImage]] = {}
            for image in images:
                answer = asked.answer(image.scene)
                if answer is not None:
                    by_answer.setdefault(answer, []).append(image)
            picked = balanced(by_answer, rng, most=min(share - len(chosen), most))
            answers = tuple(dict.fromkeys(answer for answer, _ in picked))
            chosen += [_Row(image, asked, answer, answers) for answer, image in picked]
            if len(chosen) >= share - 1:
                break
        rows += chosen
    rows.sort(key=lambda row: (row.image.image_id, row.asked.text))
    numbers: Counter[int] = Counter()
    questions = []
    for image, asked, answer, answers in rows:
        identity = image.image_id * 1000 + numbers[image.image_id]
        numbers[image.image_id] += 1
        given = _ten(answer, answers, rng)
        questions.append(Question(identity, image.image_id, image.name, asked.text, asked.question_type, given))
    return questions


def _ten(answer: str, answers: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    """Ten people's answers: at least seven times the true one, the rest another answer to the same text."""
    wrong = [other for other in answers if other != answer]
    given = [answer] * ANSWERS_PER_QUESTION
    for person in rng.permutation(ANSWERS_PER_QUESTION)[: _DISSENT[rng.integers(len(_DISSENT))]]:
        given[person] = wrong[rng.integers(len(wrong))]
    return tuple(given)


def complementary_pairs(questions: Sequence[Question]) -> list[list[int]]:
    """Pairs of question ids with the same text and different answers, every question in at most one pair."""
    waiting: dict[str, list[Question]] = {}
    pairs = []
    for question in questions:
        others = waiting.setdefault(question.text, [])
        match = next((other for other in others if other.answer != question.answer), None)
        if match is None:
            others.append(question)
        else:
            others.remove(match)
            pairs.append([match.question_id, question.question_id])
    return pairs
