"""The linear layer's way of adding its bias changes neither value nor gradient."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.layers.attention import attention_bias, attention_weights, spread_bias
from pyutils.layers.initializers import layer_norm, linear


def test_training_equals_evaluation():
    paddle.seed(0)
    layer, states = linear(6, 5), paddle.randn([2, 3, 6])
    layer.bias.set_value(paddle.randn([5]))
    states.stop_gradient = False
    outcomes = []
    for mode in (layer.train, layer.eval):
        mode()
        out = layer(states)
        (out * out).sum().backward()
        outcomes.append([out, states.grad, layer.weight.grad, layer.bias.grad])
        outcomes[-1] = [tensor.numpy() for tensor in outcomes[-1]]
        for tensor in (states, *layer.parameters()):
            tensor.clear_gradient(False)
    for trained, evaluated in zip(*outcomes):
        np.testing.assert_allclose(trained, evaluated, rtol=1e-5, atol=1e-6)


def test_a_spread_bias_gives_the_same_weights():
    paddle.seed(0)
    queries, keys = paddle.randn([2, 3, 4, 8]), paddle.randn([2, 3, 4, 8])
    bias = attention_bias(paddle.to_tensor([[1, 1, 1, 0], [1, 1, 0, 0]]))
    wide = spread_bias(bias, 3, 4)
    assert wide.shape == [2, 3, 4, 4]
    np.testing.assert_array_equal(
        attention_weights(queries, keys, bias).numpy(), attention_weights(queries, keys, wide).numpy()
    )
    assert spread_bias(None, 3, 4) is None


@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("weight", "bias")])
def test_a_frozen_layer_norm_passes_the_same_gradient(frozen):
    paddle.seed(0)
    norm, probe = layer_norm(8), paddle.randn([2, 5, 8])
    norm.weight.set_value(paddle.randn([8]))
    norm.bias.set_value(paddle.randn([8]))
    gradients, outputs = [], []
    states = paddle.randn([2, 5, 8])
    for names in ((), frozen):
        for name in names:
            getattr(norm, name).stop_gradient = True
        given = states.clone().detach()
        given.stop_gradient = False
        out = norm(given)
        (out * probe).sum().backward()
        gradients.append(given.grad.numpy())
        outputs.append(out.numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
