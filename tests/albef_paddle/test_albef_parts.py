"""Initial encoders: what fits is loaded, whatever else is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from albef_paddle.checkpoints.parts import from_bert, from_vit, load_part
from albef_paddle.checkpoints.weights import to_original
from albef_paddle.commands import CONFIGS, configure
from albef_paddle.network.pretraining import AlbefForPretraining
from albef_paddle.tasks.pretraining import AlbefPretrainingConfig
from pyutils.config.command_line import Run
from pyutils.config.loading import Override
from pyutils.errors import InputError
from tests.albef_paddle.support import config_of
from tests.support import golden

CONFIG = config_of(golden("albef/pretrain").config)
VIT = golden("albef/vit").weights
BERT = golden("albef/bert_text").weights


@pytest.fixture(scope="module")
def model():
    return AlbefForPretraining(CONFIG)


def arrays(model, prefix):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items() if name.startswith(prefix)}


def drawn(model, prefix):
    """Other values for the tensors of `model` below `prefix`."""
    rng = np.random.default_rng(1)
    return {name: rng.random(value.shape, np.float32) for name, value in arrays(model, prefix).items()}


def equal(found, expected):
    assert found.keys() >= expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def timm(model, values):
    return {re.sub(r"^visual_encoder\.", "", name): value for name, value in to_original(values, model.config).items()}


def hugging_face(tensors):
    """A timm state dict under the names of Hugging Face's ViT."""
    found = {}
    for name, value in tensors.items():
        if ".attn.qkv." in name:
            layer, kind = re.match(r"blocks\.(\d+)\.attn\.qkv\.(.*)", name).groups()
            for part, own in zip(("query", "key", "value"), np.split(value, 3)):
                found[f"vit.encoder.layer.{layer}.attention.attention.{part}.{kind}"] = own
            continue
        for ours, theirs in (
            (r"^cls_token", "embeddings.cls_token"),
            (r"^pos_embed", "embeddings.position_embeddings"),
            (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
            (r"^norm\.", "layernorm."),
            (r"^blocks\.(\d+)\.norm1", r"encoder.layer.\1.layernorm_before"),
            (r"^blocks\.(\d+)\.norm2", r"encoder.layer.\1.layernorm_after"),
            (r"^blocks\.(\d+)\.attn\.proj", r"encoder.layer.\1.attention.output.dense"),
            (r"^blocks\.(\d+)\.mlp\.fc1", r"encoder.layer.\1.intermediate.dense"),
            (r"^blocks\.(\d+)\.mlp\.fc2", r"encoder.layer.\1.output.dense"),
        ):
            if re.search(ours, name):
                found["vit." + re.sub(ours, theirs, name)] = value
    return {**found, "classifier.weight": np.zeros((5, 3), np.float32)}


@pytest.mark.parametrize("form", ["timm", "prefixed", "hugging face", "authors", "ours"])
def test_vision_weights_of_every_form(model, form):
    values = drawn(model, "vision.")
    plain = timm(model, values)
    files = {
        "timm": plain,
        "prefixed": {"model": {f"backbone.{name}": value for name, value in plain.items()}},
        "hugging face": hugging_face(plain),
        "authors": {f"visual_encoder.{name}": value for name, value in plain.items()},
        "ours": {**values, "text.embeddings.words.table.weight": np.zeros((2, 2))},
    }
    load_part(model, from_vit(files[form]), form)
    equal(arrays(model, "vision."), values)
    equal(arrays(model, "teacher.vision."), {f"teacher.{name}": value for name, value in values.items()})


def test_the_text_encoder_inside_an_albef_checkpoint(model):
    values = {**arrays(model, "vision."), **drawn(model, "text."), **arrays(model, "words.")}
    for file in (values, to_original(values, model.config)):
        load_part(model, from_bert(file, CONFIG), "albef")
        equal(arrays(model, "text."), {name: value for name, value in values.items() if name.startswith("text.")})


def renamed(tensors, old, new):
    return {name.replace(old, new): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("read", "tensors", "named"),
    [
        (from_vit, BERT, "file: init_vision .*BERT"),
        (from_bert, VIT, "file: init_text .*vision transformer"),
        (from_bert, {f"roberta.{name}": value for name, value in BERT.items()}, "file: init_text .*roberta"),
        (from_vit, {**VIT, "dist_token": np.zeros(3)}, "file: a distilled DeiT"),
        (from_bert, {"some.weight": np.zeros(3)}, r"file: init_text .*none of the known models \(some\.weight"),
    ],
)
def test_anything_else_is_refused_by_name(read, tensors, named):
    arguments = (CONFIG,) if read is from_bert else ()
    with pytest.raises(InputError, match=named):
        read(tensors, *arguments, "file")


def test_missing_tensors_and_other_shapes_are_refused(model):
    values = drawn(model, "vision.")
    plain = timm(model, values)
    before = arrays(model, "vision.")
    lost = {name: value for name, value in plain.items() if not name.startswith("blocks.1.mlp")}
    with pytest.raises(InputError, match=r"missing: vision\.blocks\.1\.expand\.weight"):
        load_part(model, from_vit(lost), "file")
    narrow = {**plain, "norm.weight": np.zeros(3, np.float32)}
    with pytest.raises(InputError, match=r"vision\.norm\.weight: file \[3\]"):
        load_part(model, from_vit(narrow), "file")
    equal(arrays(model, "vision."), before)


def test_a_typed_checkpoint_replaces_the_parts_of_the_recipe_but_not_typed_ones():
    def configured(*keys):
        overrides = tuple(Override(key, f"{key}.file", "--set") for key in keys)
        return configure(Run(Path(CONFIGS / "pretrain.yaml"), overrides), None, AlbefPretrainingConfig)

    plain = configured()
    assert plain.init_text and plain.init_vision
    alone = configured("init")
    assert (alone.init_text, alone.init_vision) == ("", "")
    both = configured("init", "init_text")
    assert (both.init, both.init_text, both.init_vision) == ("init.file", "init_text.file", "")
