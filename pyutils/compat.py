"""Code that depends on the Paddle version (tested with 3.3.1 and 2.6.2) or on its private functions.

Importing this module imports Paddle and sets the thread count to `pyutils.runtime.thread_count()`.
"""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager
from functools import lru_cache

import numpy as np
import paddle
import paddle.nn.functional as F

from pyutils import runtime

PADDLE_VERSION = tuple(int(number) for number in re.findall(r"\d+", paddle.__version__)[:3])
"""(3, 3, 1) for "3.3.1", "3.3.1-rc0" and "3.3.1.post118"."""


def use_cpu_threads(count: int | None = None) -> None:
    """Let Paddle's CPU kernels use `count` threads, by default `runtime.thread_count()`.

    Paddle reads OMP_NUM_THREADS only while it is imported, and uses one thread without it.
    """
    paddle.base.core.set_num_threads(count or runtime.thread_count())


def use_plain_layouts() -> None:
    """Without a GPU, let transposes copy.

    Paddle's strided views make a transpose free, but on the CPU each later kernel then copies element by element:
    merging attention heads took 6.7 ms instead of 0.2.
    """
    if not has_gpu():
        paddle.set_flags({"FLAGS_use_stride_kernel": False})


def fp32_island() -> AbstractContextManager:
    """Return a context inside autocast that runs in float32 (similarities, temperatures, negative sampling).

    Cast half-precision inputs: `with fp32_island(): x = x.astype("float32") …`.
    """
    return paddle.amp.auto_cast(enable=False)


def has_gpu() -> bool:
    """Return True if Paddle can use a CUDA device of this machine."""
    return bool(paddle.device.is_compiled_with_cuda()) and paddle.device.cuda.device_count() > 0


def gpu_capability() -> tuple[int, int]:
    """Return the compute capability of the current GPU, such as (7, 0) for a V100."""
    major, minor = paddle.device.cuda.get_device_capability()
    return int(major), int(minor)


def fused_attention_available(queries: paddle.Tensor) -> bool:
    """Return True if a fused kernel exists for `queries` `[batch, heads, tokens, head_dim]`: GPU, half precision,
    head_dim a multiple of 8 up to 256. On the CPU the explicit form is as fast."""
    head_dim = queries.shape[-1]
    half = queries.dtype in (paddle.float16, paddle.bfloat16)
    return half and queries.place.is_gpu_place() and head_dim % 8 == 0 and head_dim <= 256


def scaled_dot_product_attention(
    queries: paddle.Tensor, keys: paddle.Tensor, values: paddle.Tensor, bias: paddle.Tensor | None, dropout: float
) -> paddle.Tensor:
    """softmax(q kᵀ / √head_dim + bias) v by Paddle's fused kernel.

    `queries` `[batch, heads, tokens, head_dim]`, keys and values `[batch or 1, heads, keys, head_dim]`, `bias`
    broadcastable to `[batch, heads, tokens, keys]`, `dropout` 0 in evaluation. Returns the shape of `queries`.
    """
    batch, heads, tokens, _ = queries.shape
    if keys.shape[0] != batch:
        keys = keys.expand([batch, *keys.shape[1:]])
        values = values.expand([batch, *values.shape[1:]])
    if bias is not None:
        bias = bias.astype(queries.dtype).expand([batch, heads, tokens, keys.shape[2]])
    mixed = F.scaled_dot_product_attention(
        *(part.transpose([0, 2, 1, 3]) for part in (queries, keys, values)),
        attn_mask=bias,
        dropout_p=dropout,
        training=dropout > 0.0,
    )
    return mixed.transpose([0, 2, 1, 3])


def recompute(layer: paddle.nn.Layer, *inputs, **named):
    """Run `layer` without storing activations; the backward pass recomputes them."""
    # Only the form with hooks supports tensors in `named` and in tuples, and layers whose inputs have no gradient.
    # On the CPU, 2.6 cannot repeat dropout in that form: no recomputation.
    from paddle.distributed.fleet.utils import recompute as paddle_recompute

    if PADDLE_VERSION < (3,) and not has_gpu():
        return layer(*inputs, **named)
    return paddle_recompute(layer, *inputs, use_reentrant=False, **named)


def adamw_kernel_(
    parameter: paddle.Tensor,
    gradient: paddle.Tensor,
    moments: tuple[paddle.Tensor, paddle.Tensor],
    betas: tuple[float, float],
    step_size: float,
    eps: float,
    decay: float,
) -> None:
    """Run Paddle's fused AdamW kernel without bias correction; parameter and moments change in place.

        moment1 <- beta1 moment1 + (1 - beta1) gradient          moment2 alike with the gradient squared
        parameter <- (1 - decay) parameter - step_size moment1 / (sqrt(moment2) + eps)

    All tensors have one shape, dtype and place. `decay` is learning rate x weight decay; other than 0 it needs a
    `step_size` other than 0.
    """
    # The kernel computes 1 - beta in single precision, for 0.999 a relative 4.7e-5 too large, and so are both moments;
    # step size and eps compensate.
    first, second = (float(np.float32(1.0) - np.float32(beta)) / (1.0 - beta) for beta in betas)
    step_size, eps = step_size * math.sqrt(second) / first, eps * math.sqrt(second)
    rate = _one_number(step_size, parameter.dtype, str(parameter.place))
    no_power = _one_number(0.0, parameter.dtype, str(parameter.place))  # switches the kernel's own correction off
    coefficient = decay / step_size if decay else 0.0
    # The kernel is private; that of 3.x has a third moment and `amsgrad`.
    third_moment, amsgrad = ([None], [False]) if PADDLE_VERSION >= (3,) else ([], [])
    # fmt: off
    paddle._C_ops.adamw_(
        parameter, gradient, rate, *moments, *third_moment, no_power, no_power, None, None, *betas, eps, 1.0,
        coefficient, bool(decay), False, 1000, False, True, *amsgrad,
    )
    # fmt: on


@lru_cache(maxsize=256)
def _one_number(value: float, dtype: paddle.dtype, place: str) -> paddle.Tensor:
    """Return `[value]` on the current device `place`; cached, because the parameters of a step share a few values."""
    return paddle.full([1], value, dtype=dtype)


def squared_norm(tensor: paddle.Tensor) -> paddle.Tensor:
    """Return the sum of squares as a scalar tensor of the same dtype, by the kernel of Paddle's gradient clipping."""
    return paddle._C_ops.squared_l2_norm(tensor).reshape([])


def stop_data_workers(iterator) -> None:
    """End the worker processes of a multi-process `paddle.io.DataLoader` iterator at once."""
    # Its own clean-up waits for garbage collection, which its reader thread prevents; Paddle reports workers that are
    # killed at the end of the program as failures. Private to Paddle, alike in 2.6 and 3.x.
    iterator._try_shutdown_all()


use_cpu_threads()
use_plain_layouts()
