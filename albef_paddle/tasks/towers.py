"""ALBEF's encoders for re-ranking: unimodal states, ITC features, and ITM scores by the fusion layers."""

from __future__ import annotations

from typing import Optional

import paddle

from albef_paddle.network.itc import ContrastiveModel, unit_features
from pyutils.engine.reranking import DualEncoder, Encoded, PairScores
from pyutils.engine.task import Batch


class AlbefTowers(DualEncoder):
    """The encoders of `model`. Keys and values of an image are projected once and shared by its texts."""

    def __init__(self, model: ContrastiveModel):
        self._model = model
        self.text_width, self.image_width = model.config.text.hidden_size, model.config.vision.width

    def texts(self, ids: paddle.Tensor, mask: Optional[paddle.Tensor]) -> Encoded:
        """See `DualEncoder.texts`; the states include what the fusion layers compute without an image."""
        model = self._model
        states = model.text.encode(ids, mask)
        counts = None if mask is None else mask.sum(axis=1).numpy().tolist()
        return Encoded(model.text.before_images(states, mask), counts, unit_features(model.text_projection, states))

    def images(self, batch: Batch) -> Encoded:
        """See `DualEncoder.images`; `images` `[b, 3, size, size]` float32."""
        states = self._model.vision(batch["images"])
        return Encoded(states, None, unit_features(self._model.vision_projection, states))

    def scorer(self, image_states: paddle.Tensor) -> PairScores:
        """See `DualEncoder.scorer`; the score is the ITM logit of a match."""
        memories = self._model.text.memories(image_states)
        return lambda states, mask: self._model.itm_logits(states, mask, memories, attended=True)[:, 1]
