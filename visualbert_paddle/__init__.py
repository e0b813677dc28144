"""VisualBERT (Li et al., arXiv 1908.03557) on Paddle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyutils  # prepares the CPU before Paddle loads

if getattr(pyutils, "DISTRIBUTION", None) != "paddle-vl-suite":
    raise ImportError(
        f"{pyutils.__file__} is an unrelated package named pyutils. "
        "Uninstall it (pip uninstall pyutils) and install paddle-vl-suite again."
    )

__version__ = pyutils.__version__

if TYPE_CHECKING:
    from visualbert_paddle.models import *  # noqa: F403

# The names of `models`, here again so that importing another module of the package does not import Paddle.
__all__ = [  # noqa: F405
    "VisualBertConfig",
    "VisualBertForMultipleChoice",
    "VisualBertForPhraseGrounding",
    "VisualBertForPretraining",
    "VisualBertForQuestionAnswering",
    "VisualBertForReasoning",
    "VisualBertForRetrieval",
    "VisualBertForVQA",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from visualbert_paddle import models

    return getattr(models, name)
