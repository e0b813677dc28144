"""VisualBERT for retrieval: ITC between words and regions encoded alone, ITM by the head of pre-training."""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import nn

from pyutils.errors import InputError
from pyutils.layers.attention import attention_bias
from pyutils.layers.contrast import ContrastiveHead
from pyutils.layers.initializers import linear
from pyutils.packages import PretrainedModel
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.model import VisualBert


class Alone(NamedTuple):
    """Words or regions without the other: `states` `[n, tokens, hidden]` that the joint sequence takes, `mask`
    `[n, tokens]` (1 = token), unit `features` `[n, dim]` float32."""

    states: paddle.Tensor
    mask: paddle.Tensor
    features: paddle.Tensor


class VisualBertForRetrieval(PretrainedModel, nn.Layer):
    """A dual encoder and the sentence-image head (paper, section 3.3) on one BERT.

    The same layers read words alone, regions alone, and both. InputError without `config.contrast.dim`.
    """

    def __init__(self, config: VisualBertConfig):
        super().__init__()
        if not config.contrast.dim:
            raise InputError("retrieval compares features of model.contrast.dim dimensions, which is 0; set e.g. 256")
        self.config = config
        self.encoder = VisualBert(config)
        self.sentence_image = linear(config.hidden_size, 2, config.init_std)
        self.contrast = ContrastiveHead(config.contrast, config.hidden_size, config.hidden_size, config.init_std)

    def words(
        self,
        input_ids: paddle.Tensor,
        text_mask: paddle.Tensor | None = None,
        token_type_ids: paddle.Tensor | None = None,
    ) -> Alone:
        """Encode texts `[n, t]` int64. With `bypass_encoder` the joint sequence takes the encoded words."""
        mask = paddle.ones(input_ids.shape) if text_mask is None else text_mask.astype("float32")
        states = self.encoder.embeddings(input_ids, token_type_ids, None, None)
        encoded = self.encoder.encoder(states, attention_bias(mask))
        kept = states if self.encoder.joint_layer is None else encoded
        return Alone(kept, mask, self.contrast.text_features(encoded, mask))

    def regions(
        self,
        region_features: paddle.Tensor,
        region_mask: paddle.Tensor,
        region_token_type_ids: paddle.Tensor | None = None,
    ) -> Alone:
        """Encode images: `[n, r, visual_dim]` float32, mask and token types `[n, r]` int64."""
        mask = region_mask.astype("float32")
        states = self.encoder.embeddings.regions_alone(region_features, region_token_type_ids)
        if self.encoder.joint_layer is None:
            encoded = self.encoder.encoder(states, attention_bias(mask))
        else:
            encoded, _ = self.encoder.joint_layer(states, attention_bias(mask))
        return Alone(states, mask, self.contrast.image_features(encoded, mask))

    def itm_logits(
        self, words: paddle.Tensor, text_mask: paddle.Tensor, regions: paddle.Tensor, region_mask: paddle.Tensor
    ) -> paddle.Tensor:
        """Compute ITM logits `[n, 2]` (class 1 = match) of states of `words` and `regions`, row by row."""
        joint = paddle.concat([words, regions], axis=1)
        bias = attention_bias(paddle.concat([text_mask, region_mask], axis=1))
        if self.encoder.joint_layer is None:
            states = self.encoder.encoder(joint, bias, read_at=0)
        else:
            states, _ = self.encoder.joint_layer(joint, bias, wanted=joint[:, :1])
        return self.sentence_image(self.encoder.pooler(states))
