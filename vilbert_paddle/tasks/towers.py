"""ViLBERT's encoders for re-ranking: the streams before co-attention, and the alignment score of pairs."""

from __future__ import annotations

from typing import Optional

import paddle

from pyutils.engine.reranking import DualEncoder, Encoded, PairScores
from pyutils.engine.task import Batch
from pyutils.layers.contrast import ContrastiveHead
from vilbert_paddle.network.heads import HEADS, VilbertForTasks
from vilbert_paddle.network.model import paired
from vilbert_paddle.network.objectives import REGION_INPUTS
from vilbert_paddle.network.streams import Stream

ITM_HEAD = "alignment"


class VilbertTowers(DualEncoder):
    """The streams of `model`, which has a contrastive head and the alignment head.

    task_number: row of the task token table, where the model has one.
    """

    def __init__(self, model: VilbertForTasks, task_number: int = 0):
        assert model.contrast is not None
        self._model, self._contrast, self._task_number = model, model.contrast, task_number
        self.text_width, self.image_width = model.config.text.hidden_size, model.config.regions.hidden_size

    def texts(self, ids: paddle.Tensor, mask: Optional[paddle.Tensor]) -> Encoded:
        """See `DualEncoder.texts`; a task token counts as one of the text's."""
        tasks = None
        if self._model.config.task_tokens:
            tasks = paddle.full([ids.shape[0], 1], self._task_number, dtype="int64")
        return _encoded(*text_stream(self._model, self._contrast, ids, mask, task_ids=tasks))

    def images(self, batch: Batch) -> Encoded:
        """See `DualEncoder.images`; region arrays."""
        return _encoded(*region_stream(self._model, self._contrast, batch))

    def scorer(self, image_states: paddle.Tensor) -> PairScores:
        """See `DualEncoder.scorer`; the score is the log-odds of a match by the alignment head."""
        boxes = Stream(image_states, paddle.ones(image_states.shape[:2]))

        def score(states: paddle.Tensor, mask: Optional[paddle.Tensor]) -> paddle.Tensor:
            words = Stream(states, paddle.ones(states.shape[:2]) if mask is None else mask.astype("float32"))
            logits = itm_logits(self._model, *paired(words, boxes, "every_pair"))
            return logits[:, 1] - logits[:, 0]

        return score


def text_stream(
    model: VilbertForTasks, contrast: ContrastiveHead, ids: paddle.Tensor, mask: Optional[paddle.Tensor], **inputs
) -> tuple[Stream, paddle.Tensor]:
    """Return the text stream before co-attention and its unit features `[n, dim]`."""
    words = model.encoder.begin_text(ids, mask, **inputs)
    return words, contrast.text_features(words.states, words.mask)


def region_stream(model: VilbertForTasks, contrast: ContrastiveHead, batch: Batch) -> tuple[Stream, paddle.Tensor]:
    """Return the visual stream before co-attention and its unit features `[n, dim]`."""
    boxes = model.encoder.begin_regions(**{name: batch[name] for name in REGION_INPUTS})
    return boxes, contrast.image_features(boxes.states, boxes.mask)


def itm_logits(model: VilbertForTasks, words: Stream, boxes: Stream) -> paddle.Tensor:
    """Compute ITM logits `[pairs, 2]` (class 1 = match) of pairs, row by row."""
    kind = HEADS[ITM_HEAD]
    encoded = model.encoder.co_attend(words, boxes, text=kind.text, regions=kind.regions)
    # Class 0 of the published alignment head is "belongs together".
    return kind.score(model, model.heads[ITM_HEAD], encoded).flip(axis=[-1])


def _encoded(stream: Stream, features: paddle.Tensor) -> Encoded:
    return Encoded(stream.states, stream.mask.sum(axis=1).astype("int64").numpy().tolist(), features)
