"""The queues of momentum features that widen the contrastive loss beyond the batch (arXiv 2107.07651, section 3.2)."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

NO_IDENTITY = -100
"""Identity of the random features that the queue starts with."""


class FeatureQueue(nn.Layer):
    """The last `size` image and text features of all processes, saved with the model.

    Buffers: `images` and `texts` `[dimension, size]` float32, unit columns; `pointer` `[1]` int64, the column to write
    next; with `with_identities` also `identities` `[1, size]` int64, the image each column belongs to.
    """

    def __init__(self, dimension: int, size: int, with_identities: bool = False):
        super().__init__()
        self.size = size
        for name in ("images", "texts"):
            self.register_buffer(name, F.normalize(paddle.randn([dimension, size]), axis=0))
        self.register_buffer("pointer", paddle.zeros([1], dtype="int64"))
        self.with_identities = with_identities
        if with_identities:
            self.register_buffer("identities", paddle.full([1, size], NO_IDENTITY, dtype="int64"))

    @paddle.no_grad()
    def enqueue(self, images: paddle.Tensor, texts: paddle.Tensor, identities: paddle.Tensor | None = None) -> None:
        """Write features `[n, dimension]` (and identities `[n]` int64) over the oldest.

        Every process writes the rows of all, in order of rank (`gather_compared`), so that the queues stay equal. The
        end of the queue may fall inside them: the rest goes to its start. Of more rows than the queue holds the last
        `size` stay.
        """
        columns = {"images": images.t(), "texts": texts.t()}
        if self.with_identities:
            assert identities is not None
            columns["identities"] = identities.unsqueeze(0)
        count, start = columns["images"].shape[1], self.pointer.item()
        skipped = max(0, count - self.size)
        first = (start + skipped) % self.size
        for name, values in columns.items():
            self._write(getattr(self, name), values[:, skipped:], first)
        self.pointer.set_value(paddle.to_tensor([(start + count) % self.size], dtype="int64"))

    def _write(self, buffer: paddle.Tensor, values: paddle.Tensor, first: int) -> None:
        """Columns `values` into `buffer` from column `first` on, round the end."""
        until_end = min(values.shape[1], self.size - first)
        buffer[:, first : first + until_end] = values[:, :until_end].astype(buffer.dtype)
        if until_end < values.shape[1]:
            buffer[:, : values.shape[1] - until_end] = values[:, until_end:].astype(buffer.dtype)
