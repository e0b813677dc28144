"""VCR with ViLBERT: Q→A, QA→R, and Q→AR from both (arXiv 1908.02265, section 4.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from pyutils.config import setting
from pyutils.data.annotations import vcr
from pyutils.data.features.inputs import RegionSourceConfig
from pyutils.data.records import VCRRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.metrics.vcr import combine
from vilbert_paddle.data.vcr import CHOICES, Question, vcr_batch
from vilbert_paddle.objectives import as_choices
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, split_path


@dataclass(frozen=True)
class VCRConfig:
    """The `vcr:` section of a configuration."""

    root: str = setting("data/VCR", "Folder that the paths below are relative to.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")
    asked: Question = setting("answer", "answer: Q→A; rationale: QA→R, the right answer being given.")
    given_answer: int = setting(
        -1, "Rationales after this answer, 0 to 3, as test splits ask; -1: after the right one."
    )
    answer_results: str = setting("", "With rationale: SPLIT_answer.json of a Q→A model, which gives Q→AR.")


@dataclass(frozen=True)
class VCRRunConfig(VilbertRunConfig):
    """Configuration of run_vcr.py."""

    vcr: VCRConfig = setting(VCRConfig, "Questions.")
    annotated_regions: RegionSourceConfig = setting(
        RegionSourceConfig, "Regions of the objects that texts point at; no path: none."
    )


class VCRTask(VilbertTask):
    """Batches: see `vcr_batch`. Metrics in percent: `accuracy` of the four-way choice, and `q_ar` where
    `vcr.answer_results` is given."""

    best_metric = "accuracy"
    objective = "choice"
    config_class = VCRRunConfig

    def __init__(self, config: VCRRunConfig, model: nn.Layer | None = None):
        super().__init__(config, annotated=config.annotated_regions, model=model)
        self.asked = config.vcr.asked
        self.name = f"vilbert_vcr_{self.asked}"
        self.task_number = 5 if self.asked == "answer" else 6
        self.last_scores: dict[str, list[float]] = {}
        results = config.vcr.answer_results if self.asked == "rationale" else ""
        self._answers = read_scores(Path(results)) if results else None

    def read(self, split: str) -> Sequence[VCRRecord]:
        """See VilbertTask."""
        section = self.config.vcr
        records = vcr.read(split_path(section.root, section.splits, split, "vcr"))
        if self._answers is not None and split != "train":
            self._check_answers(self._answers, records.column("annot_id"), split)
        return self.seen(records, "image", annotated=True)

    def _check_answers(self, answers: dict[str, list[float]], questions: Sequence[str], split: str) -> None:
        """InputError when the answers' scores are of another split."""
        missing = [question for question in questions if question not in answers]
        if missing:
            raise InputError(
                f"{self.config.vcr.answer_results}: lacks {len(missing)} of {len(questions)} questions of split "
                f"{split!r}, among them {missing[0]}; give vcr.answer_results the {split}_answer.json of a Q→A model"
            )

    def collate(self, records: list[VCRRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        names = rng if training else None
        given = None if training or self.config.vcr.given_answer < 0 else self.config.vcr.given_answer
        limit = self.config.max_text
        return self.with_task(vcr_batch(records, self.tokenizer, self.reader, limit, self.asked, names, given))

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Scores [b, 4] of the choices."""
        return as_choices(super().scores(batch), CHOICES)

    def predict(self, loader: Iterable[Batch], split: str) -> np.ndarray:
        """Scores [n, 4] of every question of `split`; kept for `write_results`."""
        scores = predict_all(lambda batch: {"scores": self.scores(batch).astype("float32")}, loader)["scores"]
        names = (record.annot_id for record in self.records(split))
        self.last_scores = {name: [float(value) for value in row] for name, row in zip(names, scores)}
        return scores

    def evaluate(self, loader: Iterable[Batch], split: str) -> dict[str, float]:
        """See the class. InputError for a split with hidden labels."""
        right = {record.annot_id: (record.answer_label, record.rationale_label) for record in self.records(split)}
        if any(None in labels for labels in right.values()):
            raise InputError(f"split {split!r} has hidden labels: run_predict.py writes its scores")
        scores = self.predict(loader, split)
        labels = np.array(list(right.values()))[:, 0 if self.asked == "answer" else 1]
        metrics = {"accuracy": 100.0 * float((scores.argmax(axis=1) == labels).mean())}
        if self._answers is not None:
            metrics["q_ar"] = 100.0 * combine(right, self._answers, self.last_scores).q_ar
        return metrics

    def write_results(self, output_dir: Path, split: str) -> None:
        """`SPLIT_answer.json` or `SPLIT_rationale.json` (after a given answer `SPLIT_rationale_2.json`): annotation id
        -> scores of the four choices."""
        given = self.config.vcr.given_answer
        suffix = f"_{given}" if self.asked == "rationale" and given >= 0 else ""
        write_json(output_dir / f"{split}_{self.asked}{suffix}.json", self.last_scores)


def read_scores(path: Path) -> dict[str, list[float]]:
    """What `VCRTask.write_results` wrote. InputError naming the file when it is something else."""
    try:
        found = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); vcr.answer_results names a SPLIT_answer.json") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected annotation id -> four scores, found {type(found).__name__}")
    return found
