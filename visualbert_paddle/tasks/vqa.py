"""VQA v2 with VisualBERT: a classifier over frequent answers, read at the question's [MASK] (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from pyutils.compat import has_gpu
from pyutils.config import setting, to_yaml
from pyutils.data.answers import AnswerVocabulary
from pyutils.data.records import VQARecord
from pyutils.data.region_inputs import RegionConfig, RegionInputs
from pyutils.data.vqa_splits import VQAConfig, answer_list, read_split
from pyutils.engine.evaluation import predict_all
from pyutils.engine.run import RunConfig
from pyutils.engine.task import Batch, Task
from pyutils.errors import InputError
from pyutils.losses import kl_unnormalised, vqa_bce
from pyutils.text import sequences
from pyutils.text.tokenizer import WordPiece, load_tokenizer
from pyutils.vqa.classifier import SplitAnswers
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.heads import VisualBertForQuestionAnswering

LOSSES = {"bce": vqa_bce, "kl": kl_unnormalised}


@dataclass(frozen=True)
class VisualBertVQAConfig(RunConfig):
    """Configuration of run_vqa2.py."""

    model: VisualBertConfig = setting(VisualBertConfig, "The network.")
    regions: RegionConfig = setting(RegionConfig, "Region features.")
    vqa: VQAConfig = setting(VQAConfig, "Questions, annotations, answer list.")
    tokenizer: str = setting("bert-base-uncased", "vocab.txt, a folder with one, or a name paddlenlp knows.")
    max_text: int = setting(128, "Most tokens of a question; batches are padded to their own longest.")
    loss: Literal["bce", "kl"] = setting("bce", "bce: logits times answers; kl: the authors' unnormalised divergence.")


class VisualBertVQA(Task):
    """Batches: `input_ids`, `text_mask`, `token_type_ids` `[b, t]` int64; `region_features` `[b, r, d]` float32,
    `region_mask`, `region_token_type_ids` `[b, r]` int64; in training `labels` `[b, answers]` float32 soft scores."""

    name = "visualbert_vqa"
    best_metric = "accuracy"
    find_unused_parameters = True  # the pooler is not read

    def __init__(self, config: VisualBertVQAConfig):
        self.tokenizer: WordPiece = load_tokenizer(config.tokenizer)
        self.answers = AnswerVocabulary.load(answer_list(config.vqa))
        self.config = replace(config, model=fit_vocabulary(config.model, self.tokenizer))
        self.config_text = to_yaml(self.config)
        self.multiple = 8 if has_gpu() else 1  # tensor cores
        self.regions = RegionInputs(config.regions, config.model.visual_dim, self.multiple)
        self.model = VisualBertForQuestionAnswering(self.config.model, len(self.answers))
        self._splits: dict[str, Any] = {}
        self.last_answers: SplitAnswers | None = None

    def records(self, split: str) -> Sequence[VQARecord]:
        """The records of `split` whose images have features, read once."""
        if split not in self._splits:
            table = self.regions.available(read_split(self.config.vqa, split), "image")
            self._splits[split] = self.regions.shown(table)
        return self._splits[split]

    def train_records(self) -> Sequence[VQARecord]:
        """See Task."""
        return self.records("train")

    def eval_records(self, split: str) -> Sequence[VQARecord]:
        """See Task."""
        return self.records(split)

    def collate(self, records: list[VQARecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        """See the class for the batch."""
        texts = [sequences.question(self.tokenizer, record.question, self.config.max_text) for record in records]
        batch = sequences.batch(texts, self.tokenizer.pad, self.multiple)
        regions = self.regions.read([record.image for record in records])
        batch["region_features"], batch["region_mask"] = regions.features, regions.mask
        batch["region_token_type_ids"] = np.full_like(regions.mask, self.config.model.region_token_type)
        if training:
            batch["labels"] = soft_labels(records, self.answers, self.config.vqa.soft_scores)
        return batch

    def scores(self, batch: Batch) -> paddle.Tensor:
        """Answer scores `[b, answers]`."""
        return self.model(**{name: value for name, value in batch.items() if name not in ("labels", "index")})

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See Task."""
        return LOSSES[self.config.loss](self.scores(batch), batch["labels"]), {}

    def answer(self, loader: Iterable[Batch], split: str, allow_unknown: bool = False) -> SplitAnswers:
        """The best answer to every question of `split`; `<unk>` is never one unless allowed."""
        never = None if allow_unknown else self.answers.unknown

        def best(batch: Batch) -> dict[str, paddle.Tensor]:
            scores = self.scores(batch)
            if never is not None:
                scores[:, never] = -1e9
            return {"chosen": scores.argmax(axis=1)}

        chosen = predict_all(best, loader)["chosen"]
        return SplitAnswers(self.records(split), chosen, self.answers)

    def evaluate(self, loader: Iterable[Batch], split: str) -> dict[str, float]:
        """The official VQA accuracy in percent, overall and by answer type."""
        if not self.records(split)[0].answers:
            raise InputError(
                f"split {split!r} has no human answers to compare with: run_predict.py writes its result file"
            )
        self.last_answers = self.answer(loader, split)
        return self.last_answers.metrics()

    def write_results(self, output_dir: Path, split: str) -> None:
        """`result.json` of the last evaluation, for the evaluation server."""
        if self.last_answers is not None:
            self.last_answers.write(output_dir)

    def checkpoint_files(self) -> Sequence[Path]:
        """The vocabulary and the answer list: with them a checkpoint answers questions on its own."""
        return (self.tokenizer.path, answer_list(self.config.vqa))


def soft_labels(records: list[VQARecord], answers: AnswerVocabulary, rule: str) -> np.ndarray:
    """Soft targets `[b, answers]` float32. MMF's rule sees only the answers that are classes."""
    given = [answers.valid(record.answers) if rule == "mmf" else record.answers for record in records]
    return answers.fill(given, rule)


def fit_vocabulary(model: VisualBertConfig, tokenizer: WordPiece) -> VisualBertConfig:
    """`model` with the tokenizer's vocabulary size where its own is 0; InputError when the two disagree."""
    size = tokenizer.vocab_size
    if model.vocab_size == 0:
        return replace(model, vocab_size=size)
    if model.vocab_size < size:
        raise InputError(
            f"{tokenizer.path}: {size} pieces, but model.vocab_size is {model.vocab_size}: take the vocab.txt the "
            "checkpoint was made with, or set model.vocab_size to 0 to follow the vocabulary"
        )
    return model
