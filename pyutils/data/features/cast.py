"""Copying stored features into float32 arrays, with a fast way for float16."""

from __future__ import annotations

import numpy as np

_BLOCK = 32 * 1024  # values converted together: the block stays in the processor's cache over all passes
_WIDEN = np.float32(2.0**112)
_DROP_SIGN_COPIES = np.int32(-0x70000001)  # 0x8FFFFFFF
_SIGN, _INFINITY, _NEGATIVE_INFINITY = 0x8000, 0x7C00, 0xFC00  # bit patterns of a half; NaN lies above its infinity


def copy_as_float32(out: np.ndarray, stored: np.ndarray) -> None:
    """Copy `stored` [rows, dimension] of any float type into `out` [rows, dimension] float32.

    float16 is widened bit by bit: shifting the 15 lower bits of a half into place gives its value times 2^-112 as a
    float, subnormals included, so one exact multiplication finishes. NumPy's own conversion handles infinities and
    NaN as well and takes six to ten times as long; a block that holds one of those is left to it. A float64 beyond the
    range of float32 becomes infinite, which `RegionSource` refuses.
    """
    if stored.dtype != np.float16 or not (out.flags.c_contiguous and stored.flags.c_contiguous) or not stored.size:
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(out, stored, casting="same_kind")
        return
    halves, floats = stored.reshape(-1), out.reshape(-1)
    for start in range(0, len(floats), _BLOCK):
        _widen(floats[start : start + _BLOCK], halves[start : start + _BLOCK])


def _widen(floats: np.ndarray, halves: np.ndarray) -> None:
    """Convert one block."""
    largest = int(halves.view(np.uint16).max())  # as unsigned numbers, negative halves lie above the positive ones
    signed = largest >= _SIGN
    finite = largest < (_NEGATIVE_INFINITY if signed else _INFINITY)
    if not finite or (signed and int(halves.view(np.int16).max()) >= _INFINITY):
        np.copyto(floats, halves)
        return
    bits = floats.view(np.int32)
    bits[...] = halves.view(np.int16)
    np.left_shift(bits, 13, out=bits)
    if signed:  # widening to 32 bits copied the sign into the bits below it
        np.bitwise_and(bits, _DROP_SIGN_COPIES, out=bits)
    np.multiply(floats, _WIDEN, out=floats)
