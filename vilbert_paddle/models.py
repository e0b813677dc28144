"""The networks that `from vilbert_paddle import …` offers."""

from vilbert_paddle.config import VilbertConfig
from vilbert_paddle.network.heads import (
    VilbertForPretraining,
    VilbertForTasks,
)

__all__ = [
    "VilbertConfig",
    "VilbertForPretraining",
    "VilbertForTasks",
]
