"""Initial values that follow from the width of a network."""

from __future__ import annotations

import pytest

from albef_paddle.config import AlbefConfig, TextConfig, VisionConfig
from pyutils.config import load_config
from pyutils.errors import InputError
from vilbert_paddle.config import VilbertConfig
from visualbert_paddle.config import VisualBertConfig


def stream(width):
    return f"{{hidden_size: {width}, num_heads: 4}}"


BUILT = {
    "visualbert": lambda width, **given: VisualBertConfig(hidden_size=width, num_heads=4, **given),
    "albef text": lambda width, **given: TextConfig(hidden_size=width, num_heads=4, **given),
    "albef vision": lambda width, **given: VisionConfig(width=width, num_heads=4, **given),
    "vilbert": lambda width, **given: load_config(
        VilbertConfig,
        None,
        [f"text={stream(width)}", f"regions={stream(width)}", *(f"{key}={value}" for key, value in given.items())],
    ),
}


@pytest.mark.parametrize("build", BUILT.values(), ids=BUILT)
def test_narrow_networks_start_with_one_over_the_root_of_the_width(build):
    assert build(64).init_std == 0.125
    assert build(100).init_std == 0.1
    for width in (768, 1024):
        assert build(width).init_std == 0.02  # as published
    assert build(64, init_std=0.02).init_std == 0.02


def test_vilberts_narrower_stream_decides():
    assert load_config(VilbertConfig, None, [f"text={stream(64)}", f"regions={stream(1024)}"]).init_std == 0.125
    assert VilbertConfig().init_std == AlbefConfig().vision.init_std == AlbefConfig().text.init_std == 0.02


def test_a_negative_deviation_is_refused():
    with pytest.raises(InputError, match="init_std: expected at least 0, found -1"):
        VisionConfig(init_std=-1.0)
