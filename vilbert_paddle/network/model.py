"""ViLBERT (Lu et al., arXiv 1908.02265): two streams, words and image regions, joined by co-attention layers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import paddle
from paddle import nn

from pyutils.layers.attention import AttentionMaps
from pyutils.layers.heads import Pooler
from vilbert_paddle.config import VilbertConfig
from vilbert_paddle.network.streams import (
    CoAttentionLayer,
    CoAttentionMaps,
    RegionEmbeddings,
    Stream,
    StreamLayers,
    Wanted,
    WordEmbeddings,
)

Pairing = Literal["rows", "grouped", "every_pair"]


class Encoded(NamedTuple):
    """Output of the encoder: `text` `[batch, t, hidden]` and `regions` `[batch, r, visual hidden]` (one token where
    only the first was asked for, None where none was), `region_mask` `[batch, r]` float32."""

    text: paddle.Tensor | None
    regions: paddle.Tensor | None
    region_mask: paddle.Tensor


@dataclass
class Trace:
    """What `Vilbert.trace` gathers: the states of both streams after every co-attention layer, and the attention of
    every text, visual and co-attention layer."""

    text: list[paddle.Tensor] = field(default_factory=list)
    regions: list[paddle.Tensor] = field(default_factory=list)
    text_maps: list[AttentionMaps] = field(default_factory=list)
    region_maps: list[AttentionMaps] = field(default_factory=list)
    connection_maps: list[CoAttentionMaps] = field(default_factory=list)

    def states(self, words: Stream, boxes: Stream) -> None:
        """Add the states of both streams."""
        self.text.append(words.states)
        self.regions.append(boxes.states)


class Vilbert(nn.Layer):
    """The two streams and their poolers.

    A pass has three parts: `begin_text` and `begin_regions` run what precedes the first co-attention layer, so that it
    can be kept and used for many pairs; `connect` runs the rest.
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
        pictures: paddle.Tensor | None = None,
        text: Wanted = "all",
        regions: Wanted = "all",
    ) -> Encoded:
        """Encode texts and images.

        `input_ids`, `text_mask` (1 = word, default all), `token_type_ids` (default 0): `[batch, t]` int64;
        `region_features` `[batch, r, region_dim]`, `region_boxes` `[batch, r, 5]` float32, `region_mask`
        `[batch, r]` int64 (1 = region, default all), region 0 being the whole image; `task_ids` `[batch, 1]` int64 when
        the model has task tokens: the text output is then one longer, the task token at position 1.

        `pairing`: "rows" row by row; "grouped" n texts a picture or n pictures a text, in consecutive rows, so that
        what there is less of is embedded once; "every_pair" text i with picture j in row i * pictures + j.
        `pictures` `[batch]` int64: which picture goes with each text, before `pairing`; a picture is embedded once,
        with one draw of the dropout up to the first co-attention layer. `text`, `regions`: which states are read
        afterwards; no others are computed at the end.
        """
        words = self.begin_text(input_ids, text_mask, token_type_ids, task_ids)
        boxes = self.begin_regions(region_features, region_boxes, region_mask, words)
        if pictures is not None:
            boxes = Stream(*(part.index_select(pictures) for part in boxes))
        return self.connect(*paired(words, boxes, pairing), text=text, regions=regions)

    def begin_text(
        self,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor | None = None,
        token_type_ids: paddle.Tensor | None = None,
        task_ids: paddle.Tensor | None = None,
        trace: Trace | None = None,
    ) -> Stream:
        """The text stream up to the first co-attention layer; arguments as in `forward`."""
        mask = paddle.ones(input_ids.shape) if text_mask is None else text_mask.astype("float32")
        if task_ids is not None:
            mask = paddle.concat([paddle.ones([mask.shape[0], 1]), mask], axis=1)
        stream, maps = self.config.text, trace.text_maps if trace else None
        with _without_gradient(stream.fixed_layers):
            words = Stream(self.text_embeddings(input_ids, token_type_ids, task_ids), mask)
            words = self.text.run(words, 0, stream.fixed_layers, maps=maps)
        return self.text.run(words, stream.fixed_layers, stream.first_connection, maps=maps)

    def begin_regions(
        self,
        region_features: paddle.Tensor,
        region_boxes: paddle.Tensor,
        region_mask: paddle.Tensor | None = None,
        words: Stream | None = None,
        trace: Trace | None = None,
    ) -> Stream:
        """The visual stream up to the first co-attention layer; arguments as in `forward`. `words`, the output of
        `begin_text`, is read by gated visual layers only."""
        mask = paddle.ones(region_features.shape[:2]) if region_mask is None else region_mask.astype("float32")
        stream, maps = self.config.regions, trace.region_maps if trace else None
        with _without_gradient(stream.fixed_layers):
            boxes = Stream(self.region_embeddings(region_features, region_boxes), mask)
            boxes = self.regions.run(boxes, 0, stream.fixed_layers, words, maps)
        return self.regions.run(boxes, stream.fixed_layers, stream.first_connection, words, maps)

    def connect(
        self, words: Stream, boxes: Stream, text: Wanted = "all", regions: Wanted = "all", trace: Trace | None = None
    ) -> Encoded:
        """From the first co-attention layer to the end, row by row; `text`, `regions` as in `forward`."""
        text_maps, region_maps = trace.text_maps if trace else None, trace.region_maps if trace else None
        text_done, regions_done = self.config.text.first_connection, self.config.regions.first_connection
        for number, ends in enumerate(zip(self.config.text.connect_at, self.config.regions.connect_at)):
            words = self.text.run(words, text_done, ends[0], maps=text_maps)
            boxes = self.regions.run(boxes, regions_done, ends[1], words, region_maps)
            if self.config.coattention:
                words, boxes = self._cross(number, words, boxes, text, regions, trace)
            if trace is not None:
                trace.states(words, boxes)
            text_done, regions_done = ends
        # The gates of the last visual layers read the words as they left the last co-attention layer.
        boxes = self.regions.run(boxes, regions_done, self.config.regions.num_layers, words, region_maps, regions)
        words = self.text.run(words, text_done, self.config.text.num_layers, maps=text_maps, read=text)
        return Encoded(_read(words.states, text), _read(boxes.states, regions), boxes.mask)

    def trace(self, pairing: Pairing = "rows", **inputs) -> Trace:
        """States after every co-attention layer and all attention maps; `inputs`: the tensors of `forward` by name."""
        trace = Trace()
        visual = {name: inputs.pop(name, None) for name in ("region_features", "region_boxes", "region_mask")}
        words = self.begin_text(**inputs, trace=trace)
        boxes = self.begin_regions(**visual, words=words, trace=trace)
        self.connect(*paired(words, boxes, pairing), trace=trace)
        return trace

    def pooled(self, text: paddle.Tensor, regions: paddle.Tensor) -> paddle.Tensor:
        """One vector a pair, `[batch, bridge_size]`: the pooled first states of both streams, multiplied or added."""
        words, boxes = self.text_pooler(text), self.region_pooler(regions)
        return words * boxes if self.config.fusion == "mul" else words + boxes

    def recompute(self, on: bool = True) -> None:
        """While training, keep no activations of the streams' layers but compute them again: slower, less memory."""
        self.text.recompute_layers = self.regions.recompute_layers = on

    def _cross(
        self, number: int, words: Stream, boxes: Stream, text: Wanted, regions: Wanted, trace: Trace | None
    ) -> tuple[Stream, Stream]:
        """Both streams after a co-attention layer; the last one leaves out a stream that nothing reads any more."""
        last = number == len(self.connections) - 1
        need_text = not last or text != "none" or self.config.gated_regions
        need_regions = not last or regions != "none"
        return self.connections[number](words, boxes, need_text, need_regions, trace.connection_maps if trace else None)


def paired(words: Stream, boxes: Stream, pairing: Pairing) -> tuple[Stream, Stream]:
    """Both streams with one row a pair; see `Vilbert.forward`. ValueError where their batches cannot be paired so."""
    texts, images = words.states.shape[0], boxes.states.shape[0]
    if pairing == "every_pair":
        words = _repeated(words, images)
        boxes = Stream(*(part.tile([texts] + [1] * (part.ndim - 1)) for part in boxes))
    elif pairing == "grouped" and max(texts, images) % min(texts, images) == 0:
        words, boxes = _repeated(words, images // texts), _repeated(boxes, texts // images)
    elif texts != images:
        raise ValueError(f"{texts} texts and {images} pictures cannot be paired as {pairing!r}")
    return words, boxes


def _repeated(stream: Stream, times: int) -> Stream:
    """Every row `times` times in succession; as it is when `times` is below 2."""
    return stream if times < 2 else Stream(*(part.repeat_interleave(times, axis=0) for part in stream))


def _read(states: paddle.Tensor, wanted: Wanted) -> paddle.Tensor | None:
    if wanted == "none":
        return None
    return states[:, :1] if wanted == "first" else states


def _without_gradient(fixed_layers: int):
    """Fixed layers, and the embeddings before them, run without gradient."""
    return paddle.no_grad() if fixed_layers else nullcontext()
