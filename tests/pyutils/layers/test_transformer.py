"""Shortcuts of the transformer stack give what the full computation gives."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.layers.attention import attention_bias
from pyutils.layers.transformer import LayerShape, TransformerEncoder


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("read_at", [None, 0])
def test_the_self_attention_done_before_is_not_repeated(num_layers, read_at):
    paddle.seed(3)
    shape = LayerShape(hidden_size=16, num_heads=4, intermediate_size=32, context_size=12, init_std=0.5)
    encoder = TransformerEncoder(shape, num_layers)
    encoder.eval()
    states, contexts = paddle.randn([2, 5, 16]), [paddle.randn([2, 7, 12]) for _ in range(2)]
    bias = attention_bias(paddle.to_tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    begun = encoder.attend_first(states, bias)
    assert not np.allclose(begun.numpy(), states.numpy(), atol=0.1)
    for context in contexts:
        memories = encoder.project_memories(context)
        full = encoder(states, bias, memories=memories).numpy()
        found = encoder(begun, bias, read_at=read_at, memories=memories, attended=True).numpy()
        np.testing.assert_allclose(found, full if read_at is None else full[:, :1], atol=1e-5)
