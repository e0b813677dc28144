"""ALBEF for image-text retrieval: ITC over image identities, and ITM (arXiv 2107.07651, section 4.1)."""

from __future__ import annotations

from typing import NamedTuple

import paddle

from albef_paddle.config import AlbefConfig
from albef_paddle.network.ema import Teacher
from albef_paddle.network.itc import TOWERS, ContrastiveModel, encode_pairs, teacher_features
from pyutils.layers.contrast import Negatives


class RetrievalLosses(NamedTuple):
    """Scalar losses."""

    itc: paddle.Tensor
    itm: paddle.Tensor


class AlbefForRetrieval(ContrastiveModel):
    """Fine-tuning for retrieval and weakly supervised grounding. Call `teacher.update(model)` before the first forward
    pass of every optimizer step."""

    def __init__(self, config: AlbefConfig):
        super().__init__(config, with_identities=True)
        self.teacher = Teacher(self, TOWERS)

    def forward(
        self,
        images: paddle.Tensor,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor,
        identities: paddle.Tensor,
        alpha: float,
        negatives: Negatives | None = None,
    ) -> RetrievalLosses:
        """Compute the losses of a batch and add the teacher's features to the queue.

        `images` `[batch, 3, size, size]` float32; `input_ids` and `text_mask` `[batch, t]` int64; `identities`
        `[batch]` int64, equal for texts of one image; `alpha`: weight of the teacher; `negatives`: draws to use instead
        of new ones.
        """
        own = encode_pairs(self, images, input_ids, text_mask)
        with paddle.no_grad():
            teacher = teacher_features(encode_pairs(self.teacher, images, input_ids, text_mask), identities)
        itc = self.itc(own, teacher, alpha)
        self.queue.enqueue(teacher.images, teacher.texts, teacher.identities)
        itm = self.itm(own, text_mask, self.text.memories(own.image_states), itc, negatives)
        return RetrievalLosses(itc.loss, itm.loss)
