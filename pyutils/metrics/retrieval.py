"""Image-text retrieval: ranks and recalls, in memory that does not grow with queries times gallery.

The rank of a query is the number of wrong items before its best right one. Items of equal score keep the order of the
gallery, so a result never depends on the sorting algorithm or the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.metrics.predictions import Predictions

RECALL_AT = (1, 5, 10)
RANKS_FILE = "ranks.json"


class Positives:
    """The right gallery items of each query, at least one.

    For text retrieval the queries are images and several captions are right; for image retrieval one image is.
    Raises InputError for a query without one.
    """

    def __init__(self, items: Sequence[Any] | np.ndarray) -> None:
        counts = np.array([len(row) for row in items], dtype=np.int64)
        if not counts.all():
            raise InputError(f"query {int(np.argmin(counts))} has nothing in the gallery that is right for it")
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.items = np.concatenate([np.asarray(row, dtype=np.int64) for row in items])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of_captions(cls, owners: np.ndarray, images: int) -> tuple[Positives, Positives]:
        """Return (text retrieval, image retrieval) of captions whose images are `owners` [captions], below `images`.

        Raises InputError for an image without a caption.
        """
        order = np.argsort(owners, kind="stable")
        captions = np.split(order, np.searchsorted(owners[order], np.arange(1, images)))
        return cls(captions), cls(owners[:, None])

    def pairs(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (indices into `queries` [q]) and the items of all right pairs, both [pairs]."""
        counts = self.starts[queries + 1] - self.starts[queries]
        rows = np.repeat(np.arange(len(queries)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.items[self.starts[queries][rows] + within]


class RankCounter:
    """Ranks from scores that arrive in blocks of any shape and order, for example from several processes.

    Set the scores of right pairs first (`set_best`, all queries), then count every block once. Memory is one number per
    query. A right item never counts as ahead, so its score in a block may differ in the last bit from the one set.
    """

    def __init__(self, positives: Positives) -> None:
        self.positives = positives
        self.best = np.full(len(positives), -np.inf)
        self.best_item = np.full(len(positives), np.iinfo(np.int64).max)
        self.ahead = np.zeros(len(positives), dtype=np.int64)

    def set_best(self, queries: np.ndarray, items: np.ndarray, scores: np.ndarray) -> None:
        """Set the scores [p] of right pairs (queries [p], items [p]); of several of one query the best counts."""
        scores = _without_nan(scores)
        order = np.lexsort((items, -scores, queries))
        queries, first = np.unique(queries[order], return_index=True)
        items, scores = items[order][first], scores[order][first]
        better = (scores > self.best[queries]) | ((scores == self.best[queries]) & (items < self.best_item[queries]))
        self.best[queries[better]], self.best_item[queries[better]] = scores[better], items[better]

    def count(self, queries: np.ndarray, items: np.ndarray, scores: np.ndarray) -> None:
        """Count a block `scores` [q, g] of `queries` [q] with gallery `items` [g]; no pair may come twice."""
        scores = _without_nan(scores)
        best, best_item = self.best[queries, None], self.best_item[queries, None]
        ahead = (scores > best) | ((scores == best) & (items[None, :] < best_item))
        rows, right = self.positives.pairs(queries)
        order = np.argsort(items, kind="stable")
        columns = order[np.minimum(np.searchsorted(items[order], right), len(items) - 1)]
        here = items[columns] == right
        ahead[rows[here], columns[here]] = False
        np.add.at(self.ahead, queries, ahead.sum(axis=1))

    def ranks(self) -> np.ndarray:
        """Return the ranks [queries] int64, 0 for a query whose first item is right.

        Add up `ahead` of several processes first. Raises InputError when no right pair of a query was set.
        """
        unset = np.flatnonzero(self.best_item == np.iinfo(np.int64).max)
        if unset.size:
            raise InputError(f"query {unset[0]}: no score of a right item was given")
        return self.ahead.copy()


def ranks_of_candidates(
    candidates: np.ndarray, scores: np.ndarray, positives: Positives, first_ranks: np.ndarray
) -> np.ndarray:
    """Return the ranks [queries] int64 after re-ranking the first `k` items of an ordering.

    `candidates` [queries, k] are the first items of each query in that ordering, `scores` [queries, k] their new
    scores; `first_ranks` [queries] int64 are the ranks by the ordering alone, which items beyond `k` keep. Raises
    InputError for a score that is not a number.
    """
    ranks = first_ranks.copy()
    for query, (items, own) in enumerate(zip(candidates, _without_nan(scores))):
        right = positives.items[positives.starts[query] : positives.starts[query + 1]]
        hits = np.flatnonzero(np.isin(items[np.lexsort((items, -own))], right))
        if hits.size:
            ranks[query] = hits[0]
    return ranks


def recalls(ranks: np.ndarray) -> dict[str, float]:
    """Return `r1`, `r5`, `r10` (percent), `median_rank` and `mean_rank` of `ranks` [n] counted from 0.

    The median and the mean count from 1; a half of the median is rounded down, as ViLBERT prints it.
    """
    shares = {f"r{k}": 100.0 * float((ranks < k).sum()) / len(ranks) for k in RECALL_AT}
    return {**shares, "median_rank": float(np.floor(np.median(ranks) + 1)), "mean_rank": float(ranks.mean() + 1)}


def retrieval_metrics(text_ranks: np.ndarray, image_ranks: np.ndarray) -> dict[str, float]:
    """Return the metrics of both directions as papers print them, in percent.

    `txt_r1`, `txt_r5`, `txt_r10` of text retrieval (queries are images), `img_r1` … of image retrieval, the means
    `txt_r_mean`, `img_r_mean`, `r_mean`, and `txt_median_rank`, `img_median_rank`.
    """
    metrics: dict[str, float] = {}
    for name, ranks in (("txt", text_ranks), ("img", image_ranks)):
        found = recalls(ranks)
        metrics.update({f"{name}_r{k}": found[f"r{k}"] for k in RECALL_AT})
        metrics[f"{name}_r_mean"] = sum(found[f"r{k}"] for k in RECALL_AT) / len(RECALL_AT)
        metrics[f"{name}_median_rank"] = found["median_rank"]
    metrics["r_mean"] = (metrics["txt_r_mean"] + metrics["img_r_mean"]) / 2
    return metrics


def top_items(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the best `count` items of each row of `scores` [queries, gallery]: [queries, min(count, gallery)] int64.

    Best first, equal ones in the order of the gallery. Raises InputError for a score that is not a number.
    """
    # A stable sort of the negated scores keeps the gallery's order among equals.
    return np.argsort(-_without_nan(scores), axis=1, kind="stable")[:, :count]


def _without_nan(scores: np.ndarray) -> np.ndarray:
    if np.isnan(scores).any():
        raise InputError("a retrieval score is not a number: the model's weights are damaged or training diverged")
    return scores


class RankPredictions(Predictions):
    """Ranks from 0: `text_ranks` `[images]` of the best right caption, `image_ranks` `[captions]` of the own image.

    `conditions`: how they were computed, for the result files.
    """

    def __init__(self, text_ranks: np.ndarray, image_ranks: np.ndarray, conditions: Optional[dict[str, Any]] = None):
        self.text_ranks, self.image_ranks = text_ranks, image_ranks
        self._conditions = conditions or {}

    def conditions(self) -> dict[str, Any]:
        """Return the conditions given to the constructor."""
        return self._conditions

    def metrics(self) -> dict[str, float]:
        """Return the metrics of both directions in percent (`retrieval_metrics`)."""
        return retrieval_metrics(self.text_ranks, self.image_ranks)

    def write(self, directory: Path) -> list[Path]:
        """Write `ranks.json`."""
        ranks = {**self._conditions, "text_ranks": self.text_ranks.tolist(), "image_ranks": self.image_ranks.tolist()}
        write_json(directory / RANKS_FILE, ranks)
        return [directory / RANKS_FILE]
