"""ALBEF's pre-training on images with captions (arXiv 2107.07651, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle

from albef_paddle.network.itc import encode_pairs, teacher_features
from albef_paddle.network.pretraining import AlbefForPretraining
from albef_paddle.tasks.base import AlbefRunConfig
from albef_paddle.tasks.captions import CaptionTask
from albef_paddle.tasks.matching import MatchingTask
from pyutils.config import setting
from pyutils.config.checks import above, share
from pyutils.data.records import CaptionRecord
from pyutils.engine.task import Batch
from pyutils.text.masking import draw, mask_words


@dataclass(frozen=True)
class AlbefPretrainingConfig(AlbefRunConfig):
    """Configuration of run_pretrain.py."""

    mlm_probability: float = setting(0.15, "Share of the words that are masked and predicted.")

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "mlm_probability")
        share(self, "mlm_probability")


class AlbefPretraining(MatchingTask, CaptionTask):
    """Batches: as `CaptionTask`, and `masked_ids`, `word_labels` `[b, t]` int64."""

    name = "albef_pretrain"
    config_class = AlbefPretrainingConfig
    least_batch = 2

    def __init__(self, config: AlbefPretrainingConfig):
        super().__init__(config)
        self.model = AlbefForPretraining(self.config.model)

    def collate(self, records: list[CaptionRecord], rng: np.random.Generator, training: bool) -> dict[str, np.ndarray]:
        batch = super().collate(records, rng, training)
        ids, tokenizer = batch["input_ids"], self.tokenizer
        candidates = (ids != tokenizer.pad) & (ids != tokenizer.cls)
        draws = draw(rng, int(candidates.sum()), tokenizer.vocab_size)
        masked, labels = mask_words(ids, candidates, draws, tokenizer.mask, self.config.mlm_probability)
        return {**batch, "masked_ids": masked, "word_labels": labels}

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        names = ("images", "input_ids", "text_mask", "masked_ids", "word_labels")
        losses = self.model(*(batch[name] for name in names), alpha)
        return losses.mlm + losses.itc + losses.itm, losses._asdict()

    def batch_losses(self, batch: Batch) -> dict[str, paddle.Tensor]:
        """Compute `mlm`, `itc` and `itm` without distillation; the queue does not change."""
        model = self.model
        own = encode_pairs(model, batch["images"], batch["input_ids"], batch["text_mask"])
        teacher = encode_pairs(model.teacher, batch["images"], batch["input_ids"], batch["text_mask"])
        # Not gathered: processes may have different numbers of held-out batches.
        itc = model.itc(own, teacher_features(teacher, gather=False), 0.0)
        memories = model.text.memories(own.image_states)
        itm = model.itm(own, batch["text_mask"], memories, itc)
        inputs = (batch["masked_ids"], batch["text_mask"], batch["word_labels"])
        mlm = model.mlm_loss(*inputs, memories, teacher, 0.0)
        return {"mlm": mlm, "itc": itc.loss, "itm": itm.loss}
