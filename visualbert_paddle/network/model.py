"""VisualBERT (Li et al., arXiv 1908.03557): one BERT over words and image regions."""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import nn

from pyutils.layers.attention import attention_bias
from pyutils.layers.embeddings import TextEmbeddings, mean_of_rows
from pyutils.layers.heads import Pooler, take_positions
from pyutils.layers.initializers import embedding, linear
from pyutils.layers.transformer import TransformerEncoder, TransformerLayer
from visualbert_paddle.config import VisualBertConfig


class EncoderOutput(NamedTuple):
    """Output of the encoder: `states` `[batch, t + r, hidden]`, text first, then regions (or `[batch, 1, hidden]` when
    one position was read); `text_length` t."""

    states: paddle.Tensor
    text_length: int

    @property
    def regions(self) -> paddle.Tensor:
        """States of the regions, `[batch, r, hidden]`."""
        return self.states[:, self.text_length :]


class JointEmbeddings(nn.Layer):
    """Embeddings of words and regions in one sequence (paper, section 3.2).

    A region is its projected feature + the embedding of its token type + a position: row 0 of the visual position
    table, plus, where the region is aligned with words, the mean of those words' position embeddings.
    """

    def __init__(self, config: VisualBertConfig):
        super().__init__()
        self.text = TextEmbeddings(
            config.vocab_size,
            config.hidden_size,
            config.max_positions,
            config.token_types,
            config.layer_norm_eps,
            config.hidden_dropout,
            config.init_std,
        )
        self.region_projection = linear(config.visual_dim, config.hidden_size, config.init_std)
        self.region_positions = embedding(config.max_positions, config.hidden_size, config.init_std)
        self.region_token_types = embedding(config.token_types, config.hidden_size, config.init_std)
        # The authors start the visual tables as copies of the textual ones.
        self.region_positions.weight.set_value(self.text.positions.weight)
        self.region_token_types.weight.set_value(self.text.token_types.weight)

    def regions(
        self,
        features: paddle.Tensor,
        token_type_ids: paddle.Tensor | None = None,
        alignment: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """Region embeddings before LayerNorm, `[batch, r, hidden]`, of `features` `[batch, r, visual_dim]`.

        `token_type_ids` `[batch, r]` int64, default 0 as the authors have it. `alignment` `[batch, ≥ r, a]` int64:
        positions of the words aligned with each region, -1 = none.
        """
        types = self.region_token_types
        token_types = types.weight[0] if token_type_ids is None else types(token_type_ids)
        vectors = self.region_projection(features) + self.region_positions.weight[0] + token_types
        if alignment is None:
            return vectors
        return vectors + mean_of_rows(self.text.positions.weight, alignment[:, : features.shape[1]])

    def regions_alone(self, features: paddle.Tensor, token_type_ids: paddle.Tensor | None = None) -> paddle.Tensor:
        """The regions' part of the joint sequence, `[batch, r, hidden]`; LayerNorm acts on each token alone."""
        return self.text.dropout(self.text.norm(self.regions(features, token_type_ids)))

    def forward(
        self,
        input_ids: paddle.Tensor,
        token_type_ids: paddle.Tensor | None,
        position_ids: paddle.Tensor | None,
        regions: paddle.Tensor | None,
    ) -> paddle.Tensor:
        """The joint sequence `[batch, t + r, hidden]`.

        `input_ids`, `token_type_ids`, `position_ids`: see `TextEmbeddings.summed`; `regions`: output of `regions()`, or
        None.
        """
        summed = self.text.summed(input_ids, token_type_ids, position_ids)
        joint = summed if regions is None else paddle.concat([summed, regions], axis=1)
        return self.text.dropout(self.text.norm(joint))


class VisualBert(nn.Layer):
    """Embeddings, encoder, pooler. With `config.bypass_encoder` only the words pass through the encoder; one more layer
    then joins words and regions."""

    def __init__(self, config: VisualBertConfig):
        super().__init__()
        self.config = config
        self.embeddings = JointEmbeddings(config)
        self.encoder = TransformerEncoder(config.layer_shape(), config.num_layers)
        self.joint_layer = TransformerLayer(config.layer_shape()) if config.bypass_encoder else None
        self.pooler = Pooler(config.hidden_size, init_std=config.init_std)

    @property
    def word_table(self) -> paddle.Tensor:
        """Word embeddings `[vocab, hidden]`, tied to the MLM head."""
        return self.embeddings.text.words.weight

    def embed(
        self,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor | None = None,
        token_type_ids: paddle.Tensor | None = None,
        region_features: paddle.Tensor | None = None,
        region_mask: paddle.Tensor | None = None,
        region_token_type_ids: paddle.Tensor | None = None,
        alignment: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Embed words and regions: `[batch, t + r, hidden]`, and the attention bias (None when nothing is masked).

        `input_ids`, `text_mask` (1 = word), `token_type_ids`, `position_ids`: `[batch, t]` int64; `region_features`
        `[batch, r, visual_dim]` float32; `region_mask` (1 = region), `region_token_type_ids`: `[batch, r]` int64;
        `alignment` `[batch, r, a]` int64.
        """
        regions = None
        if region_features is not None:
            regions = self.embeddings.regions(region_features, region_token_type_ids, alignment)
        joint = self.embeddings(input_ids, token_type_ids, position_ids, regions)
        if text_mask is None and region_mask is None:
            return joint, None
        words = paddle.ones(input_ids.shape) if text_mask is None else text_mask.astype("float32")
        if regions is None:
            return joint, attention_bias(words)
        boxes = paddle.ones(regions.shape[:2]) if region_mask is None else region_mask.astype("float32")
        return joint, attention_bias(paddle.concat([words, boxes], axis=1))

    def forward(self, read_at: int | paddle.Tensor | None = None, **inputs) -> EncoderOutput:
        """Encode words and regions; `inputs` as in `embed`. `read_at`: see `TransformerEncoder.forward`."""
        joint, bias = self.embed(**inputs)
        length = inputs["input_ids"].shape[1]
        if self.joint_layer is None or joint.shape[1] == length:
            return EncoderOutput(self.encoder(joint, bias, read_at=read_at), length)
        words = self.encoder(joint[:, :length], None if bias is None else bias[..., :length])
        states, _ = self.joint_layer(paddle.concat([words, joint[:, length:]], axis=1), bias)
        if read_at is not None:
            states = take_positions(states, read_at)
        return EncoderOutput(states, length)
