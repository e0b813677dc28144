"""Retrieval evaluation: top-k ITC candidates re-ranked by ITM, the others by ITC (arXiv 2107.07651, section 4.1).

One road for every model with a contrastive head, which describes itself as a `DualEncoder`. Every image and text is
encoded once. The candidates of both directions are merged and grouped by image, whose share of the fusion is computed
once; its texts are batched by length. Images are processed one after another and hidden states are stored on disk, so
memory does not grow with the number of images. Processes share the work by image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional

import numpy as np
import paddle

from pyutils import distributed
from pyutils.compat import has_gpu
from pyutils.config import setting
from pyutils.config.checks import at_least
from pyutils.console import say
from pyutils.engine.evaluation import evaluating
from pyutils.engine.gallery import Chunks, Gallery
from pyutils.engine.state_store import StateStore
from pyutils.engine.task import Batch
from pyutils.metrics.retrieval import Positives, RankCounter, RankPredictions, ranks_of_candidates, top_items
from pyutils.text.sequences import pad

_TEXT_BATCH = 256
_TOKENS_ON_GPU = 8192
_TOKENS_ON_CPU = 512  # attention to an image then stays in the cache, and hardly any text is padded
_SIMILARITIES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class RerankingConfig:
    """Settings of the evaluation of a model with a contrastive head."""

    k_test: int = setting(
        128, "Top-k ITC candidates re-ranked by ITM, per image and per text; the others keep ITC's order. 0: ITC alone."
    )
    scratch: str = setting("", "Directory of the evaluation's temporary files; empty: the system's.")

    def __post_init__(self) -> None:
        at_least(self, 0, "k_test")


class Encoded(NamedTuple):
    """Images or texts encoded alone: the hidden `states` `[n, tokens, width]` that the fusion reads, `counts` of real
    tokens `[n]` (None: all), and the normalised `features` `[n, dim]` float32 that ITC compares."""

    states: paddle.Tensor
    counts: Optional[Sequence[int]]
    features: paddle.Tensor


PairScores = Callable[[paddle.Tensor, Optional[paddle.Tensor]], paddle.Tensor]
"""ITM scores `[n]`, higher for better pairs, of text states `[n, t, width]` and padding mask `[n, t]` int64 or None."""


class DualEncoder(ABC):
    """What re-ranking asks of a model. `text_width`, `image_width`: sizes of the hidden states that it keeps."""

    text_width: int
    image_width: int

    @abstractmethod
    def texts(self, ids: paddle.Tensor, mask: Optional[paddle.Tensor]) -> Encoded:
        """Encode token ids `[n, t]` int64; `mask` `[n, t]` int64, None without padding."""

    @abstractmethod
    def images(self, batch: Batch) -> Encoded:
        """Encode the images of an evaluation batch of the task."""

    @abstractmethod
    def scorer(self, image_states: paddle.Tensor) -> PairScores:
        """Prepare one image, `[1, tokens, image_width]`, to be scored with texts."""


@dataclass(frozen=True)
class Candidates:
    """The top `k` items of each query by ITC.

    items: `[queries, k]` int64, best first. scores: their ITM scores `[queries, k]` float32. itc_ranks: ranks
    `[queries]` int64 of the best right item of the whole gallery by ITC.
    """

    items: np.ndarray
    scores: np.ndarray
    itc_ranks: np.ndarray


@dataclass(frozen=True)
class Reranked:
    """Candidate `texts` of each image, candidate `images` of each text, and the right ones among them."""

    texts: Candidates
    images: Candidates
    right_texts: Positives
    right_images: Positives

    def ranks(self) -> RankPredictions:
        """Return the ranks of both directions: by ITM among the candidates, by ITC beyond them."""
        texts, images = self.texts, self.images
        text_ranks = ranks_of_candidates(texts.items, texts.scores, self.right_texts, texts.itc_ranks)
        image_ranks = ranks_of_candidates(images.items, images.scores, self.right_images, images.itc_ranks)
        counts = {"texts_per_image": texts.items.shape[1], "images_per_text": images.items.shape[1]}
        return RankPredictions(text_ranks, image_ranks, {"reranked_by_itm": counts, "beyond": "ITC similarity"})


class RerankingStates:
    """Encoded images and texts of one split; a context manager that removes the stored states.

    `image_features` `[images, dim]` and `text_features` `[texts, dim]` float32 are those of all processes.
    `text_states` holds every text, `image_states` only this process's images.
    """

    def __init__(self, encoder: DualEncoder, scratch: str = ""):
        self.encoder = encoder
        self.image_states = StateStore(encoder.image_width, scratch)
        self.text_states = StateStore(encoder.text_width, scratch)

    def __enter__(self) -> RerankingStates:
        return self

    def __exit__(self, *_: object) -> None:
        self.image_states.close()
        self.text_states.close()

    def add_texts(self, rows: Sequence[Sequence[int]]) -> None:
        """Encode texts, given as token ids, in batches of similar length; they replace earlier ones."""
        self.text_states.clear()
        order = np.argsort([len(row) for row in rows], kind="stable")
        features = []
        for start in range(0, len(rows), _TEXT_BATCH):
            numbers = order[start : start + _TEXT_BATCH].tolist()
            lengths = [len(rows[number]) for number in numbers]
            ids = pad([rows[number] for number in numbers], 0)
            features.append(_keep(self.text_states, numbers, self.encoder.texts(paddle.to_tensor(ids), _mask(lengths))))
        self.text_features = np.concatenate(features)[np.argsort(order, kind="stable")]

    def add_images(self, loader: Iterable[Batch]) -> None:
        """Encode this process's images (batches of the task with `index` `[b]`); gather features."""
        own: dict[int, np.ndarray] = {}
        for batch in loader:
            numbers = batch["index"].numpy().tolist()
            own.update(zip(numbers, _keep(self.image_states, numbers, self.encoder.images(batch))))
        self.own_images = sorted(own)
        gathered = {number: row for part in distributed.all_gather_objects(own) for number, row in part.items()}
        self.image_features = np.stack([gathered[number] for number in range(len(gathered))])


def _keep(store: StateStore, numbers: Sequence[int], encoded: Encoded) -> np.ndarray:
    """Store the states of `encoded` without padding under `numbers`; returns its features `[n, dim]`."""
    states = encoded.states.astype("float32").numpy()
    for row, number in enumerate(numbers):
        store.put(int(number), states[row] if encoded.counts is None else states[row, : encoded.counts[row]])
    return encoded.features.numpy()


def rerank(states: RerankingStates, k: int, owners: np.ndarray) -> Reranked:
    """Compute the ITM scores of the top `k` candidates (fewer if there are not as many) in both directions.

    `owners` `[texts]`: the image of each text. `k` 0 leaves the order to ITC.
    """
    right_texts, right_images = Positives.of_captions(owners, len(states.image_features))
    texts, text_itc = best_items(states.image_features, states.text_features, k, right_texts)
    images, image_itc = best_items(states.text_features, states.image_features, k, right_images)
    text_scores, image_scores = np.empty(texts.shape, np.float32), np.empty(images.shape, np.float32)
    queries = queries_by_item(images, len(texts)) if k else []
    found = []
    for image in states.own_images if k else ():
        askers, _ = queries[image]
        wanted = np.union1d(texts[image], askers)
        scores = itm_scores(states, image, wanted)
        found.append((image, scores[np.searchsorted(wanted, texts[image])], scores[np.searchsorted(wanted, askers)]))
    for part in distributed.all_gather_objects(found):
        for image, of_candidates, of_askers in part:
            text_scores[image] = of_candidates
            image_scores[queries[image]] = of_askers
    of_images, of_texts = Candidates(texts, text_scores, text_itc), Candidates(images, image_scores, image_itc)
    return Reranked(of_images, of_texts, right_texts, right_images)


def reranked(
    encoder: DualEncoder,
    config: RerankingConfig,
    loader: Iterable[Batch],
    tokens: Sequence[Sequence[int]],
    captions: Sequence[Sequence[str]],
) -> RankPredictions:
    """Rank both directions of a split: images of `loader`, texts as token ids `tokens` in the order of `captions`, the
    captions of each image."""
    texts = max(len(tokens), len(captions))
    if config.k_test > texts:
        say(f"k_test {config.k_test} is larger than the split: all of its {texts} entries are ranked")
    with RerankingStates(encoder, config.scratch) as states:
        states.add_texts(tokens)
        states.add_images(loader)
        owners = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
        return rerank(states, config.k_test, owners).ranks()


def queries_by_item(candidates: np.ndarray, items: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Invert `candidates` `[queries, k]`: for each of `items`, the rows and columns `[n]` int64 where it occurs."""
    flat = candidates.reshape(-1)
    order = np.argsort(flat, kind="stable")
    parts = np.split(order, np.searchsorted(flat[order], np.arange(1, items)))
    return [divmod(part, candidates.shape[1]) for part in parts]


def itm_scores(states: RerankingStates, image: int, texts: np.ndarray) -> np.ndarray:
    """Compute ITM scores `[n]` float32 of one image with `texts` `[n]` int64."""
    score = states.encoder.scorer(paddle.to_tensor(states.image_states.padded([image])))
    store = states.text_states
    lengths = np.array([store.rows(int(text)) for text in texts])
    scores = np.empty(len(texts), dtype=np.float32)
    for members in length_groups(lengths, _TOKENS_ON_GPU if has_gpu() else _TOKENS_ON_CPU):
        text_states = paddle.to_tensor(store.padded(texts[members].tolist()))
        scores[members] = score(text_states, _mask(lengths[members].tolist())).astype("float32").numpy()
    return scores


def length_groups(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Group indices of `lengths` `[n]`, shortest first, into batches of at most `tokens` padded tokens, or of one."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= tokens:
            stop += 1
        yield order[start:stop]
        start = stop


def best_items(queries: np.ndarray, items: np.ndarray, k: int, positives: Positives) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` items most similar to each query, `[queries, min(k, items)]` int64, and the rank `[queries]` int64
    of the best right one among all items; processes share the queries.

    `queries` and `items` are unit features, `[n, embed_dim]` float32 each.
    """
    step = max(1, _SIMILARITIES_AT_ONCE // max(1, len(items)))
    starts = range(0, len(queries), step)
    counter, everything = RankCounter(positives), np.arange(len(items))
    own = {}
    for start in starts[distributed.rank() :: distributed.world_size()]:
        block = np.arange(start, min(start + step, len(queries)))
        # Candidates and ranks come from one product: computed twice, nearly equal similarities might change places.
        similarities = queries[block] @ items.T
        rows, right = positives.pairs(block)
        counter.set_best(block[rows], right, similarities[rows, right])
        counter.count(block, everything, similarities)
        own[start] = top_items(similarities, k), counter.ahead[block]
    blocks = {start: block for part in distributed.all_gather_objects(own) for start, block in part.items()}
    candidates, ranks = zip(*(blocks[start] for start in starts))
    return np.concatenate(candidates), np.concatenate(ranks)


def similar_items(queries: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Find the `k` items most similar to each query as `best_items` does, without ranks and in this process alone."""
    step = max(1, _SIMILARITIES_AT_ONCE // max(1, len(items)))
    blocks = [top_items(queries[start : start + step] @ items.T, k) for start in range(0, len(queries), step)]
    return np.concatenate(blocks)


def _mask(lengths: Sequence[int]) -> paddle.Tensor | None:
    """Make the padding mask of texts; None when all lengths are equal."""
    if min(lengths) == max(lengths):
        return None
    return paddle.to_tensor(pad([[1] * length for length in lengths], 0))


class RerankedGallery(Gallery):
    """Images encoded once, whose hidden states are in a temporary file; scores are those of ITM.

    tokens: token ids of texts. batch: the evaluation batch of image keys. config: as `k_test`, candidates of a query.
    """

    def __init__(
        self,
        model: paddle.nn.Layer,
        encoder: DualEncoder,
        config: RerankingConfig,
        tokens: Callable[[Sequence[str]], Sequence[Sequence[int]]],
        batch: Callable[[Sequence[str]], Batch],
        chunks: Chunks,
    ):
        self._model, self._k, self._tokens = model, config.k_test, tokens
        self._states = RerankingStates(encoder, config.scratch)
        with evaluating(model):
            self._states.add_images(_numbered(batch, chunks))

    def scores(self, texts: Sequence[str], for_images: bool = False) -> np.ndarray:
        """See `Gallery.scores`; `k_test` candidates."""
        states = self._states
        with evaluating(self._model):
            states.add_texts(self._tokens(texts))
            features = states.image_features, states.text_features
            found = np.full((len(texts), len(features[0])), -np.inf, dtype=np.float32)
            if for_images:
                wanted = list(similar_items(*features, self._k))
            else:
                candidates = similar_items(*features[::-1], self._k)
                wanted = [rows for rows, _ in queries_by_item(candidates, len(features[0]))]
            for image, numbers in enumerate(wanted):
                if len(numbers):
                    found[numbers, image] = itm_scores(states, image, numbers)
        return found

    def close(self) -> None:
        """Remove the temporary files."""
        self._states.__exit__()


def _numbered(batch: Callable[[Sequence[str]], Batch], chunks: Chunks) -> Iterator[Batch]:
    start = 0
    for keys in chunks():
        yield {**batch(keys), "index": paddle.to_tensor(np.arange(start, start + len(keys)))}
        start += len(keys)
