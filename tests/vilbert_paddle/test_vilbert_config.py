"""The configuration: the original's JSON, our YAML files, and sizes that do not fit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyutils.config import load_config, setting
from pyutils.errors import InputError
from tests.support import golden
from vilbert_paddle.config import RegionStreamConfig, StreamConfig, VilbertConfig, from_original, read_original_config

FOLDER = Path(__file__).parents[2] / "configs" / "vilbert" / "model"
PUBLISHED = golden("vilbert/names").json("full_size.json")["config"]


@dataclass(frozen=True)
class Recipe:
    model: VilbertConfig = setting(VilbertConfig, "The network.")


@pytest.mark.parametrize("layers", [2, 4, 6, 8])
def test_yaml_equals_the_published_json(layers):
    found = load_config(Recipe, FOLDER / f"bert_base_{layers}layer_{layers}conect.yaml").model
    assert found == from_original(
        {
            **PUBLISHED,
            "v_num_hidden_layers": layers,
            "v_biattention_id": list(range(layers)),
            "t_biattention_id": list(range(12 - layers, 12)),
        }
    )


def test_original_json_file(tmp_path):
    file = tmp_path / "bert_base_6layer_6conect.json"
    file.write_text(json.dumps({**PUBLISHED, "task_specific_tokens": True, "fixed_t_layer": 2, "fusion_method": "sum"}))
    config = read_original_config(file)
    assert config.task_tokens == 20
    assert config.text.fixed_layers == 2
    assert config.fusion == "sum"
    assert config.regions == RegionStreamConfig()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"v_hiden_size": 4}, "no ViLBERT configuration has the field 'v_hiden_size': did you mean \"v_hidden_size\""),
        ({"v_biattention_id": [0, 1]}, "text.connect_at has 6 co-attention layers, regions.connect_at 2"),
        ({"fixed_t_layer": 7}, "text.fixed_layers is 7: expected at most 6"),
    ],
)
def test_original_json_that_does_not_fit(change, message, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**PUBLISHED, **change}))
    with pytest.raises(InputError, match="config.json") as error:
        read_original_config(file)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "cannot be read"),
        ("model: {}", "not valid JSON"),
        ("[1]", "expected an object, found list"),
        ('{"hidden_size": 768}', 'lacks "v_hidden_size"'),
    ],
)
def test_files_that_are_no_original_configuration(text, message, tmp_path):
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match="config.json") as error:
        read_original_config(file)
    assert message in str(error.value)


def test_places_of_co_attention():
    regions = RegionStreamConfig(connect_at=(0, 7))
    with pytest.raises(InputError, match=r"regions.connect_at \[0, 7\]: expected ascending numbers from 0 to 6"):
        VilbertConfig(text=StreamConfig(connect_at=(6, 7)), regions=regions)
