"""ViLBERT (Lu et al., arXiv 1908.02265): two streams, words and image regions, joined by co-attention layers."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal, NamedTuple

import paddle
from paddle import nn

from pyutils.layers.heads import Pooler
from vilbert_paddle.config import VilbertConfig
from vilbert_paddle.network.streams import (
    CoAttentionLayer,
    RegionEmbeddings,
    Stream,
    StreamLayers,
    Wanted,
    WordEmbeddings,
)

Pairing = Literal["rows", "grouped", "every_pair"]


class TwoStreamOutput(NamedTuple):
    """Hidden states of the last layers: `text` `[batch, t, hidden]`, `regions` `[batch, r, visual hidden]` (one
    position where "first" was requested, None for "none"), and `region_mask` `[batch, r]` float32."""

    text: paddle.Tensor | None
    regions: paddle.Tensor | None
    region_mask: paddle.Tensor


class Vilbert(nn.Layer):
    """The two streams and their poolers.

    A forward pass has three parts: `begin_text` and `begin_regions` run the layers before the first co-attention layer,
    whose output can be reused for many pairs; `co_attend` runs the rest.
    """

    def __init__(self, config: VilbertConfig):
        super().__init__()
        self.config = config
        self.text_embeddings = WordEmbeddings(config)
        self.region_embeddings = RegionEmbeddings(config)
        self.text = StreamLayers(config, config.text)
        self.regions = StreamLayers(config, config.regions, config.gated_regions)
        self.connections = nn.LayerList([CoAttentionLayer(config) for _ in config.text.connect_at])
        self.text_pooler = Pooler(config.text.hidden_size, config.bridge_size, "relu", config.init_std)
        self.region_pooler = Pooler(config.regions.hidden_size, config.bridge_size, "relu", config.init_std)

    @property
    def word_table(self) -> paddle.Tensor:
        """Word embeddings `[vocab, hidden]`, to which the masked-language head is tied."""
        return self.text_embeddings.words.weight

    def forward(
        self,
        input_ids: paddle.Tensor,
        region_features: paddle.Tensor,
        region_boxes: paddle.Tensor,
        text_mask: paddle.Tensor | None = None,
        token_type_ids: paddle.Tensor | None = None,
        region_mask: paddle.Tensor | None = None,
        task_ids: paddle.Tensor | None = None,
        pairing: Pairing = "rows",
        image_rows: paddle.Tensor | None = None,
        text: Wanted = "all",
        regions: Wanted = "all",
    ) -> TwoStreamOutput:
        """Encode texts and images.

        `input_ids`, `text_mask` (1 = word, default all), `token_type_ids` (default 0): `[batch, t]` int64;
        `region_features` `[batch, r, region_dim]`, `region_boxes` `[batch, r, 5]` float32, `region_mask`
        `[batch, r]` int64 (1 = region, default all), region 0 being the whole image; `task_ids` `[batch, 1]` int64 when
        the model has task tokens: the text output is then one longer, the task token at position 1.

        `pairing`: "rows" row by row; "grouped" n texts per image or n images per text, in consecutive rows, each text
        and image being embedded once; "every_pair" text i with image j in row i * images + j.
        `image_rows` `[batch]` int64: the image of each text, applied before `pairing`; an image is embedded once, with
        one dropout mask up to the first co-attention layer. `text`, `regions`: which hidden states to return; others
        are not computed in the last layers.

        Raises:
            ValueError: the numbers of texts and images do not fit `pairing`, or `task_ids` do not fit the model.
        """
        words = self.begin_text(input_ids, text_mask, token_type_ids, task_ids)
        boxes = self.begin_regions(region_features, region_boxes, region_mask, words)
        if image_rows is not None:
            boxes = Stream(*(part.index_select(image_rows) for part in boxes))
        return self.co_attend(*paired(words, boxes, pairing), text=text, regions=regions)

    def begin_text(
        self,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor | None = None,
        token_type_ids: paddle.Tensor | None = None,
        task_ids: paddle.Tensor | None = None,
    ) -> Stream:
        """Run the text stream up to the first co-attention layer; arguments as in `forward`."""
        mask = paddle.ones(input_ids.shape) if text_mask is None else text_mask.astype("float32")
        if task_ids is not None:
            mask = paddle.concat([paddle.ones([mask.shape[0], 1]), mask], axis=1)
        stream = self.config.text
        with _without_gradient(stream.fixed_layers):
            words = Stream(self.text_embeddings(input_ids, token_type_ids, task_ids), mask)
            words = self.text.run(words, 0, stream.fixed_layers)
        return self.text.run(words, stream.fixed_layers, stream.first_co_attention)

    def begin_regions(
        self,
        region_features: paddle.Tensor,
        region_boxes: paddle.Tensor,
        region_mask: paddle.Tensor | None = None,
        words: Stream | None = None,
    ) -> Stream:
        """Run the visual stream up to the first co-attention layer; arguments as in `forward`. Only gated visual layers
        read `words`, the output of `begin_text`."""
        mask = paddle.ones(region_features.shape[:2]) if region_mask is None else region_mask.astype("float32")
        stream = self.config.regions
        with _without_gradient(stream.fixed_layers):
            boxes = Stream(self.region_embeddings(region_features, region_boxes), mask)
            boxes = self.regions.run(boxes, 0, stream.fixed_layers, words)
        return self.regions.run(boxes, stream.fixed_layers, stream.first_co_attention, words)

    def co_attend(self, words: Stream, boxes: Stream, text: Wanted = "all", regions: Wanted = "all") -> TwoStreamOutput:
        """Run from the first co-attention layer to the end, row by row; `text`, `regions` as in `forward`."""
        text_done, regions_done = self.config.text.first_co_attention, self.config.regions.first_co_attention
        for number, ends in enumerate(zip(self.config.text.connect_at, self.config.regions.connect_at)):
            words = self.text.run(words, text_done, ends[0])
            boxes = self.regions.run(boxes, regions_done, ends[1], words)
            if self.config.coattention:
                # The last co-attention layer skips a stream that nothing reads any more.
                last = number == len(self.connections) - 1
                need_text = not last or text != "none" or self.config.gated_regions
                need_regions = not last or regions != "none"
                words, boxes = self.connections[number](words, boxes, need_text, need_regions)
            text_done, regions_done = ends
        # The gates of the last visual layers read the words as they left the last co-attention layer.
        boxes = self.regions.run(boxes, regions_done, self.config.regions.num_layers, words, regions)
        words = self.text.run(words, text_done, self.config.text.num_layers, read=text)
        return TwoStreamOutput(_read(words.states, text), _read(boxes.states, regions), boxes.mask)

    def pooled(self, text: paddle.Tensor, regions: paddle.Tensor) -> paddle.Tensor:
        """Return one vector per pair `[batch, bridge_size]`: the pooled first positions, multiplied or added."""
        words, boxes = self.text_pooler(text), self.region_pooler(regions)
        return words * boxes if self.config.fusion == "mul" else words + boxes


def paired(words: Stream, boxes: Stream, pairing: Pairing) -> tuple[Stream, Stream]:
    """Repeat the rows of both streams to one row per pair; see `Vilbert.forward`."""
    texts, images = words.states.shape[0], boxes.states.shape[0]
    if pairing == "every_pair":
        words = _repeated(words, images)
        boxes = Stream(*(part.tile([texts] + [1] * (part.ndim - 1)) for part in boxes))
    elif pairing == "grouped" and max(texts, images) % min(texts, images) == 0:
        words, boxes = _repeated(words, images // texts), _repeated(boxes, texts // images)
    elif texts != images:
        raise ValueError(f"{texts} texts and {images} images cannot be paired as {pairing!r}")
    return words, boxes


def _repeated(stream: Stream, times: int) -> Stream:
    """Repeat every row `times` times in succession."""
    return stream if times < 2 else Stream(*(part.repeat_interleave(times, axis=0) for part in stream))


def _read(states: paddle.Tensor, wanted: Wanted) -> paddle.Tensor | None:
    if wanted == "none":
        return None
    return states[:, :1] if wanted == "first" else states


def _without_gradient(fixed_layers: int):
    """Disable gradients for fixed layers and the embeddings before them."""
    return paddle.no_grad() if fixed_layers else nullcontext()
