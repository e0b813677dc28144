"""ViLBERT's models by folder and file: weights, configuration, heads and vocabulary together."""

from __future__ import annotations

import json
import re

import numpy as np
import paddle
import pytest

from pyutils.errors import InputError
from pyutils.text.tokenizer import load_tokenizer
from tests.pyutils.weights.torch_files import write_legacy, write_zip
from tests.support import golden
from tests.vilbert_paddle.support import config_of, inputs_of, tasks_of
from vilbert_paddle.checkpoints import PRETRAINED, convert
from vilbert_paddle.network.heads import VilbertForPretraining, VilbertForTasks


def folder_of(tmp_path, case: str):
    """A checkpoint of the authors with its configuration in their form beside it."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    recorded = golden(f"vilbert/{case}")
    write_legacy(folder / "pytorch_model.bin", recorded.weights)
    fields = {name: value for name, value in recorded.config.items() if name != "variants"}
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def test_a_checkpoint_of_the_authors_gives_the_scores_of_the_recorded_network(tmp_path):
    expected, recorded = tasks_of("vilbert/vl_tasks")
    model = VilbertForTasks.from_pretrained(folder_of(tmp_path, "vl_tasks"))
    assert model.config == config_of(recorded) and not model.training
    assert set(model.heads.keys()) == set(expected.heads.keys())
    inputs = inputs_of(recorded.inputs, "even.")
    with paddle.no_grad():
        for head in ("vqa", "region", "match", "entailment"):
            found = model(head, **inputs).numpy()
            np.testing.assert_array_equal(found, expected(head, **inputs).numpy(), err_msg=head)
            model.save_pretrained(tmp_path / "ours")
            again = VilbertForTasks.from_pretrained(tmp_path / "ours")
            np.testing.assert_array_equal(again(head, **inputs).numpy(), found)
    assert again.config == model.config


@pytest.mark.parametrize("case", ["pretrain_vt0", "pretrain_vt1"])
def test_pre_training_keeps_its_heads(tmp_path, case):
    folder = folder_of(tmp_path, case)
    model = VilbertForPretraining.from_pretrained(folder)
    assert set(model.heads.keys()) == {"masked_words", "masked_regions", "alignment"}
    with pytest.raises(InputError, match="the heads of pre-training are fixed"):
        VilbertForPretraining.from_pretrained(folder, heads=["vqa"])


@pytest.mark.parametrize("case", ["model_task_tokens", "model_dynamic_attention", "vl_tasks", "pretrain_vt0"])
def test_sizes_are_told_by_the_tensors(tmp_path, case):
    recorded = golden(f"vilbert/{case}")
    file = write_zip(tmp_path / "x.bin", recorded.weights)
    wanted = config_of(recorded)
    sizes = PRETRAINED.sizes(VilbertForTasks, convert(recorded.weights).tensors)
    for field in ("vocab_size", "max_positions", "token_types", "region_dim", "bridge_size", "gated_regions"):
        assert sizes[field] == getattr(wanted, field), field
    assert sizes.get("task_tokens", 0) == wanted.task_tokens
    for stream in ("text", "regions"):
        for field in ("hidden_size", "num_layers", "intermediate_size"):
            assert sizes[f"{stream}.{field}"] == getattr(getattr(wanted, stream), field)
    VilbertForTasks.from_pretrained(file)


def test_heads_are_chosen_and_new_ones_permitted(tmp_path):
    folder = folder_of(tmp_path, "vl_tasks")
    assert set(VilbertForTasks.from_pretrained(folder, heads=["region"]).heads.keys()) == {"region"}
    (tmp_path / "other").mkdir()
    folder = folder_of(tmp_path / "other", "pretrain_vt0")
    with pytest.raises(InputError, match=r"missing: heads\.vqa\.transform\.dense\.weight"):
        VilbertForTasks.from_pretrained(folder, heads={"vqa": 7})
    model = VilbertForTasks.from_pretrained(folder, [r"^heads\.vqa\."], heads={"vqa": 7})
    assert model.heads["vqa"].decoder.bias.shape == [7]


def test_chosen_heads_have_the_outputs_of_the_file(tmp_path):
    config = VilbertForTasks.from_pretrained(folder_of(tmp_path, "vl_tasks"), heads=["match"]).config
    VilbertForTasks(config, {"vqa": 7, "entailment": 5, "region": 1}).save_pretrained(tmp_path / "m")
    for heads in (["vqa", "region"], {"vqa": None, "region": 1}, iter(["vqa", "region"])):
        model = VilbertForTasks.from_pretrained(tmp_path / "m", heads=heads)
        assert set(model.heads.keys()) == {"vqa", "region"} and model.heads["vqa"].decoder.bias.shape == [7]
    with pytest.raises(InputError, match=r"heads\.vqa\.decoder\.bias: file \[7\], model \[9\]"):
        VilbertForTasks.from_pretrained(tmp_path / "m", heads={"vqa": 9})
    with pytest.raises(InputError, match="no head 'vqaa': did you mean \"vqa\""):
        VilbertForTasks.from_pretrained(tmp_path / "m", heads=["vqaa"])
    with pytest.raises(InputError, match="heads: expected a list of names or a mapping"):
        VilbertForTasks.from_pretrained(tmp_path / "m", heads="vqa")


@pytest.mark.parametrize(
    ("theirs", "ours"), [("hidden_size", "text.hidden_size"), ("v_feature_size", "region_dim"),
                         ("v_num_hidden_layers", "regions.num_layers"), ("bi_hidden_size", "bridge_size")]
)  # fmt: skip
def test_a_configuration_that_does_not_fit_names_the_field(tmp_path, theirs, ours):
    folder = folder_of(tmp_path, "vl_tasks")
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**fields, theirs: 60}))
    with pytest.raises(InputError, match=rf"config\.json: model\.{re.escape(ours)} is 60, but the weights in"):
        VilbertForTasks.from_pretrained(folder)


def test_the_vocabulary_travels_with_the_weights(tmp_path):
    vocabulary = golden("visualbert/data_formats").folder / "vocab.txt"
    model = VilbertForTasks.from_pretrained(folder_of(tmp_path, "vl_tasks"), heads=["match"])
    model.save_pretrained(tmp_path / "one", vocabulary)
    VilbertForTasks.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    assert load_tokenizer(tmp_path / "two").vocab_size == load_tokenizer(vocabulary).vocab_size


def test_another_model_is_named(tmp_path):
    file = write_zip(tmp_path / "x.pth", golden("albef/ve").weights)
    with pytest.raises(InputError, match=r"x\.pth: not a ViLBERT or BERT checkpoint"):
        VilbertForTasks.from_pretrained(file)
