"""Retrieval evaluation: equal to the recorded evaluation of the original, and to scoring pair by pair."""

from __future__ import annotations

from unittest import mock

import numpy as np
import paddle
import pytest

from albef_paddle.network.itc import unit_features
from albef_paddle.tasks.towers import AlbefTowers
from pyutils.engine.evaluation import evaluating
from pyutils.engine.reranking import Candidates, RerankingStates, best_items, length_groups, queries_by_item, rerank
from pyutils.engine.state_store import StateStore
from pyutils.errors import InputError
from pyutils.metrics.retrieval import Positives
from tests.albef_paddle.support import retrieval_model, tensors
from tests.support import golden


def recorded_model():
    recorded = golden("albef/retrieval")
    return recorded, retrieval_model(recorded)


def matrix(candidates: Candidates, items: int) -> np.ndarray:
    """Scores `[queries, items]`, -100 where nothing was scored, as in the original."""
    full = np.full((len(candidates.items), items), -100.0, dtype=np.float32)
    np.put_along_axis(full, candidates.items, candidates.scores, axis=1)
    return full


def filled_states(recorded, model, sizes=None) -> RerankingStates:
    """The recorded gallery, images in batches of `sizes`, texts without their padding."""
    arrays = recorded.inputs
    sizes = sizes or (3, len(arrays["eval_image"]) - 3)
    states = RerankingStates(AlbefTowers(model))
    mask = arrays["eval_attention_mask"]
    states.add_texts([row[: kept.sum()].tolist() for row, kept in zip(arrays["eval_input_ids"], mask)])
    starts = np.cumsum([0, *sizes])
    batches = [np.arange(start, stop) for start, stop in zip(starts[:-1], starts[1:])]
    states.add_images(
        {"images": paddle.to_tensor(arrays["eval_image"][rows]), "index": paddle.to_tensor(rows)} for rows in batches
    )
    return states


def owners_of(recorded) -> np.ndarray:
    """The image of each recorded text."""
    return np.array(recorded.json("inputs.json")["txt2img"])


def all_pairs(recorded, model) -> tuple[np.ndarray, np.ndarray]:
    """ITC similarities and ITM scores `[images, texts]` of every pair, computed pair by pair."""
    images, ids, mask = tensors(recorded.inputs, "eval_image", "eval_input_ids", "eval_attention_mask")
    states, tokens = model.text.encode(ids, mask), model.vision(images)
    image_features = unit_features(model.vision_projection, tokens)
    similarities = paddle.matmul(image_features, unit_features(model.text_projection, states), transpose_y=True)
    rows = [model.itm_logits(states, mask, model.text.memories(tokens[row : row + 1])) for row in range(len(tokens))]
    return similarities.numpy(), np.stack([logits[:, 1].numpy() for logits in rows])


def expected_ranks(similarities: np.ndarray, scores: np.ndarray, right: np.ndarray, k: int) -> list[int]:
    """Ranks by sorting every row: the first `k` by similarity once more by score."""
    ranks = []
    for row, own, marks in zip(similarities, scores, right):
        order = np.argsort(-row, kind="stable")
        first = np.sort(order[:k])
        order = np.concatenate([first[np.argsort(-own[first], kind="stable")], order[k:]])
        ranks.append(int(np.flatnonzero(marks[order])[0]))
    return ranks


@pytest.mark.parametrize("k", [0, 1, 3, 6, 1000])
def test_ranks_beyond_the_candidates_follow_itc(k):
    recorded, model = recorded_model()
    owners = owners_of(recorded)
    with evaluating(model), filled_states(recorded, model) as stored:
        predicted = rerank(stored, k, owners).ranks()
        similarities, scores = all_pairs(recorded, model)
    right = owners[None, :] == np.arange(len(similarities))[:, None]
    assert predicted.text_ranks.tolist() == expected_ranks(similarities, scores, right, k)
    assert predicted.image_ranks.tolist() == expected_ranks(similarities.T, scores.T, right.T, k)
    images, texts = similarities.shape
    counts = {"texts_per_image": min(k, texts), "images_per_text": min(k, images)}
    assert predicted.conditions()["reranked_by_itm"] == counts


def test_ranks_of_a_large_gallery_do_not_follow_its_order():
    """Features alone, in blocks: the median rank is that of the similarities, wherever the right item stands."""
    rng = np.random.default_rng(5)
    images = rng.standard_normal((300, 8)).astype(np.float32)
    owners = rng.permutation(np.arange(1500) % 300)
    texts = images[owners] + 2 * rng.standard_normal((1500, 8)).astype(np.float32)
    right_texts, right_images = Positives.of_captions(owners, 300)
    with mock.patch("pyutils.engine.reranking._SIMILARITIES_AT_ONCE", 7 * 1500):
        candidates, ranks = best_items(images, texts, 16, right_texts)
        _, image_ranks = best_items(texts, images, 16, right_images)
    similarities, right = images @ texts.T, owners[None, :] == np.arange(300)[:, None]
    assert ranks.tolist() == expected_ranks(similarities, similarities, right, 0)
    assert image_ranks.tolist() == expected_ranks(similarities.T, similarities.T, right.T, 0)
    np.testing.assert_array_equal(candidates, np.argsort(-similarities, axis=1, kind="stable")[:, :16])


def test_scores_and_metrics_equal_the_recorded_evaluation():
    recorded, model = recorded_model()
    expected, texts = recorded.outputs, recorded.json("inputs.json")
    with evaluating(model), filled_states(recorded, model) as stored:
        similarities = stored.image_features @ stored.text_features.T
        found = rerank(stored, texts["k_test"], np.array(texts["txt2img"]))
    np.testing.assert_allclose(similarities, expected["eval_sims"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(
        matrix(found.texts, expected["score_matrix_i2t"].shape[1]), expected["score_matrix_i2t"], rtol=0, atol=5e-5
    )
    np.testing.assert_allclose(
        matrix(found.images, expected["score_matrix_i2t"].shape[0]), expected["score_matrix_t2i"], rtol=0, atol=5e-5
    )
    metrics = found.ranks().metrics()
    for name, value in recorded.json("outputs.json")["itm_eval"].items():
        assert metrics[name] == pytest.approx(value, abs=1e-9), name


def test_k_beyond_the_gallery_ranks_all_of_it():
    recorded, model = recorded_model()
    arrays = recorded.inputs
    image_count, captions = len(arrays["eval_image"]), len(arrays["eval_input_ids"])
    with evaluating(model), filled_states(recorded, model) as stored:
        found = rerank(stored, 1000, owners_of(recorded))
        images, ids, mask = tensors(arrays, "eval_image", "eval_input_ids", "eval_attention_mask")
        states = model.text.encode(ids, mask)
        for image in range(image_count):
            tokens = model.vision(images[image : image + 1]).expand([captions, -1, -1])
            expected = model.matching(model.text.fuse(states, mask, model.text.memories(tokens))[:, 0])[:, 1].numpy()
            np.testing.assert_allclose(matrix(found.texts, captions)[image], expected, rtol=0, atol=5e-5)
            np.testing.assert_allclose(matrix(found.images, image_count)[:, image], expected, rtol=0, atol=5e-5)


def test_the_split_into_batches_changes_nothing():
    recorded, model = recorded_model()
    with evaluating(model):
        with filled_states(recorded, model) as stored:
            first = rerank(stored, 6, owners_of(recorded))
        with filled_states(recorded, model, (1,) * len(recorded.inputs["eval_image"])) as stored:
            second = rerank(stored, 6, owners_of(recorded))
    np.testing.assert_array_equal(first.texts.items, second.texts.items)
    np.testing.assert_allclose(first.images.scores, second.images.scores, rtol=0, atol=1e-5)


def test_queries_by_item_inverts_the_candidates():
    candidates = np.array([[2, 0], [1, 2], [0, 2]])
    for item, found in enumerate(queries_by_item(candidates, 4)):
        assert np.stack(found, axis=1).tolist() == np.argwhere(candidates == item).tolist()


def test_texts_of_similar_length_are_grouped():
    lengths = np.array([30, 4, 4, 900, 4, 1200])
    groups = [group.tolist() for group in length_groups(lengths, 2048)]
    assert groups == [[1, 2, 4, 0], [3], [5]]


def test_states_come_back_padded_from_disk(tmp_path):
    store = StateStore(3, str(tmp_path))
    first, second = np.ones((2, 3), np.float32), np.full((4, 3), 2.0, np.float32)
    store.put(7, first)
    store.put(3, second)
    both = store.padded([7, 3])
    np.testing.assert_array_equal(both[0, :2], first)
    assert not both[0, 2:].any()
    np.testing.assert_array_equal(both[1], second)
    store.close()
    assert not list(tmp_path.iterdir())


def test_a_missing_scratch_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="scratch folder .*nowhere"):
        StateStore(3, str(tmp_path / "nowhere"))
