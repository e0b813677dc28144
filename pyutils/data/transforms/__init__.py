"""What is done to pixels between a file and a model: NumPy and Pillow only, every random number from the caller."""

from pyutils.data.transforms.pipeline import (
    ALBEF_MEAN,
    ALBEF_STD,
    Crop,
    ImageTransform,
    Normalise,
    albef_transform,
    random_crop,
)
from pyutils.data.transforms.randaugment import ALBEF_OPERATIONS, RandomAugment

__all__ = [
    "ALBEF_MEAN",
    "ALBEF_OPERATIONS",
    "ALBEF_STD",
    "Crop",
    "ImageTransform",
    "Normalise",
    "RandomAugment",
    "albef_transform",
    "random_crop",
]
