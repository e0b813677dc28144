"""Values that no configuration may have, each refused before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pyutils.config import load_config, setting
from pyutils.config.checks import ACTIVATIONS, above, at_least, below, check_transformer, one_of, share
from pyutils.data.features.inputs import RegionConfig
from pyutils.data.vqa.splits import VQAConfig
from pyutils.errors import InputError
from pyutils.layers import initializers
from pyutils.optim import OptimizerConfig
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.tasks.vqa import SHORTEST_TEXT, VisualBertVQAConfig


@dataclass(frozen=True)
class Sizes:
    count: int = setting(3, "A count.")
    place: int = setting(0, "A place below the count.")
    rate: float = setting(0.5, "A share.")
    name: str = setting("one", "A name.")


def test_values_within_bounds_and_absent_ones_pass():
    at_least(Sizes(), 3, "count")
    above(Sizes(), 2, "count")
    share(Sizes(rate=0.0), "rate")
    share(Sizes(rate=None), "rate")
    one_of(Sizes(), "name", ["one", "two"])
    below(Sizes(), "place", "count")
    check_transformer(Sizes())


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: at_least(Sizes(), 4, "count"), "count: expected at least 4, found 3"),
        (lambda: at_least(Sizes(count=float("nan")), 0, "count"), "count: expected at least 0, found nan"),
        (lambda: above(Sizes(), 3, "count"), "count: expected more than 3, found 3"),
        (lambda: share(Sizes(rate=1.0), "rate"), "rate: expected 0 or more and less than 1, found 1.0"),
        (lambda: share(Sizes(rate=(0.9, -0.1)), "rate"), r"rate: expected 0 or more .* found \(0.9, -0.1\)"),
        (lambda: one_of(Sizes(), "name", ["two"]), "name: expected two, found 'one'"),
        (
            lambda: below(Sizes(place=3), "place", "count"),
            r"place: expected 0 or more and less than count \(3\), found 3",
        ),
    ],
)
def test_a_failed_check_says_what_is_allowed_and_found(check, message):
    with pytest.raises(InputError, match=message):
        check()


def test_every_activation_is_known_to_the_layers():
    assert set(ACTIVATIONS) == set(initializers.ACTIVATIONS)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_heads=7", r"model.hidden_size: expected a multiple of num_heads \(7\), found 768"),
        ("model.num_heads=0", "model.num_heads: expected at least 1, found 0"),
        ("model.num_layers=0", "model.num_layers: expected at least 1, found 0"),
        ("model.hidden_act=gelo", "model.hidden_act: expected gelu, relu, swish, tanh, found 'gelo': did you mean"),
        ("model.hidden_dropout=1.0", "model.hidden_dropout: expected 0 or more and less than 1, found 1.0"),
        ("model.attention_dropout=-0.1", "model.attention_dropout: expected 0 or more"),
        ("model.region_token_type=2", r"model.region_token_type: expected .* less than token_types \(2\), found 2"),
        ("model.max_positions=0", "model.max_positions: expected at least 1, found 0"),
        ("model.visual_dim=0", "model.visual_dim: expected at least 1, found 0"),
        ("regions.max_regions=0", "regions.max_regions: expected at least 1, found 0"),
        ("vqa.soft_scores=mmg", "vqa.soft_scores: expected authors, mmf, official, found 'mmg': did you mean"),
        ("max_text=4", "max_text: expected at least 5, found 4"),
        ("train.optimizer.lr=0", "train.optimizer.lr: expected more than 0, found 0.0"),
        ("train.optimizer.lr=.nan", "train.optimizer.lr: expected more than 0, found nan"),
        ("train.optimizer.weight_decay=-1", "train.optimizer.weight_decay: expected at least 0, found -1.0"),
        ("train.optimizer.betas=[0.9, 1]", r"train.optimizer.betas: expected .* less than 1, found \(0.9, 1.0\)"),
    ],
)
def test_a_run_is_refused_by_its_configuration(override, message):
    with pytest.raises(InputError, match=f"^--set {override}: {message}".replace("[0.9, 1]", r"\[0.9, 1\]")):
        load_config(VisualBertVQAConfig, None, [override])


def test_the_defaults_and_the_bounds_pass():
    assert OptimizerConfig(lr=None).lr is None
    assert RegionConfig(max_regions=1).max_regions == 1
    assert VQAConfig(soft_scores="mmf").soft_scores == "mmf"
    assert VisualBertConfig(num_layers=1, hidden_dropout=0.0, region_token_type=1).num_layers == 1
    assert VisualBertVQAConfig(max_text=SHORTEST_TEXT).max_text == SHORTEST_TEXT
