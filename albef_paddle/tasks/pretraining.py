"""ALBEF's pre-training on images with captions (arXiv 2107.07651, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle

from albef_paddle.network.contrast import compared, encode_pairs
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

    mlm_probability: float = setting(0.15, "Share of the words that are to be predicted.")

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
        """See the class for the batch."""
        batch = super().collate(records, rng, training)
        ids, tokenizer = batch["input_ids"], self.tokenizer
        candidates = (ids != tokenizer.pad) & (ids != tokenizer.cls)
        draws = draw(rng, int(candidates.sum()), tokenizer.vocab_size)
        masked, labels = mask_words(ids, candidates, draws, tokenizer.mask, self.config.mlm_probability)
        return {**batch, "masked_ids": masked, "word_labels": labels}

    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See AlbefTask."""
        names = ("images", "input_ids", "text_mask", "masked_ids", "word_labels")
        losses = self.model(*(batch[name] for name in names), alpha)
        parts = {"mlm": losses.words, "itc": losses.contrast, "itm": losses.matching}
        return losses.words + losses.contrast + losses.matching, parts

    def batch_losses(self, batch: Batch) -> dict[str, paddle.Tensor]:
        """See CaptionTask; the queue stays as it is and the teacher has no say."""
        model = self.model
        own = encode_pairs(model, batch["images"], batch["input_ids"], batch["text_mask"])
        teacher = encode_pairs(model.teacher, batch["images"], batch["input_ids"], batch["text_mask"])
        contrast = model.contrast(own, compared(teacher), 0.0)
        memories = model.text.memories(own.image_tokens)
        matching = model.match(own, batch["text_mask"], memories, contrast)
        inputs = (batch["masked_ids"], batch["text_mask"], batch["word_labels"])
        words = model.masked_words(*inputs, memories, teacher, 0.0)
        return {"mlm": words, "itc": contrast.loss, "itm": matching.loss}
