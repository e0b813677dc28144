"""ViLBERT with its heads: pre-training (paper, section 3.1) and the tasks of ViLBERT and 12-in-1 (arXiv 1912.02315).

A model has the heads it is built with, and a call computes one of them and no more of the encoder than it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Callable, NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from pyutils.errors import InputError, nearest
from pyutils.layers.attention import MASKED_SCORE
from pyutils.layers.contrast import ContrastiveHead
from pyutils.layers.dropout import Dropout
from pyutils.layers.heads import HeadTransform, MaskedLanguageHead
from pyutils.layers.initializers import linear
from pyutils.packages import PretrainedModel
from vilbert_paddle.config import VilbertConfig
from vilbert_paddle.network.model import TwoStreamOutput, Vilbert
from vilbert_paddle.network.streams import Wanted

HEAD_DROPOUT = 0.1  # fixed in the original, whatever the configuration says
CLASSIFIER_DROPOUT = 0.5  # also fixed, in the classifiers with weight norm
VQA_ANSWERS, GQA_ANSWERS = 3129, 1533


class Decoder(nn.Layer):
    """Linear, activation, LayerNorm, linear: `[…, input_size]` → `[…, outputs]`."""

    def __init__(self, config: VilbertConfig, input_size: int, hidden: int, outputs: int, activation: str):
        super().__init__()
        self.transform = HeadTransform(input_size, activation, config.layer_norm_eps, config.init_std, hidden)
        self.decoder = linear(hidden, outputs, config.init_std)

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """See the class."""
        return self.decoder(self.transform(states))


class AnswerClassifier(Decoder):
    """Scores of answers from the pooled vectors: `[batch, input_size]` → `[batch, outputs]`."""

    def __init__(self, config: VilbertConfig, input_size: int, outputs: int):
        super().__init__(config, input_size, 2 * config.bridge_size, outputs, "gelu")


class WeightNormLinear(nn.Layer):
    """Linear layer whose weight is `scale` · direction / ‖direction‖, one norm for the whole matrix (arXiv 1602.07868).

    `direction` `[inputs, outputs]`, `scale` `[1]`, `bias` `[outputs]`.
    """

    def __init__(self, inputs: int, outputs: int, init_std: float):
        super().__init__()
        plain = linear(inputs, outputs, init_std)
        self.direction, self.bias = plain.weight, plain.bias
        norm = nn.initializer.Constant(float(paddle.norm(plain.weight)))
        self.scale = self.create_parameter([1], default_initializer=norm)

    def forward(self, states: paddle.Tensor) -> paddle.Tensor:
        """`[batch, inputs]` → `[batch, outputs]`."""
        weight = self.direction * (self.scale / paddle.sqrt(paddle.square(self.direction).sum()))
        return F.linear(states, weight, self.bias)


class WeightNormClassifier(nn.Layer):
    """Linear, ReLU, dropout, linear with weight norm: the classifier of ViLBERT 1 and of the old Paddle port."""

    def __init__(self, config: VilbertConfig, input_size: int, outputs: int):
        super().__init__()
        self.expand = WeightNormLinear(input_size, 2 * config.bridge_size, config.init_std)
        self.dropout = Dropout(CLASSIFIER_DROPOUT)
        self.decoder = WeightNormLinear(2 * config.bridge_size, outputs, config.init_std)

    def forward(self, pooled: paddle.Tensor) -> paddle.Tensor:
        """`[batch, input_size]` → `[batch, outputs]`."""
        return self.decoder(self.dropout(F.relu(self.expand(pooled))))


CLASSIFIERS = {"layer_norm": AnswerClassifier, "weight_norm": WeightNormClassifier}


class PairClassifier(AnswerClassifier):
    """Scores of a sentence about two images, from the pooled vectors of rows 2 i and 2 i + 1: `[2 n, size]` →
    `[n, outputs]`."""

    def __init__(self, config: VilbertConfig, outputs: int):
        super().__init__(config, 2 * config.bridge_size, outputs)

    def forward(self, pooled: paddle.Tensor) -> paddle.Tensor:
        """See the class; the number of rows must be even."""
        # Paddle 2.6 exports no super() without arguments.
        return Decoder.forward(self, pooled.reshape([-1, 2 * pooled.shape[1]]))


def outputs_of(heads: Iterable[str] | Mapping[str, int | None]) -> dict[str, int | None]:
    """Heads by name → number of outputs (None: not given). InputError for a text: names come in a list."""
    if isinstance(heads, str):
        raise InputError(f"heads: expected a list of names or a mapping of names to outputs, found {heads!r}")
    return dict(heads) if isinstance(heads, Mapping) else dict.fromkeys(heads)


class VilbertForTasks(PretrainedModel, nn.Layer):
    """The encoder and some heads of `HEADS`; `heads`: their names, or name → number of outputs (None: the usual).

    InputError for an unknown head.
    """

    def __init__(self, config: VilbertConfig, heads: Iterable[str] | Mapping[str, int | None]):
        super().__init__()
        outputs = outputs_of(heads)
        unknown = [name for name in outputs if name not in HEADS]
        if unknown:
            raise InputError(f"no head {unknown[0]!r}: {nearest(unknown[0], HEADS)}")
        self.config = config
        self.encoder = Vilbert(config)
        self.heads = nn.LayerDict(
            {name: HEADS[name].build(config, size or HEADS[name].outputs) for name, size in outputs.items()}
        )
        self.contrast: ContrastiveHead | None = None
        if config.contrast.dim:
            sizes = (config.regions.hidden_size, config.text.hidden_size)
            self.contrast = ContrastiveHead(config.contrast, *sizes, config.init_std)
        self.dropout = Dropout(HEAD_DROPOUT)

    def forward(self, head: str, **inputs) -> paddle.Tensor:
        """Scores of the head called `head`; `inputs` as in `Vilbert.forward`.

        masked_words `[b, t, vocab]`, masked_regions `[b, r, region_targets]`, alignment `[b, 2]` (class 0 = the text
        belongs to the image), vqa, gqa `[b, answers]`, pair `[b / 2, 2]`, entailment `[b, 3]`, match `[b]`, region
        `[b, r]` (padding at -10000), word `[b, t]`.
        """
        if head not in self.heads:
            raise InputError(f"the model was built without the head {head!r}: {nearest(head, self.heads.keys())}")
        kind = HEADS[head]
        encoded = self.encoder(text=kind.text, regions=kind.regions, **inputs)
        return kind.score(self, self.heads[head], encoded)

    def pooled(self, encoded: TwoStreamOutput) -> paddle.Tensor:
        """Return the fused vectors after dropout, `[b, bridge_size]`."""
        return self.dropout(self.encoder.pooled(encoded.text, encoded.regions))


class PretrainingScores(NamedTuple):
    """`words` `[b, t, vocab]` (`[n, vocab]` at chosen positions), `regions` `[b, r, region_targets]`, `alignment`
    `[b, 2]`: class 0 = the caption belongs to the image."""

    words: paddle.Tensor
    regions: paddle.Tensor
    alignment: paddle.Tensor


class VilbertForPretraining(VilbertForTasks):
    """Masked words, masked regions and alignment from one pass."""

    def __init__(self, config: VilbertConfig):
        super().__init__(config, PRETRAINING)

    def forward(  # type: ignore[override]
        self, word_positions: paddle.Tensor | None = None, **inputs
    ) -> PretrainingScores:
        """Score all three objectives.

        `word_positions` `[n]` int64: flat positions b * t + i to score (default all). `inputs` as in `Vilbert.forward`.
        """
        encoded = self.encoder(**inputs)
        states = encoded.text  # [b, t, hidden], or [n, hidden] at the chosen positions
        if word_positions is not None:
            states = paddle.gather(states.reshape([-1, states.shape[-1]]), word_positions)
        words = self.heads["masked_words"](states, self.encoder.word_table)
        regions = self.heads["masked_regions"](encoded.regions)
        return PretrainingScores(words, regions, self.heads["alignment"](self.pooled(encoded)))


class HeadKind(NamedTuple):
    """One entry of `HEADS`: `build(config, outputs)` makes the layer, `score(model, head, encoded)` applies it to the
    hidden states named by `text` and `regions`; `outputs` is the default (None: the configuration decides)."""

    build: Callable[[VilbertConfig, Any], nn.Layer]
    score: Callable[[VilbertForTasks, nn.Layer, TwoStreamOutput], paddle.Tensor]
    text: Wanted
    regions: Wanted
    outputs: int | None


def _linear(size: str) -> Callable[[VilbertConfig, int], nn.Layer]:
    """Build a linear head whose input size is the setting `size`."""
    return lambda config, outputs: linear(attrgetter(size)(config), outputs, config.init_std)


def _build_classifier(config: VilbertConfig, outputs: int) -> nn.Layer:
    return CLASSIFIERS[config.classifier](config, config.bridge_size, outputs)


def _build_masked_words(config: VilbertConfig, _: int | None) -> nn.Layer:
    text = config.text
    return MaskedLanguageHead(
        text.hidden_size, config.vocab_size, text.hidden_act, config.layer_norm_eps, config.init_std
    )


def _build_masked_regions(config: VilbertConfig, _: int | None) -> nn.Layer:
    size = config.regions.hidden_size
    # As in the original, the activation is that of the text stream.
    return Decoder(config, size, size, config.region_targets, config.text.hidden_act)


def _score_pooled(model: VilbertForTasks, head: nn.Layer, encoded: TwoStreamOutput) -> paddle.Tensor:
    return head(model.pooled(encoded))


def _score_match(model: VilbertForTasks, head: nn.Layer, encoded: TwoStreamOutput) -> paddle.Tensor:
    return head(model.pooled(encoded)).squeeze(-1)


def _score_regions(model: VilbertForTasks, head: nn.Layer, encoded: TwoStreamOutput) -> paddle.Tensor:
    scores = head(model.dropout(encoded.regions)).squeeze(-1).astype("float32")
    return scores + (1.0 - encoded.region_mask) * MASKED_SCORE


def _score_words(model: VilbertForTasks, head: nn.Layer, encoded: TwoStreamOutput) -> paddle.Tensor:
    return head(model.dropout(encoded.text)).squeeze(-1)


def _score_masked_words(model: VilbertForTasks, head: nn.Layer, encoded: TwoStreamOutput) -> paddle.Tensor:
    return head(encoded.text, model.encoder.word_table)


def _score_masked_regions(model: VilbertForTasks, head: nn.Layer, encoded: TwoStreamOutput) -> paddle.Tensor:
    return head(encoded.regions)


_LINEAR_POOLED = _linear("bridge_size")
HEADS: dict[str, HeadKind] = {
    "masked_words": HeadKind(_build_masked_words, _score_masked_words, "all", "none", None),
    "masked_regions": HeadKind(_build_masked_regions, _score_masked_regions, "none", "all", None),
    "alignment": HeadKind(_LINEAR_POOLED, _score_pooled, "first", "first", 2),
    "vqa": HeadKind(_build_classifier, _score_pooled, "first", "first", VQA_ANSWERS),
    "gqa": HeadKind(_build_classifier, _score_pooled, "first", "first", GQA_ANSWERS),
    "pair": HeadKind(PairClassifier, _score_pooled, "first", "first", 2),
    "entailment": HeadKind(_LINEAR_POOLED, _score_pooled, "first", "first", 3),
    "match": HeadKind(_LINEAR_POOLED, _score_match, "first", "first", 1),
    "region": HeadKind(_linear("regions.hidden_size"), _score_regions, "none", "all", 1),
    "word": HeadKind(_linear("text.hidden_size"), _score_words, "all", "none", 1),
}
PRETRAINING = ("masked_words", "masked_regions", "alignment")
