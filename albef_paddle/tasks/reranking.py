"""Retrieval evaluation: contrast chooses candidates, matching ranks them (arXiv 2107.07651, section 4.1).

Every image and every text is encoded once. The candidates of both directions are united and grouped by image: keys and
values of an image are projected once and serve all its texts, which are read in groups of similar length, and the last
layer computes its first token only. Images are worked through one after another and states wait on disk, so memory
does not grow with the gallery. Processes share the work by image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from albef_paddle.network.contrast import ContrastiveModel, unit_feature
from albef_paddle.tasks.state_store import StateStore
from pyutils import distributed
from pyutils.compat import has_gpu
from pyutils.engine.task import Batch
from pyutils.metrics.retrieval import Positives, RankPredictions, ranks_of_candidates, top_items
from pyutils.text.sequences import pad

NOT_SCORED = -100.0
_TEXTS_AT_A_TIME = 256
_TOKENS_AT_A_TIME = 8192
_TOKENS_IN_CACHE = 512
_SCORES_AT_A_TIME = 1 << 24


@dataclass(frozen=True)
class Candidates:
    """The best `k` of the gallery for each query: `items` `[queries, k]` int64 and their matching `scores` float32."""

    items: np.ndarray
    scores: np.ndarray

    def matrix(self, gallery: int) -> np.ndarray:
        """Scores `[queries, gallery]`, `NOT_SCORED` where nothing was scored."""
        full = np.full((len(self.items), gallery), NOT_SCORED, dtype=np.float32)
        np.put_along_axis(full, self.items, self.scores, axis=1)
        return full


@dataclass(frozen=True)
class Reranked:
    """`texts` for each image, `images` for each text."""

    texts: Candidates
    images: Candidates

    def ranks(self, owners: np.ndarray) -> RankPredictions:
        """Ranks of both directions; `owners` `[texts]`: the image of each text."""
        of_images, of_texts = Positives.of_captions(owners, len(self.texts.items))
        text_ranks = ranks_of_candidates(self.texts.items, self.texts.scores, of_images)
        image_ranks = ranks_of_candidates(self.images.items, self.images.scores, of_texts)
        return RankPredictions(text_ranks, image_ranks)


class Gallery:
    """Encoded images and texts of one split. `image_features` `[images, embed_dim]` and `text_features` `[texts,
    embed_dim]` float32 are of all processes; states of texts (see `TextEncoder.before_images`) are here whole, those of
    images for the own share."""

    def __init__(self, model: ContrastiveModel, scratch: str = ""):
        self.model = model
        self.image_states = StateStore(model.config.vision.width, scratch)
        self.text_states = StateStore(model.config.text.hidden_size, scratch)

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.image_states.__exit__()
        self.text_states.__exit__()

    def add_texts(self, rows: Sequence[Sequence[int]]) -> None:
        """Encode texts, ids `rows`, each with texts of its own length."""
        features = np.empty((len(rows), self.model.config.embed_dim), dtype=np.float32)
        order = np.argsort([len(row) for row in rows], kind="stable")
        for start in range(0, len(rows), _TEXTS_AT_A_TIME):
            numbers = order[start : start + _TEXTS_AT_A_TIME]
            lengths = [len(rows[number]) for number in numbers]
            ids, mask = pad([rows[number] for number in numbers], 0), _mask(lengths)
            states = self.model.text.encode(paddle.to_tensor(ids), mask)
            features[numbers] = unit_feature(self.model.text_projection, states).numpy()
            # As far as a text goes without an image, so that no image repeats it.
            for number, length, state in zip(numbers, lengths, _host(self.model.text.before_images(states, mask))):
                self.text_states.put(int(number), state[:length])
        self.text_features = features

    def add_images(self, loader: Iterable[Batch]) -> None:
        """Encode own images (batches with `images` `[b, 3, size, size]` and `index` `[b]`); share the features."""
        own: dict[int, np.ndarray] = {}
        for batch in loader:
            tokens = self.model.vision(batch["images"])
            features = unit_feature(self.model.vision_projection, tokens).numpy()
            for number, state, feature in zip(batch["index"].numpy().tolist(), _host(tokens), features):
                self.image_states.put(number, state)
                own[number] = feature
        self.own_images = sorted(own)
        everywhere = {number: row for part in distributed.all_gather_objects(own) for number, row in part.items()}
        self.image_features = np.stack([everywhere[number] for number in range(len(everywhere))])


def rerank(gallery: Gallery, k: int) -> Reranked:
    """Candidates of both directions, `k` each (fewer where the gallery is smaller), with their matching scores."""
    texts = best_items(gallery.image_features, gallery.text_features, k)
    images = best_items(gallery.text_features, gallery.image_features, k)
    text_scores = np.full(texts.shape, NOT_SCORED, dtype=np.float32)
    image_scores = np.full(images.shape, NOT_SCORED, dtype=np.float32)
    by_image = Asking(images, len(texts))
    found = []
    for image in gallery.own_images:
        askers, _ = by_image.of(image)
        wanted = np.union1d(texts[image], askers)
        scores = match_image(gallery, image, wanted)
        found.append((image, scores[np.searchsorted(wanted, texts[image])], scores[np.searchsorted(wanted, askers)]))
    for part in distributed.all_gather_objects(found):
        for image, own, asked in part:
            text_scores[image] = own
            askers, places = by_image.of(image)
            image_scores[askers, places] = asked
    return Reranked(Candidates(texts, text_scores), Candidates(images, image_scores))


class Asking:
    """Which queries have an item among their candidates: `candidates` `[queries, k]` turned round."""

    def __init__(self, candidates: np.ndarray, items: int):
        self._k = candidates.shape[1]
        flat = candidates.reshape(-1)
        self._order = np.argsort(flat, kind="stable")
        self._starts = np.searchsorted(flat[self._order], np.arange(items + 1))

    def of(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        """The queries that have `item`, and its place among the candidates of each; `[n]` int64."""
        flat = self._order[self._starts[item] : self._starts[item + 1]]
        return flat // self._k, flat % self._k


def match_image(gallery: Gallery, image: int, texts: np.ndarray) -> np.ndarray:
    """Matching scores `[n]` float32 of one image with `texts` `[n]` int64."""
    model, store = gallery.model, gallery.text_states
    memories = model.text.memories(paddle.to_tensor(gallery.image_states.get(image)[None]))
    lengths = np.array([store.rows(int(text)) for text in texts])
    scores = np.empty(len(texts), dtype=np.float32)
    for members in length_groups(lengths, _TOKENS_AT_A_TIME if has_gpu() else _TOKENS_IN_CACHE):
        states = paddle.to_tensor(store.padded(texts[members].tolist()))
        logits = model.match_scores(states, _mask(lengths[members].tolist()), memories, attended=True)
        scores[members] = logits[:, 1].astype("float32").numpy()
    return scores


def length_groups(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Positions in `lengths` `[n]`, shortest first, in groups of at most so many `tokens` when padded, or of one.

    Few on a CPU: attention to an image then stays in its cache, and hardly any text is padded.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= tokens:
            stop += 1
        yield order[start:stop]
        start = stop


def best_items(queries: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """The `k` items most similar to each query, `[queries, min(k, items)]` int64; processes share the queries.

    `queries` and `items` are unit features, `[n, embed_dim]` float32 each.
    """
    step = max(1, _SCORES_AT_A_TIME // max(1, len(items)))
    starts = range(0, len(queries), step)
    own = {
        start: top_items(queries[start : start + step] @ items.T, k)
        for start in starts[distributed.rank() :: distributed.world_size()]
    }
    blocks = {start: block for part in distributed.all_gather_objects(own) for start, block in part.items()}
    return np.concatenate([blocks[start] for start in starts])


def _mask(lengths: Sequence[int]) -> paddle.Tensor | None:
    """The padding mask of texts; None where they are equally long."""
    if min(lengths) == max(lengths):
        return None
    return paddle.to_tensor(pad([[1] * length for length in lengths], 0))


def _host(states: paddle.Tensor) -> np.ndarray:
    return states.astype("float32").numpy()
