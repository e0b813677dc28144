"""Queues of momentum features: negatives for ITC from earlier batches (arXiv 2107.07651, section 3.2)."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

NO_IDENTITY = -100
"""Identity of the random initial features."""


class FeatureQueue(nn.Layer):
    """The last `size` image and text features of all processes, saved with the model.

    Buffers: `images` and `texts` `[dimension, size]` float32, unit columns; `pointer` `[1]` int64, the next column
    to write; with `with_identities` also `identities` `[1, size]` int64, the image of each column.
    """

    def __init__(self, dimension: int, size: int, with_identities: bool = False):
        super().__init__()
        self.size = size
        for name in ("images", "texts"):
            self.register_buffer(name, F.normalize(paddle.randn([dimension, size]), axis=0))
        self.register_buffer("pointer", paddle.zeros([1], dtype="int64"))
        if with_identities:
            self.register_buffer("identities", paddle.full([1, size], NO_IDENTITY, dtype="int64"))

    @paddle.no_grad()
    def enqueue(self, images: paddle.Tensor, texts: paddle.Tensor, identities: paddle.Tensor | None = None) -> None:
        """Write features `[n, dimension]` (and identities `[n]` int64) over the oldest, wrapping around the end.

        Every process writes the rows of all, in order of rank (`teacher_features`), so that the queues stay equal. When
        there are more rows than `size`, only the last ones are kept.
        """
        columns = {"images": images.t(), "texts": texts.t()}
        if identities is not None:
            columns["identities"] = identities.unsqueeze(0)
        count, start = images.shape[0], self.pointer.item()
        skipped = max(0, count - self.size)
        first = (start + skipped) % self.size
        until_end = min(count - skipped, self.size - first)
        for name, values in columns.items():
            buffer, values = getattr(self, name), values[:, skipped:].astype(getattr(self, name).dtype)
            buffer[:, first : first + until_end] = values[:, :until_end]
            if until_end < values.shape[1]:
                buffer[:, : values.shape[1] - until_end] = values[:, until_end:]
        self.pointer.set_value(paddle.to_tensor([(start + count) % self.size], dtype="int64"))
