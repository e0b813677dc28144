"""Dropout: what is dropped, how the rest is scaled, and what fixes the mask."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.compat import recompute
from pyutils.layers.dropout import Dropout, dropout


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_share_and_scale(rate):
    paddle.seed(0)
    count = 400_000
    out = dropout(paddle.ones([count]), rate).numpy()
    kept = out != 0
    assert abs((1 - kept.mean()) - rate) < 4 * np.sqrt(rate * (1 - rate) / count)
    np.testing.assert_allclose(out[kept], 1 / (1 - rate), rtol=2e-5)
    assert abs(out.mean() - 1) < 0.01


def test_off_in_eval_mode_and_at_rate_zero():
    states = paddle.randn([3, 4])
    layer = Dropout(0.5)
    layer.eval()
    assert layer(states) is states
    assert dropout(states, 0.0) is states


def test_seed_fixes_the_mask_and_calls_differ():
    def masks():
        paddle.seed(7)
        return [dropout(paddle.ones([64]), 0.3).numpy() for _ in range(2)]

    first, second = masks(), masks()
    np.testing.assert_array_equal(first, second)
    assert (first[0] != first[1]).any()


def test_gradient_is_the_mask():
    paddle.seed(1)
    states = paddle.ones([50])
    states.stop_gradient = False
    out = dropout(states, 0.4)
    out.sum().backward()
    np.testing.assert_array_equal(states.grad.numpy(), out.numpy())


def test_recomputation_meets_the_same_mask():
    layer = Dropout(0.5)
    states = paddle.ones([200])
    states.stop_gradient = False
    out = recompute(layer, states)
    out.sum().backward()
    np.testing.assert_array_equal(states.grad.numpy(), out.numpy())


def test_everything_can_be_dropped():
    assert not dropout(paddle.ones([10]), 1.0).numpy().any()
