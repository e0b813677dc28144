"""Copying stored features into float32 arrays, with a fast way for float16."""

from __future__ import annotations

import numpy as np

_BLOCK = 32 * 1024  # values converted together: the block stays in the processor's cache over all passes
_BEYOND_HALF = 65536.0  # where the bits of an infinity or NaN end up; finite halves stay below
_WIDEN = np.float32(2.0**112)
_KEEP = np.int32(-0x70000001)  # 0x8FFFFFFF: the sign and the 15 bits below the three copies of it


def copy_as_float32(out: np.ndarray, stored: np.ndarray) -> None:
    """Copy `stored` [rows, dimension] of any float type into `out` [rows, dimension] float32.

    float16 is widened bit by bit: shifting the 15 lower bits of a half into place gives its value times 2^-112 as a
    float, subnormals included, so one exact multiplication finishes. NumPy's own conversion handles infinities and
    NaN as well and takes about six times as long; a block that holds one of those is left to it.
    """
    if stored.dtype != np.float16 or not (out.flags.c_contiguous and stored.flags.c_contiguous) or not stored.size:
        np.copyto(out, stored, casting="same_kind")
        return
    halves, bits = stored.reshape(-1).view(np.int16), out.reshape(-1).view(np.int32)
    floats = out.reshape(-1)
    for start in range(0, len(floats), _BLOCK):
        part = slice(start, start + _BLOCK)
        wide = bits[part]
        wide[...] = halves[part]
        np.left_shift(wide, 13, out=wide)
        np.bitwise_and(wide, _KEEP, out=wide)
        np.multiply(floats[part], _WIDEN, out=floats[part])
        if max(floats[part].max(), -floats[part].min()) >= _BEYOND_HALF:
            floats[part] = halves[part].view(np.float16)
