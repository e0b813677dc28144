"""Images as the bottom-up detector takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

from pyutils.regions.detector import DetectorConfig


class DetectorInput(NamedTuple):
    """A batch: `images` `[n, 3, h, w]` float32, zeros where padded; `sizes` `[n, 2]` int64 height, width after the
    resize; `scales` `[n, 2]` float32 original / resized height, width."""

    images: paddle.Tensor
    sizes: np.ndarray
    scales: np.ndarray


def preprocess(images: Sequence[np.ndarray], config: DetectorConfig) -> DetectorInput:
    """Resize and normalise RGB images `[h, w, 3]` (0-255), and pad them to one size.

    The resize is bilinear without antialiasing. Padding comes after the mean is subtracted, and nothing masks it:
    features of an image near the padding depend on the others in the batch, as in the original.
    """
    resized = [_resize(image, config) for image in images]
    sizes = np.array([each.shape[2:] for each in resized], np.int64)
    height, width = sizes.max(axis=0).tolist()
    padded = [F.pad(each, [0, width - each.shape[3], 0, height - each.shape[2]]) for each in resized]
    original = np.array([image.shape[:2] for image in images], np.float64)
    return DetectorInput(paddle.concat(padded), sizes, (original / sizes).astype(np.float32))


def resized_size(height: int, width: int, config: DetectorConfig) -> tuple[int, int]:
    """Return height and width with the shorter side at `min_side`, unless the longer one would pass `max_side`."""
    scale = config.min_side / min(height, width)
    if scale * max(height, width) > config.max_side:
        scale = config.max_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))  # a strip keeps one row


def _resize(image: np.ndarray, config: DetectorConfig) -> paddle.Tensor:
    ordered = image if config.channel_order == "rgb" else image[:, :, ::-1]
    pixels = paddle.to_tensor(np.ascontiguousarray(ordered, dtype=np.float32).transpose(2, 0, 1)[None])
    size = list(resized_size(image.shape[0], image.shape[1], config))
    # align_mode 0 takes pixel centres, as PyTorch does without align_corners.
    pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, align_mode=0)
    mean, std = (
        paddle.to_tensor(v, dtype="float32").reshape([1, 3, 1, 1]) for v in (config.pixel_mean, config.pixel_std)
    )
    return (pixels - mean) / std
