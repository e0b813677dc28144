"""Match the regions of two detections of an image by their boxes, and measure how alike they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyutils.data.features.spec import RegionFeatures
from pyutils.metrics.grounding import box_iou

MATCH_IOU = 0.5
"""Regions whose boxes overlap less are not the same."""


def match_boxes(first: np.ndarray, second: np.ndarray, least: float = MATCH_IOU) -> tuple[np.ndarray, np.ndarray]:
    """Pair the boxes `[n, 4]` and `[m, 4]` by falling IoU, each at most once.

    Returns:
        Pairs `[k, 2]` int64 (row of `first`, row of `second`) and their IoU `[k]` float64, at least `least`.
    """
    overlaps = box_iou(first.astype(np.float64), second.astype(np.float64))
    rows, columns = np.nonzero(overlaps >= least)
    order = np.argsort(-overlaps[rows, columns], kind="stable")
    pairs: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if row not in taken[0] and column not in taken[1]:
            taken[0].add(row)
            taken[1].add(column)
            pairs.append((row, column))
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found, overlaps[found[:, 0], found[:, 1]]


@dataclass
class Spread:
    """Mean and lowest of values seen so far, and the image with the lowest."""

    count: int = 0
    total: float = 0.0
    lowest: float = np.inf
    where: str = ""

    def add(self, values: np.ndarray, key: str) -> None:
        """Add the values of the image `key`."""
        self.count += len(values)
        self.total += float(values.sum())
        if len(values) and values.min() < self.lowest:
            self.lowest, self.where = float(values.min()), key

    def __str__(self) -> str:
        return f"{self.total / self.count:.4f}, lowest {self.lowest:.4f} {self.where}" if self.count else "none"


class Matches:
    """Regions of two collections matched image by image. `first`, `second`: regions seen; `iou` and `cosine` of those
    matched. Features of different dimensions have no cosine."""

    def __init__(self) -> None:
        self.first = self.second = 0
        self.iou, self.cosine = Spread(), Spread()

    def add(self, key: str, left: RegionFeatures, right: RegionFeatures) -> None:
        """Match the regions of the image `key`; without boxes on both sides it is left out."""
        if left.boxes is None or right.boxes is None:
            return
        self.first += len(left)
        self.second += len(right)
        pairs, overlaps = match_boxes(left.boxes, right.boxes)
        self.iou.add(overlaps, key)
        if left.features.shape[1] == right.features.shape[1]:
            features = (left.features[pairs[:, 0]].astype(np.float64), right.features[pairs[:, 1]].astype(np.float64))
            lengths = np.linalg.norm(features[0], axis=1) * np.linalg.norm(features[1], axis=1)
            self.cosine.add((features[0] * features[1]).sum(axis=1) / np.maximum(lengths, 1e-12), key)

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, value) rows for a table; none if nothing has boxes."""
        if not self.first + self.second:
            return []
        matched = f"{self.iou.count:,} of {self.first:,} and {self.second:,}"
        return [
            (f"regions matched (IoU {MATCH_IOU} or more)", matched),
            ("IoU of matched boxes, mean", str(self.iou)),
            ("cosine of their features, mean", str(self.cosine)),
        ]
