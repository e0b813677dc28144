"""Answer vocabulary of a VQA classifier, and the soft scores it learns (Teney et al. 2018 and later).

`python -m pyutils.data.vqa answers build --annotations FILE … --output answers_vqa.txt` builds a vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

import numpy as np

from pyutils.data.records import VQARecord
from pyutils.data.vqa.annotations import answers_of
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write
from pyutils.formats.json_files import read_json
from pyutils.metrics.answer_text import normalise_answer, normalise_prediction
from pyutils.metrics.vqa import agreement

PathLike = Union[str, Path]
UNKNOWN = "<unk>"
_HUMANS = 10
_FEW_COVERED = 0.5

SCORE_RULES = ("authors", "mmf", "official")
"""Rules of `AnswerVocabulary.soft_scores`."""


class AnswerVocabulary(Sequence[str]):
    """An ordered list of answers; the position is the class.

    `unknown` is the class of `<unk>`, or None when the list has none; it never counts as correct. Raises InputError,
    naming `source`, for an empty list and for an answer that occurs twice.
    """

    def __init__(self, answers: Iterable[str], source: str = "answer list") -> None:
        self.answers = tuple(answers)
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
        """Load an `answers_vqa.txt` (one per line) or a `label2ans.json` (a list, or an object of class to answer).

        Raises InputError when it is missing or of another kind.
        """
        path = Path(path)
        if path.suffix == ".json":
            return cls(_answers_of_json(read_json(path), path), str(path))
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: cannot read the answer list, UTF-8 text with one answer per line: {error}; build one with "
                "`python -m pyutils.data.vqa answers build`"
            ) from error
        return cls(text.removesuffix("\n").replace("\r", "").split("\n") if text.strip() else (), str(path))

    @classmethod
    def build(cls, counts: Mapping[str, int], minimum: int = 9, unknown: bool = True) -> AnswerVocabulary:
        """Keep the answers given at least `minimum` times, in alphabetical order, after `<unk>` if `unknown`.

        `counts` are of normalised answers (`count_answers`). Raises InputError when none is frequent enough.
        """
        kept = sorted(answer for answer, count in counts.items() if count >= minimum and answer and answer != UNKNOWN)
        if not kept:
            raise InputError(
                f"no answer was given to {minimum} questions ({len(counts)} different ones); use all annotations of "
                "VQA v2, or lower the minimum count"
            )
        return cls([UNKNOWN, *kept] if unknown else kept, f"answers given at least {minimum} times")

    def save(self, path: PathLike) -> None:
        """Write one answer per line, atomically."""
        with atomic_write(path) as stream:
            stream.write("".join(f"{answer}\n" for answer in self.answers))

    def class_of(self, answer: str) -> Optional[int]:
        """Return the class of an answer; None when it is not in the list or is `<unk>`.

        The answer is looked up as written, then normalised as in MMF's lists ("man 's hat"), then as in the official
        evaluation ("man's hat", LXMERT's lists).
        """
        found = self._index.get(answer)
        for normalise in (normalise_answer, normalise_prediction):
            if found is None:
                found = self._index.get(normalise(answer))
        return None if found == self.unknown else found

    def soft_scores(self, answers: Sequence[str], rule: str = "official") -> tuple[np.ndarray, np.ndarray]:
        """Return the classes [k] int64, ascending, and scores [k] float32 of one question's human answers.

        `rule`: "official" is the evaluation's `agreement`, for any number of answers; those that are no class count as
        disagreement. "mmf" is the same after repeating the answers cyclically until there are ten. "authors" is
        VisualBERT's min(1, 0.3 n) for an answer given n times.
        """
        if rule == "mmf" and 0 < len(answers) < _HUMANS:
            answers = [answers[number % len(answers)] for number in range(_HUMANS)]
        found = Counter(number for number in map(self.class_of, answers) if number is not None)
        classes = np.array(sorted(found), dtype=np.int64)
        counts = np.array([found[number] for number in classes.tolist()], dtype=np.float64)
        if rule == "authors":
            return classes, np.minimum(1.0, 0.3 * counts).astype(np.float32)
        return classes, agreement(counts, len(answers)).astype(np.float32)

    def valid(self, answers: Iterable[str]) -> list[str]:
        """Return the `answers` that are classes, `["<unk>"]` when none is (`valid_answers` of an imdb, used by MMF)."""
        return [answer for answer in answers if self.class_of(answer) is not None] or [UNKNOWN]

    def fill(self, answers: Sequence[Sequence[str]], rule: str = "official") -> np.ndarray:
        """Return the soft scores of a batch, one sequence of human answers each: [b, answers] float32."""
        labels = np.zeros((len(answers), len(self)), dtype=np.float32)
        for row, given in zip(labels, answers):
            classes, scores = self.soft_scores(given, rule)
            row[classes] = scores
        return labels

    @property
    def real_answers(self) -> int:
        """Number of answers without `<unk>`."""
        return len(self) - (self.unknown is not None)


def describe_answers(
    records: Iterable[VQARecord], vocabulary: AnswerVocabulary, source: PathLike, split: str
) -> list[str]:
    """Return lines on how much of the human answers of `split` the answer list `source` covers.

    Raises InputError if it covers none: it is of another data set.
    """
    classes: dict[str, bool] = {}
    questions = covered = others = 0
    for record in records:
        known = [classes.setdefault(answer, vocabulary.class_of(answer) is not None) for answer in record.answers]
        questions += bool(known)
        covered += any(known)
        others += len(known) not in (0, _HUMANS)
    if not questions:
        return []
    if not covered:
        example = next(iter(classes))
        raise InputError(
            f"{source}: has none of the answers to the {questions} questions of split {split!r}, e.g. {example!r}; "
            "give the answer list of this data set, or build one with `python -m pyutils.data.vqa answers build`"
        )
    share = covered / questions
    line = f"split {split!r}: {share:.1%} of {questions} questions have a human answer in the list {source}"
    lines = [f"warning: {line}" if share < _FEW_COVERED else line]
    if others:
        lines.append(
            f"split {split!r}: {others} questions have other than {_HUMANS} human answers; they score by the "
            "leave-one-out formula over those given, a match with all of them 100 %"
        )
    return lines


def count_answers(paths: Iterable[PathLike]) -> Counter[str]:
    """Count the questions of each normalised answer, the one most humans gave, in annotations of any form.

    Raises InputError for a file of another kind.
    """
    counts: Counter[str] = Counter()
    for path in paths:
        counts.update(normalise_prediction(Counter(given).most_common(1)[0][0]) for given in answers_of(path))
    return counts


def _answers_of_json(content: object, path: Path) -> list[str]:
    if isinstance(content, dict) and all(key.isdecimal() for key in content):
        content = [content[key] for key in sorted(content, key=int)]
    if not isinstance(content, list) or not all(isinstance(answer, str) for answer in content):
        raise InputError(f"{path}: expected a list of answers, or an object of class number to answer (label2ans)")
    return content
