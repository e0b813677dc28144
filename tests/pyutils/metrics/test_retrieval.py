"""Retrieval metrics: the originals' numbers, ties, chunks and several processes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.metrics.retrieval import (
    Positives,
    RankCounter,
    ranks_of_candidates,
    recalls,
    retrieval_metrics,
    top_items,
)
from tests.support import golden


def ranks_of(scores: np.ndarray, positives: Positives, block: int = 1000) -> np.ndarray:
    """Ranks from a whole matrix [queries, gallery], counted in blocks of rows."""
    counter = RankCounter(positives)
    for queries in np.array_split(np.arange(len(scores)), -(-len(scores) // block)):
        rows, right = positives.pairs(queries)
        counter.set_best(queries[rows], right, scores[queries[rows], right])
        counter.count(queries, np.arange(scores.shape[1]), scores[queries])
    return counter.ranks()


@pytest.fixture
def recorded():
    case = golden("vilbert/evaluation")
    content = json.loads((case.folder / "retrieval.json").read_text())
    scores, right = case.inputs["retrieval.score_matrix"], case.inputs["retrieval.target_matrix"]
    return scores, Positives([np.flatnonzero(row) for row in right]), content


def test_ranks_and_recalls_equal_the_original(recorded):
    scores, positives, content = recorded
    ranks = ranks_of(scores, positives)
    assert ranks.tolist() == content["ranks"]
    found = recalls(ranks)
    assert [found[name] for name in ("r1", "r5", "r10", "median_rank", "mean_rank")] == pytest.approx(
        [content[name] for name in ("r1", "r5", "r10", "medr", "meanr")], rel=1e-12
    )
    assert top_items(scores, 20).tolist() == content["results"]


def test_running_values_equal_the_original(recorded):
    scores, positives, content = recorded
    ranks = ranks_of(scores, positives)
    for count, expected in enumerate(content["running"], start=1):
        assert list(recalls(ranks[:count]).values()) == pytest.approx(expected, rel=1e-12)


def test_several_captions_an_image_equal_albef():
    case = golden("albef/retrieval")
    recorded = json.loads((case.folder / "outputs.json").read_text())["itm_eval_synthetic"]
    images, captions = case.inputs["synthetic_i2t"].shape
    text, image = Positives.of_captions(np.arange(captions) // 3, images)
    ranks = ranks_of(case.inputs["synthetic_i2t"], text), ranks_of(case.inputs["synthetic_t2i"], image)
    found = retrieval_metrics(*ranks)
    assert {name: found[name] for name in recorded} == pytest.approx(recorded, rel=1e-12)


def brute_force(scores, items):
    """Ranks by sorting each row."""
    ranks = []
    for row, right in zip(scores, items):
        order = np.argsort(-row, kind="stable")
        ranks.append(int(np.flatnonzero(np.isin(order, right))[0]))
    return ranks


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_chunks_and_ties_change_nothing(block):
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 4, (30, 23)).astype(np.float32)  # nearly everything ties
    items = [rng.choice(23, rng.integers(1, 4), replace=False) for _ in range(30)]
    assert ranks_of(scores, Positives(items), block).tolist() == brute_force(scores, items)


def test_blocks_of_any_shape_from_several_processes():
    rng = np.random.default_rng(4)
    scores = rng.integers(0, 5, (11, 17)).astype(np.float64)
    items = [rng.choice(17, 2, replace=False) for _ in range(11)]
    positives = Positives(items)
    rows, right = positives.pairs(np.arange(11))
    counters = [RankCounter(positives) for _ in range(2)]
    for process, counter in enumerate(counters):
        counter.set_best(rows, right, scores[rows, right])
        for queries in np.array_split(rng.permutation(11), 3):
            for gallery in np.array_split(rng.permutation(np.arange(17)[process::2]), 2):
                block = scores[np.ix_(queries, gallery)]
                counter.count(queries, gallery, block)
    assert (counters[0].ahead + counters[1].ahead).tolist() == brute_force(scores, items)


def test_a_right_item_scored_again_with_another_last_bit_is_not_ahead_of_itself():
    counter = RankCounter(Positives([[1]]))
    counter.set_best(np.array([0]), np.array([1]), np.array([0.5]))
    counter.count(np.array([0]), np.array([0, 1]), np.array([[0.4, np.nextafter(0.5, 1)]]))
    assert counter.ranks().tolist() == [0]


def test_candidates_rank_by_their_new_scores_and_the_others_by_the_first():
    rng = np.random.default_rng(5)
    dense = rng.random((9, 14)).astype(np.float32)
    candidates = np.argsort(-dense, axis=1)[:, :4]
    scores = rng.integers(0, 3, (9, 4)).astype(np.float32)
    filled = dense - 100.0
    np.put_along_axis(filled, candidates, scores, axis=1)
    items = [rng.choice(14, 2, replace=False) for _ in range(9)]
    found = ranks_of_candidates(candidates, scores, Positives(items), ranks_of(dense, Positives(items)))
    assert found.tolist() == ranks_of(filled, Positives(items)).tolist() == brute_force(filled, items)


def test_bad_input():
    with pytest.raises(InputError, match="query 1 has nothing in the gallery"):
        Positives([[0], []])
    with pytest.raises(InputError, match="query 2 has nothing"):
        Positives.of_captions(np.array([0, 0, 1]), 3)
    with pytest.raises(InputError, match="not a number"):
        ranks_of(np.array([[np.nan, 1.0]]), Positives([[0]]))
    with pytest.raises(InputError, match="query 0: no score of a right item"):
        RankCounter(Positives([[0]])).ranks()
