"""Search: the interface between the retrieval pipeline and a model that scores texts with many images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Chunks = Callable[[], Iterator[Sequence[str]]]
"""Called once per pass over the images: yields the keys of the next images, which the task then holds."""


class Gallery(ABC):
    """Images that texts are compared with."""

    @abstractmethod
    def scores(self, texts: Sequence[str], for_images: bool = False) -> np.ndarray:
        """Score texts with all images: `[texts, images]` float32, higher for better pairs.

        A model that ranks candidates only leaves -inf for the others: candidates of each text, or, `for_images`, of
        each image.
        """

    @abstractmethod
    def close(self) -> None:
        """Remove temporary files."""
