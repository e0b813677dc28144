"""Decoding the base64 text in which bottom-up features were published.

`pybase64` is a thin binding of the SIMD library libbase64: an image of 100 x 2048 regions decodes in 0.1 ms against
several with the standard library, which would be most of the time that reading takes. Without it the standard
library decodes.
"""

from __future__ import annotations

import binascii

import numpy as np

from pyutils.errors import InputError

try:
    from pybase64 import b64decode as _decode_fast
except ImportError:
    _decode_fast = None


def decode_floats(text: str | bytes | memoryview, columns: int | None, where: str) -> np.ndarray:
    """Base64 of little-endian float32 → [rows, columns] float32, read-only.

    Args:
        text: base64, as text or ASCII bytes.
        columns: width of a row; None gives one row.
        where: file and entry for the error.

    Raises:
        InputError: not base64, or not a whole number of rows.
    """
    try:
        raw = _decode_fast(text, validate=True) if _decode_fast else binascii.a2b_base64(text)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: damaged base64 text ({error})") from error
    if len(raw) % (4 * (columns or 1)):
        raise InputError(f"{where}: {len(raw)} bytes are not whole rows of {columns or 1} float32 numbers")
    return np.frombuffer(raw, dtype="<f4").reshape(-1, columns) if columns else np.frombuffer(raw, dtype="<f4")[None]


def decoded_length(text: str | bytes | memoryview) -> int:
    """Number of bytes that base64 text without line breaks decodes to."""
    padding = 0
    for last in (text[-1:], text[-2:-1]):
        padding += last in ("=", b"=")
    return len(text) * 3 // 4 - padding
