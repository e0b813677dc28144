"""Image transforms from a decoded file to a model's input: NumPy and Pillow only, random numbers from the caller."""

from pyutils.data.transforms.pipeline import Crop, ImageTransform, albef_transform, normalise, random_crop
from pyutils.data.transforms.randaugment import RandomAugment

__all__ = ["Crop", "ImageTransform", "RandomAugment", "albef_transform", "normalise", "random_crop"]
