"""Questions about scenes with ten answers each, balanced over complementary pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from typing import NamedTuple, Optional

import numpy as np

from pyutils.sample.balance import balanced
from pyutils.sample.language import plural, with_article
from pyutils.sample.scenes import EVERYTHING, SIZES, Concepts, Scene
from pyutils.sample.vqa_files import ANSWERS_PER_QUESTION, Question, answer_type

QUESTIONS_PER_SCENE = 8
# A text may take this much more than its even share, because many texts cannot fill theirs; and at least so many.
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


def question_kinds(concepts: Concepts = EVERYTHING) -> list[list[Asked]]:
    """All question texts about these shapes and colours, one list a kind."""
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


class Placed(NamedTuple):
    """A scene with the id and the name of its picture."""

    image_id: int
    image_name: str
    scene: Scene


def ask(placed: Sequence[Placed], rng: np.random.Generator, concepts: Concepts = EVERYTHING) -> list[Question]:
    """Questions about the scenes of one split, about eight a scene, ordered by picture.

    Every text is asked equally often for each of its answers within the split, on pictures that differ in the answer:
    the text alone does not tell it.
    """
    kinds = question_kinds(concepts)
    share = max(QUESTIONS_PER_SCENE * len(placed) // len(kinds), 2)
    rows: list[tuple[Placed, Asked, str, tuple[str, ...]]] = []
    for kind in kinds:
        chosen: list[tuple[Placed, Asked, str, tuple[str, ...]]] = []
        most = max(round(_ROOM * share / len(kind)), _FEWEST_OF_TEXT)
        # The same order for every split: where there is no room for all texts, the splits leave out the same ones.
        for number in np.random.default_rng(len(kind)).permutation(len(kind)):
            asked = kind[number]
            picked = balanced(_by_answer(asked, placed), rng, most=min(share - len(chosen), most))
            answers = tuple(dict.fromkeys(answer for answer, _ in picked))
            chosen += [(place, asked, answer, answers) for answer, place in picked]
            if len(chosen) >= share - 1:
                break
        rows += chosen
    rows.sort(key=lambda row: (row[0].image_id, row[1].text))
    return list(_numbered(rows, rng))


def _by_answer(asked: Asked, placed: Iterable[Placed]) -> dict[str, list[Placed]]:
    found: dict[str, list[Placed]] = {}
    for place in placed:
        answer = asked.answer(place.scene)
        if answer is not None:
            found.setdefault(answer, []).append(place)
    return found


def _numbered(rows, rng: np.random.Generator) -> Iterable[Question]:
    numbers: dict[int, int] = {}
    for place, asked, answer, answers in rows:
        number = numbers[place.image_id] = numbers.get(place.image_id, -1) + 1
        given = _ten(answer, answers, rng)
        identity = place.image_id * 1000 + number
        kind = answer_type(answer)
        yield Question(identity, place.image_id, place.image_name, asked.text, asked.question_type, kind, given)


def _ten(answer: str, answers: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    """Ten people's answers: at least seven times the true one, the rest another answer to the same text."""
    wrong = [other for other in answers if other != answer]
    given = [answer] * ANSWERS_PER_QUESTION
    for place in rng.permutation(ANSWERS_PER_QUESTION)[: _DISSENT[rng.integers(len(_DISSENT))]]:
        given[place] = wrong[rng.integers(len(wrong))]
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
