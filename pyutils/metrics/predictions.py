"""Metrics and result files: the interface of every task's predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any


class Predictions(ABC):
    """Predictions for every record of one split, gathered over all processes, in the order of the records."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """Return the metrics of the split, the same on every process; {} where the records carry no labels."""

    def conditions(self) -> dict[str, Any]:
        """Return how the metrics were computed (version, candidates re-ranked), as JSON values for the result files."""
        return {}

    def write(self, directory: Path) -> list[Path]:
        """Write the result files (server format) into `directory` and return their paths; on the main process only."""
        return []


class MetricsOnly(Predictions):
    """Metrics without result files, such as the losses of a pre-training."""

    def __init__(self, metrics: dict[str, float]):
        self._metrics = metrics

    def metrics(self) -> dict[str, float]:
        """Return the metrics given to the constructor."""
        return self._metrics
