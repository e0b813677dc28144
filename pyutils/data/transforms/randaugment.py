"""RandAugment (Cubuk et al., CVPR Workshops 2020): a few random operations of one strength."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pyutils.data.transforms import operations

MAX_LEVEL = 10
# The operations of ALBEF: those that keep colours, since captions name colours.
ALBEF_OPERATIONS = (
    *("Identity", "AutoContrast", "Equalize", "Brightness", "Sharpness"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
)


def _none(level: float, rng: np.random.Generator) -> tuple[()]:
    return ()


def _enhance(level: float, rng: np.random.Generator) -> tuple[float]:
    return (level / MAX_LEVEL * 1.8 + 0.1,)


def _scaled(most: float) -> Callable[[float, np.random.Generator], tuple[int]]:
    return lambda level, rng: (int(level / MAX_LEVEL * most),)


def _signed(
    most: float, negative: Callable[[float, float], bool] = operator.gt
) -> Callable[[float, np.random.Generator], tuple[float]]:
    """`most` x level / 10, negated for half of the draws: those above 0.5, or below, as in the original."""

    def argument(level: float, rng: np.random.Generator) -> tuple[float]:
        value = level / MAX_LEVEL * most
        return (-value if negative(rng.random(), 0.5) else value,)

    return argument


# name: (operation, its arguments from the level and the random numbers)
OPERATIONS: dict[str, tuple[Callable[..., np.ndarray], Callable[[float, np.random.Generator], tuple[Any, ...]]]] = {
    "Identity": (operations.identity, _none),
    "AutoContrast": (operations.auto_contrast, _none),
    "Equalize": (operations.equalize, _none),
    "Rotate": (operations.rotate, _signed(30, operator.lt)),
    "Solarize": (operations.solarize, _scaled(256)),
    "Color": (operations.color, _enhance),
    "Contrast": (operations.contrast, _enhance),
    "Brightness": (operations.brightness, _enhance),
    "Sharpness": (operations.sharpness, _enhance),
    "ShearX": (operations.shear_x, _signed(0.3)),
    "TranslateX": (operations.translate_x, _signed(10)),
    "TranslateY": (operations.translate_y, _signed(10)),
    "Posterize": (operations.posterize, _scaled(4)),
    "ShearY": (operations.shear_y, _signed(0.3)),
}


class RandomAugment:
    """Apply `count` operations, drawn with replacement, each with probability 1/2 at strength `level` of 10.

    `names` are the operations to draw from (keys of OPERATIONS; ALBEF's ten by default). `wrap_contrast` keeps the
    original's AutoContrast, see `operations.auto_contrast`.
    """

    def __init__(
        self, count: int = 2, level: float = 7, names: Sequence[str] = ALBEF_OPERATIONS, wrap_contrast: bool = True
    ) -> None:
        self.count, self.level, self.names, self.wrap_contrast = count, level, tuple(names), wrap_contrast

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment [height, width, 3] uint8. Draws the operations, then for each if it applies, then its sign."""
        for number in rng.integers(0, len(self.names), self.count):
            if rng.random() > 0.5:
                continue
            name = self.names[int(number)]
            operation, arguments = OPERATIONS[name]
            if name == "AutoContrast":
                operation = partial(operation, wrap=self.wrap_contrast)
            image = operation(image, *arguments(self.level, rng))
        return image
