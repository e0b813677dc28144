"""Image-text retrieval: ranks and recalls, in memory that does not grow with queries times gallery.

The rank of a query is the number of wrong items that come before its best right one. Items of equal score come in the
order of the gallery, so a result never depends on the sorting algorithm or the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.metrics.predictions import Predictions

RECALL_AT = (1, 5, 10)
RANKS_FILE = "ranks.json"
_BLOCK_NUMBERS = 1 << 22  # scores looked at together: 32 MB of float64


class Positives:
    """Which gallery items are right for each query: a list of them for each, none empty.

    For text retrieval the queries are images and several captions are right; for image retrieval one image is.
    """

    def __init__(self, items: Sequence[Any] | np.ndarray) -> None:
        counts = np.array([len(row) for row in items], dtype=np.int64)
        if not len(counts) or counts.min() == 0:
            empty = int(np.flatnonzero(counts == 0)[0]) if len(counts) else 0
            raise InputError(f"query {empty} has nothing in the gallery that is right for it")
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.items = np.concatenate([np.asarray(row, dtype=np.int64) for row in items])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of_captions(cls, owners: np.ndarray, images: int) -> tuple[Positives, Positives]:
        """(text retrieval, image retrieval) of captions that belong to the images `owners` [captions], numbers below
        `images`. Raises InputError for an image without a caption."""
        owners = np.asarray(owners, dtype=np.int64)
        order = np.argsort(owners, kind="stable")
        places = np.split(order, np.searchsorted(owners[order], np.arange(1, images)))
        return cls(places), cls(owners[:, None])

    def pairs(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, item) of every right item of `queries` [q]: row is the place in `queries`."""
        queries = np.asarray(queries, dtype=np.int64)
        counts = self.starts[queries + 1] - self.starts[queries]
        rows = np.repeat(np.arange(len(queries)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.items[self.starts[queries][rows] + within]


class RankCounter:
    """Ranks from scores that arrive in blocks of any shape and order, such as come from several processes.

    First the scores of right pairs are told (`set_best`, all queries), then every block is counted once. Memory is one
    number a query. A right item is never counted as being ahead, so it does no harm when its score in a block differs
    in the last bit from the one told before.
    """

    def __init__(self, positives: Positives) -> None:
        self.positives = positives
        self.best = np.full(len(positives), -np.inf)
        self.best_item = np.full(len(positives), np.iinfo(np.int64).max)
        self.ahead = np.zeros(len(positives), dtype=np.int64)

    def set_best(self, queries: np.ndarray, items: np.ndarray, scores: np.ndarray) -> None:
        """Tell the scores [p] of right pairs (queries [p], items [p]); of several of one query the best counts."""
        scores = _numbers(scores)
        order = np.lexsort((items, -scores, queries))
        queries, items, scores = np.asarray(queries)[order], np.asarray(items)[order], scores[order]
        first = np.concatenate([[True], queries[1:] != queries[:-1]]) if len(queries) else np.zeros(0, bool)
        queries, items, scores = queries[first], items[first], scores[first]
        better = (scores > self.best[queries]) | ((scores == self.best[queries]) & (items < self.best_item[queries]))
        self.best[queries[better]], self.best_item[queries[better]] = scores[better], items[better]

    def count(self, queries: np.ndarray, items: np.ndarray, scores: np.ndarray) -> None:
        """Count a block `scores` [q, g] of `queries` [q] with gallery `items` [g]; no pair may come twice."""
        scores, items, queries = _numbers(scores), np.asarray(items), np.asarray(queries)
        if scores.shape != (len(queries), len(items)):
            raise ValueError(f"scores {scores.shape} of {len(queries)} queries and {len(items)} items")
        best, best_item = self.best[queries, None], self.best_item[queries, None]
        ahead = (scores > best) | ((scores == best) & (items[None, :] < best_item))
        rows, right = self.positives.pairs(queries)
        places = np.argsort(items, kind="stable")
        found = np.minimum(np.searchsorted(items[places], right), max(0, len(items) - 1))
        here = items[places[found]] == right if len(items) else np.zeros(len(right), bool)
        ahead[rows[here], places[found[here]]] = False
        np.add.at(self.ahead, queries, ahead.sum(axis=1))

    def ranks(self) -> np.ndarray:
        """[queries] int64, 0 for a query whose first item is right. `ahead` of several processes may be added up.

        Raises InputError when no right pair of a query was told.
        """
        untold = np.flatnonzero(self.best_item == np.iinfo(np.int64).max)
        if untold.size:
            raise InputError(f"query {untold[0]}: no score of a right item was given")
        return self.ahead.copy()


def ranks_of(scores: np.ndarray, positives: Positives) -> np.ndarray:
    """Ranks [queries] int64 from a whole matrix [queries, gallery], which may be memory-mapped: it is read in blocks
    of rows. Raises InputError for scores that are not numbers."""
    queries, gallery = scores.shape
    if queries != len(positives):
        raise ValueError(f"scores {scores.shape} of {len(positives)} queries")
    counter, items = RankCounter(positives), np.arange(gallery)
    step = max(1, _BLOCK_NUMBERS // max(1, gallery))
    for start in range(0, queries, step):
        block = np.asarray(scores[start : start + step])
        own = np.arange(start, start + len(block))
        rows, right = positives.pairs(own)
        counter.set_best(own[rows], right, block[rows, right])
        counter.count(own, items, block)
    return counter.ranks()


def ranks_of_candidates(candidates: np.ndarray, scores: np.ndarray, positives: Positives, gallery: int) -> np.ndarray:
    """Ranks [queries] int64 where only some items were scored: `candidates` [queries, k] distinct items and their
    `scores` [queries, k]; the other items of the `gallery` come after these, in their order."""
    candidates, scores = np.asarray(candidates, dtype=np.int64), _numbers(scores)
    ranks = np.empty(len(positives), dtype=np.int64)
    for query, (items, own) in enumerate(zip(candidates, scores)):
        right = positives.items[positives.starts[query] : positives.starts[query + 1]]
        order = items[np.lexsort((items, -own))]
        hits = np.flatnonzero(np.isin(order, right))
        first = int(right.min())
        ranks[query] = hits[0] if hits.size else len(order) + first - int((items < first).sum())
    if len(ranks) and (ranks >= gallery).any():
        raise ValueError(f"right items outside a gallery of {gallery}")
    return ranks


def recalls(ranks: np.ndarray) -> dict[str, float]:
    """`r1`, `r5`, `r10` (percent), `median_rank` (counted from 1, a half rounded down, as ViLBERT prints it) and
    `mean_rank` (from 1) of `ranks` [n] counted from 0. Raises InputError when there is none."""
    ranks = np.asarray(ranks)
    if not ranks.size:
        raise InputError("retrieval evaluation of an empty split")
    shares = {f"r{k}": 100.0 * float((ranks < k).sum()) / len(ranks) for k in RECALL_AT}
    return {**shares, "median_rank": float(np.floor(np.median(ranks) + 1)), "mean_rank": float(ranks.mean() + 1)}


def retrieval_metrics(text_ranks: np.ndarray, image_ranks: np.ndarray) -> dict[str, float]:
    """Both directions as papers print them, in percent: `txt_r1`, `txt_r5`, `txt_r10` of text retrieval (queries are
    images), `img_r1` … of image retrieval, the means `txt_r_mean`, `img_r_mean`, `r_mean`, and `txt_median_rank`,
    `img_median_rank`."""
    metrics: dict[str, float] = {}
    for name, ranks in (("txt", text_ranks), ("img", image_ranks)):
        found = recalls(ranks)
        metrics.update({f"{name}_r{k}": found[f"r{k}"] for k in RECALL_AT})
        metrics[f"{name}_r_mean"] = sum(found[f"r{k}"] for k in RECALL_AT) / len(RECALL_AT)
        metrics[f"{name}_median_rank"] = found["median_rank"]
    metrics["r_mean"] = (metrics["txt_r_mean"] + metrics["img_r_mean"]) / 2
    return metrics


def top_items(scores: np.ndarray, count: int) -> np.ndarray:
    """The best `count` items of each row of `scores` [queries, gallery], best first, equal ones in the order of the
    gallery: [queries, min(count, gallery)] int64."""
    scores = _numbers(scores)
    # A stable sort of the negated scores keeps the gallery's order among equals.
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def _numbers(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores)
    if np.isnan(scores).any():
        raise InputError("a retrieval score is not a number: the model's weights are damaged or training diverged")
    return scores


class RankPredictions(Predictions):
    """Ranks from 0: `text_ranks` `[images]` of the best right caption, `image_ranks` `[captions]` of the own image."""

    def __init__(self, text_ranks: np.ndarray, image_ranks: np.ndarray):
        self.text_ranks, self.image_ranks = text_ranks, image_ranks

    def metrics(self) -> dict[str, float]:
        """Metrics of both directions in percent (`retrieval_metrics`)."""
        return retrieval_metrics(self.text_ranks, self.image_ranks)

    def write(self, directory: Path) -> list[Path]:
        """Write `ranks.json`."""
        ranks = {"text_ranks": self.text_ranks.tolist(), "image_ranks": self.image_ranks.tolist()}
        write_json(directory / RANKS_FILE, ranks)
        return [directory / RANKS_FILE]
