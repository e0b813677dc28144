"""Image-text retrieval with ALBEF: contrast over image identities, and matching (arXiv 2107.07651, section 4.1)."""

from __future__ import annotations

from typing import NamedTuple

import paddle

from albef_paddle.config import AlbefConfig
from albef_paddle.network.contrast import TOWERS, ContrastiveModel, encode_pairs, gather_compared
from albef_paddle.network.negatives import Negatives


class RetrievalLosses(NamedTuple):
    """Scalars: image-text contrast, image-text matching."""

    contrast: paddle.Tensor
    matching: paddle.Tensor


class AlbefForRetrieval(ContrastiveModel):
    """Fine-tuning for retrieval and weakly supervised grounding. Call `teacher.update(model)` before the first forward
    pass of every optimizer step."""

    def __init__(self, config: AlbefConfig):
        super().__init__(config, with_identities=True)
        self.teacher = self.make_teacher(TOWERS)

    def forward(
        self,
        images: paddle.Tensor,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor,
        identities: paddle.Tensor,
        alpha: float,
        negatives: Negatives | None = None,
    ) -> RetrievalLosses:
        """The losses of a batch; adds the teacher's features to the queue.

        `images` `[batch, 3, size, size]` float32; `input_ids` and `text_mask` `[batch, t]` int64; `identities`
        `[batch]` int64: pairs with the same image; `alpha`: weight of the teacher; `negatives`: draws to use instead of
        new ones.
        """
        own = encode_pairs(self, images, input_ids, text_mask)
        with paddle.no_grad():
            teacher = encode_pairs(self.teacher, images, input_ids, text_mask)
        others = gather_compared(teacher, identities)
        contrast = self.contrast(own, others, alpha)
        self.queue.enqueue(others.images, others.texts, others.identities)
        matching = self.match(own, text_mask, self.text.memories(own.image_tokens), contrast, negatives)
        return RetrievalLosses(contrast.loss, matching.loss)
