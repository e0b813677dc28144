"""The answers a VQA classifier chooses from, and the soft scores it learns (Teney et al. 2018 and later).

`python -m pyutils.data.vqa answers build --annotations FILE … --output answers_vqa.txt` builds a vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

import numpy as np

from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import atomic_write
from pyutils.formats.json_files import entries_of, read_json
from pyutils.metrics.answer_text import normalise_answer, normalise_prediction
from pyutils.metrics.vqa import best_answers

PathLike = Union[str, Path]
UNKNOWN = "<unk>"
_HUMANS = 10
_AGREEING = 3


def authors_score(counts: np.ndarray, answers: int) -> np.ndarray:
    """VisualBERT's authors: min(1, 0.3 n) for an answer given n times; `counts` [k], returns [k] float32."""
    return np.minimum(1.0, 0.3 * counts).astype(np.float32)


def leave_one_out_score(counts: np.ndarray, answers: int) -> np.ndarray:
    """The evaluation's rule over `answers` human answers: the mean over them of min(1, matches of the others / 3)."""
    own = counts * np.minimum(1.0, (counts - 1) / _AGREEING)
    others = (answers - counts) * np.minimum(1.0, counts / _AGREEING)
    return ((own + others) / answers).astype(np.float32)


# Name in configurations -> (rule, whether answers are first repeated until there are ten).
SCORE_RULES: Mapping[str, tuple[Callable[[np.ndarray, int], np.ndarray], bool]] = {
    "authors": (authors_score, False),
    "mmf": (leave_one_out_score, True),
    "official": (leave_one_out_score, False),
}


class AnswerVocabulary(Sequence[str]):
    """An ordered list of answers; the position is the class.

    `unknown` is the class of `<unk>`, or None when the list has none. It never counts as correct and is never
    submitted unless asked for. Raises InputError for an empty list and for an answer that occurs twice.
    """

    def __init__(self, answers: Iterable[str], source: str = "answer list") -> None:
        self.answers = tuple(answers)
        self.source = source
        self._index = {answer: number for number, answer in enumerate(self.answers)}
        if not self.answers:
            raise InputError(f"{source}: holds no answer")
        if len(self._index) != len(self.answers):
            twice = next(answer for answer, count in Counter(self.answers).items() if count > 1)
            raise InputError(f"{source}: the answer {twice!r} occurs twice; each class needs an answer of its own")
        self.unknown: Optional[int] = self._index.get(UNKNOWN)

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, index):
        return self.answers[index]

    @classmethod
    def load(cls, path: PathLike) -> AnswerVocabulary:
        """An `answers_vqa.txt` (one a line) or a `label2ans.json` (a list, or an object of class to answer).

        Raises InputError when it is missing or of another kind.
        """
        path = Path(path)
        if path.suffix == ".json":
            return cls(_answers_of_json(read_json(path), path), str(path))
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{path}: cannot read the answer list: {error.strerror}; build one with "
                "`python -m pyutils.data.vqa answers build`"
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 text (byte {error.start}); expected one answer a line") from error
        return cls(text.removesuffix("\n").replace("\r", "").split("\n") if text.strip() else (), str(path))

    @classmethod
    def build(cls, counts: Mapping[str, int], minimum: int = 9, unknown: bool = True) -> AnswerVocabulary:
        """Answers given at least `minimum` times, in alphabetical order, after `<unk>` if `unknown`.

        `counts` are of normalised answers (`count_answers`). Raises InputError when none is frequent enough.
        """
        kept = sorted(answer for answer, count in counts.items() if count >= minimum and answer and answer != UNKNOWN)
        if not kept:
            raise InputError(f"none of {len(counts)} answers was given {minimum} times; lower the minimum count")
        return cls([UNKNOWN, *kept] if unknown else kept, f"answers given at least {minimum} times")

    def save(self, path: PathLike) -> None:
        """Write one answer per line, atomically."""
        with atomic_write(path) as stream:
            stream.write("".join(f"{answer}\n" for answer in self.answers))

    def class_of(self, answer: str) -> Optional[int]:
        """The class of an answer: as written, else normalised as MMF's lists are ("man 's hat"), else as the official
        evaluation normalises ("man's hat", LXMERT's lists). None when it is no class or `<unk>`."""
        found = self._index.get(answer)
        for normalise in (normalise_answer, normalise_prediction):
            if found is None:
                found = self._index.get(normalise(answer))
        return None if found == self.unknown else found

    def soft_scores(self, answers: Sequence[str], rule: str = "official") -> tuple[np.ndarray, np.ndarray]:
        """Classes [k] int64, ascending, and scores [k] float32 of one question's human answers; others score 0.

        `rule` is "authors", "mmf" (answers repeated cyclically until there are ten, then leave-one-out) or "official"
        (leave-one-out over the answers given). Answers outside the list take part as disagreement.
        """
        score, repeat = _rule(rule)
        if repeat and 0 < len(answers) < _HUMANS:
            answers = [answers[number % len(answers)] for number in range(_HUMANS)]
        counts = Counter(found for found in map(self.class_of, answers) if found is not None)
        classes = np.array(sorted(counts), dtype=np.int64)
        given = np.array([counts[number] for number in classes.tolist()], dtype=np.float64)
        scores = score(given, len(answers)) if len(counts) else np.empty(0, np.float32)
        return classes, scores

    def valid(self, answers: Iterable[str]) -> list[str]:
        """Those of `answers` that are classes, `["<unk>"]` when none is: the `valid_answers` of an imdb, from which
        MMF computes its scores."""
        return [answer for answer in answers if self.class_of(answer) is not None] or [UNKNOWN]

    def fill(
        self, answers: Sequence[Sequence[str]], rule: str = "official", out: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """Soft scores of a batch, one sequence of human answers each: [b, answers] float32, written to `out` if given.

        Raises ValueError when `out` has another shape.
        """
        shape = (len(answers), len(self))
        labels = np.zeros(shape, dtype=np.float32) if out is None else out
        if labels.shape != shape:
            raise ValueError(f"out has shape {labels.shape}, expected {shape}")
        if out is not None:
            labels[:] = 0
        for row, given in zip(labels, answers):
            classes, scores = self.soft_scores(given, rule)
            row[classes] = scores
        return labels

    def best(self, scores: np.ndarray, allow_unknown: bool = False) -> list[str]:
        """The answer with the highest score in each row of `scores` [n, answers].

        `allow_unknown` submits `<unk>` where it wins, as the authors' code does. Raises InputError when the columns are
        not this list's.
        """
        if np.ndim(scores) != 2 or np.shape(scores)[1] != len(self):
            raise InputError(
                f"{self.source}: {len(self)} answers, but scores of shape {np.shape(scores)}; the model was made with "
                "another answer list"
            )
        return [self.answers[number] for number in best_answers(scores, None if allow_unknown else self.unknown)]

    @property
    def real_answers(self) -> int:
        """Answers without `<unk>`."""
        return len(self) - (self.unknown is not None)


def count_answers(paths: Iterable[PathLike]) -> Counter[str]:
    """How many questions have each normalised answer as the one most humans gave, over official annotation files.

    An imdb (`.npy`) counts by the most frequent of its answers. InputError for a file that is neither.
    """
    counts: Counter[str] = Counter()
    for path in map(Path, paths):
        counts.update(normalise_prediction(answer) for answer in _consensus(path))
    return counts


def _consensus(path: Path) -> Iterator[str]:
    if path.suffix == ".npy":
        from pyutils.data.vqa.annotations import read_imdb

        yield from (Counter(record.answers).most_common(1)[0][0] for record in read_imdb(path) if record.answers)
        return
    for _, entry in entries_of(read_json(path), "annotations", ("multiple_choice_answer",), path):
        yield entry["multiple_choice_answer"]


def _rule(name: str) -> tuple[Callable[[np.ndarray, int], np.ndarray], bool]:
    if name not in SCORE_RULES:
        raise InputError(f"unknown soft-score rule {name!r}: {nearest(name, SCORE_RULES)}")
    return SCORE_RULES[name]


def _answers_of_json(content: object, path: Path) -> list[str]:
    if isinstance(content, dict):
        try:
            content = [content[key] for key in sorted(content, key=int)]
        except ValueError as error:
            raise InputError(f"{path}: expected an object of class number to answer: {error}") from error
    if not isinstance(content, list) or not all(isinstance(answer, str) for answer in content):
        raise InputError(f"{path}: expected a list of answers (label2ans), found something else")
    return content
