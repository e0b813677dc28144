"""Everything whose spelling depends on the Paddle version, in one place. Importing it imports Paddle.

Tested with 3.3.1 and 2.6.2. On import the process gets the thread count of `pyutils.runtime.thread_count()`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import paddle
import paddle.nn.functional as F

from pyutils import runtime


def _version_numbers(text: str) -> tuple[int, ...]:
    """(3, 3, 1) from "3.3.1", "3.3.1-rc0" or "3.3.1.post118"."""
    numbers = []
    for part in text.replace("-", ".").split(".")[:3]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


PADDLE_VERSION: tuple[int, ...] = _version_numbers(paddle.__version__)


def use_cpu_threads(count: int | None = None) -> int:
    """Let Paddle's CPU kernels use `count` threads (default: `runtime.thread_count()`) and return that number.

    Paddle reads OMP_NUM_THREADS only while it loads and takes one thread without it, so a call is needed afterwards.
    """
    count = runtime.thread_count() if count is None else max(1, int(count))
    paddle.base.core.set_num_threads(count)
    return count


def use_plain_layouts() -> None:
    """On a machine without GPU, let transposes write what they return.

    With Paddle's strided views a transpose costs nothing, but on the CPU each later kernel then copies element by
    element: merging attention heads took 6.7 ms instead of 0.2.
    """
    if not has_gpu():
        paddle.set_flags({"FLAGS_use_stride_kernel": False})


def has_gpu() -> bool:
    """Whether this Paddle build can use a CUDA device of this machine."""
    return bool(paddle.device.is_compiled_with_cuda()) and paddle.device.cuda.device_count() > 0


def fused_attention_available(queries: paddle.Tensor) -> bool:
    """Whether a fused attention kernel exists for `queries` `[batch, heads, tokens, head_dim]` (a GPU, half precision,
    head_dim a multiple of 8 up to 256); on the CPU the explicit form is as fast."""
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
    """Run `layer` without keeping its activations; they are computed again in the backward pass.

    Only the hook-based form sees tensors inside `named` and in tuples, and parameters of a layer none of whose inputs
    has a gradient. 2.6 cannot repeat dropout draws on the CPU in that form; there the layer simply runs.
    """
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
    """Paddle's fused AdamW kernel with every bias correction left to the caller; parameter and moments change in place.

        moment1 <- beta1 moment1 + (1 - beta1) gradient          moment2 alike with the gradient squared
        parameter <- (1 - decay) parameter - step_size moment1 / (sqrt(moment2) + eps)

    All tensors share shape, dtype and place. `decay` is the share that is taken off the parameter (rate x weight
    decay), not a coefficient; one other than 0 needs a `step_size` other than 0. The kernel is private to Paddle and
    its arguments differ between releases: 3.x has a third moment and `amsgrad`.
    """
    # The kernel takes 1 - beta in single precision: for 0.999 that is 4.7e-5 too much. Both moments come out that much
    # larger; step size and eps take the factor back.
    first, second = (float(np.float32(1.0) - np.float32(beta)) / (1.0 - beta) for beta in betas)
    step_size, eps = step_size * math.sqrt(second) / first, eps * math.sqrt(second)
    rate = _one_number(step_size, parameter.dtype, str(parameter.place))
    no_power = _one_number(0.0, parameter.dtype, str(parameter.place))  # switches the kernel's own correction off
    coefficient = decay / step_size if decay else 0.0
    third_moment, amsgrad = ([None], [False]) if PADDLE_VERSION >= (3,) else ([], [])
    # fmt: off
    paddle._C_ops.adamw_(
        parameter, gradient, rate, *moments, *third_moment, no_power, no_power, None, None, *betas, eps, 1.0,
        coefficient, bool(decay), False, 1000, False, True, *amsgrad,
    )
    # fmt: on


@lru_cache(maxsize=256)
def _one_number(value: float, dtype: paddle.dtype, place: str) -> paddle.Tensor:
    """`[value]` on the present device, which is `place`; kept, because the parameters of a step share a few values."""
    return paddle.full([1], value, dtype=dtype)


def squared_norm(tensor: paddle.Tensor) -> paddle.Tensor:
    """Sum of squares as a scalar tensor of the same dtype, by the kernel that Paddle's own gradient clipping uses."""
    return paddle._C_ops.squared_l2_norm(tensor).reshape([])


use_cpu_threads()
use_plain_layouts()


def stop_data_workers(iterator) -> None:
    """End the worker processes of a multi-process `paddle.io.DataLoader` iterator now.

    Its own clean-up waits for the garbage collector, which its reader thread keeps off; workers that are still there
    when the program ends are killed, and Paddle reports each as a failure. Private to Paddle, alike in 2.6 and 3.x.
    """
    iterator._try_shutdown_all()
