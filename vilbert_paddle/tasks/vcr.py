"""VCR with ViLBERT: Q→A, QA→R, and Q→AR from both (arXiv 1908.02265, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import paddle
from paddle import nn

from pyutils.config import setting
from pyutils.config.renamed import Renamed
from pyutils.data.annotations import vcr
from pyutils.data.features.inputs import RegionSourceConfig
from pyutils.data.records import VCRRecord
from pyutils.engine.evaluation import predict_all
from pyutils.engine.task import Batch
from pyutils.engine.vcr import Mode, VCRSplitTask
from pyutils.errors import InputError
from pyutils.formats.json_files import read_json
from pyutils.metrics.predictions import Predictions
from pyutils.metrics.vcr import CHOICES, ChoicePredictions, Scores, combine
from vilbert_paddle.data.vcr import vcr_batch
from vilbert_paddle.network.objectives import as_choices
from vilbert_paddle.tasks.base import VilbertRunConfig, VilbertTask, split_entry


@dataclass(frozen=True)
class VCRConfig:
    """The `vcr:` section of a configuration."""

    root: str = setting("data/VCR", "Directory that the paths below are relative to.")
    splits: dict[str, str] = setting({}, "Split name -> its JSON lines.")
    given_answer: int = setting(-1, "Rationales for this answer, 0 to 3, as test splits need; -1: for the right one.")
    answer_results: str = setting("", "With rationale: scores_answer.json of a Q→A model, for Q→AR.")


@dataclass(frozen=True)
class VCRRunConfig(VilbertRunConfig):
    """Configuration of run_vcr.py."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {
        **VilbertRunConfig.renamed_keys,
        "vcr.asked": Renamed("mode"),
    }

    vcr: VCRConfig = setting(VCRConfig, "Questions.")
    mode: Mode = setting("answer", "answer: Q→A; rationale: QA→R, given the right answer.")
    annotated_regions: RegionSourceConfig = setting(
        RegionSourceConfig, "Regions of the objects that texts refer to; no path: none."
    )


class VCRTask(VCRSplitTask, VilbertTask):
    """Batches: see `vcr_batch`. Metrics in percent: `accuracy` of the four-way choice, and `q_ar` where
    `vcr.answer_results` is given."""

    name = "vilbert_vcr"
    best_metric = "accuracy"
    objective = "choice"
    config_class = VCRRunConfig
    pipelines = {**VCRSplitTask.pipelines, **VilbertTask.pipelines}

    def __init__(self, config: VCRRunConfig, model: nn.Layer | None = None):
        super().__init__(config, annotated=config.annotated_regions, model=model)
        self.mode = config.mode
        self.task_number = 5 if self.mode == "answer" else 6
        results = config.vcr.answer_results if self.mode == "rationale" else ""
        self._answers = read_scores(Path(results)) if results else None

    def data_settings(self) -> dict[str, Any]:
        own = self.config
        questions = replace(own.vcr, answer_results="")
        shared = {name: getattr(own, name) for name in ("regions", "annotated_regions", "tokenizer")}
        return {"vcr": questions, **shared}

    def read(self, split: str) -> Sequence[VCRRecord]:
        section = self.config.vcr
        records = vcr.read(Path(section.root).expanduser() / split_entry(section.splits, split, "vcr"))
        if self._answers is not None and split != "train":
            questions = records.column("annot_id")
            missing = [question for question in questions if question not in self._answers]
            if missing:
                raise InputError(
                    f"{section.answer_results}: lacks {len(missing)} of {len(questions)} questions of split {split!r}, "
                    f"e.g. {missing[0]}; set vcr.answer_results to the scores_answer.json of a Q→A model"
                )
        return self.with_regions(records, "image", annotated=True)

    def collate(
        self, records: list[VCRRecord], rng: np.random.Generator, training: bool, given_answer: int | None = None
    ) -> dict[str, np.ndarray]:
        """Collate questions; rationales are those for `given_answer`, by default `vcr.given_answer`."""
        names = rng if training else None
        number = self.config.vcr.given_answer if given_answer is None else given_answer
        given = None if training or number < 0 else number
        limit = self.config.max_text
        return self.with_task(vcr_batch(records, self.tokenizer, self.reader, limit, self.mode, names, given))

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Compute the scores [b, 4] of the choices."""
        return as_choices(super().scores(batch), CHOICES)

    def predict(self, loader: Iterable[Batch], split: str) -> Predictions:
        """Compute the four scores of every question of `split`."""
        scores = predict_all(lambda batch: {"scores": self.scores(batch).astype("float32")}, loader)["scores"]
        records, answers = self.records(split), self.mode == "answer"
        labels = {r.annot_id: r.answer_label if answers else r.rationale_label for r in records}
        by_question = {name: [float(value) for value in row] for name, row in zip(labels, scores)}
        given = self.config.vcr.given_answer
        suffix = f"_{given}" if not answers and given >= 0 else ""
        file_name = f"scores_{self.mode}{suffix}.json"
        if self._answers is None:
            return ChoicePredictions(by_question, labels, file_name)
        both = {r.annot_id: (r.answer_label, r.rationale_label) for r in records}
        return _WithAnswers(by_question, labels, file_name, answers=self._answers, both_labels=both)

    @classmethod
    def for_examples(cls, config: Any) -> Any:
        return replace(super().for_examples(config), annotated_regions=RegionSourceConfig())

    @classmethod
    def with_saved_files(cls, config: Any, folder: Path) -> Any:
        """Read the saved vocabulary; scores are written, not combined with those of an answer model."""
        config = super().with_saved_files(config, folder)
        return replace(config, vcr=replace(config.vcr, answer_results=""))


class _WithAnswers(ChoicePredictions):
    """Rationale predictions, combined with the scores of an answer model for `q_ar`."""

    def __init__(self, *own: Any, answers: Mapping[str, Scores], both_labels: Mapping[str, Any]):
        super().__init__(*own)
        self.answers, self.both_labels = answers, both_labels

    def metrics(self) -> dict[str, float]:
        """`accuracy` of the rationales, and `q_ar`, in percent."""
        found = super().metrics()
        return {**found, "q_ar": 100.0 * combine(self.both_labels, self.answers, self.scores).q_ar} if found else {}


def read_scores(path: Path) -> dict[str, list[float]]:
    """Read the scores_answer.json of a Q→A model. Raises InputError for another file."""
    found = read_json(path.expanduser())
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a scores_answer.json, annotation id -> four scores")
    return found
