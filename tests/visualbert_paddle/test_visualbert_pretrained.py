"""Models by folder and name: weights, configuration and vocabulary together."""

from __future__ import annotations

import json
import re

import numpy as np
import paddle
import pytest

from pyutils.errors import InputError
from pyutils.text.tokenizer import load_tokenizer
from tests.pyutils.weights.torch_files import write_zip
from tests.support import golden
from tests.visualbert_paddle.support import as_tensors, config_of, network_inputs
from visualbert_paddle.checkpoints.weights import load_initial
from visualbert_paddle.network import heads

KINDS = {
    "pretraining": heads.VisualBertForPretraining,
    "vqa": heads.VisualBertForQuestionAnswering,
    "nlvr": heads.VisualBertForReasoning,
    "multichoice": heads.VisualBertForMultipleChoice,
    "flickr": heads.VisualBertForPhraseGrounding,
}
FIELDS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
          "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
          "visual_embedding_dim", "layer_norm_eps", "bypass_transformer")  # fmt: skip


def case(head: str):
    return golden(f"visualbert/checkpoint_names/{head}")


def hub_folder(path, head: str, **changes):
    """A folder as Hugging Face's `save_pretrained` writes it."""
    path.mkdir()
    from safetensors.numpy import load_file

    write_zip(path / "pytorch_model.bin", load_file(str(case(head).folder / "hf.safetensors")))
    recorded = case(head).config
    values = {**{field: recorded[field] for field in FIELDS}, "model_type": "visual_bert", **changes}
    (path / "config.json").write_text(json.dumps(values))
    return path


def scores(model, head: str) -> np.ndarray:
    with paddle.no_grad():
        found = model(**as_tensors(network_inputs(case(head).inputs)))
    return (found.words if head == "pretraining" else found).numpy()


@pytest.mark.parametrize("head", list(KINDS))
def test_a_folder_of_hugging_face_and_one_of_ours_give_the_recorded_scores(tmp_path, head):
    model = KINDS[head].from_pretrained(hub_folder(tmp_path / "hub", head))
    assert model.config.region_token_type == 1 and not model.training
    expected = case(head).outputs["prediction_logits" if head == "pretraining" else "logits"]
    found = scores(model, head)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=2e-5)
    for weights_format in ("safetensors", "pdparams"):
        model.save_pretrained(tmp_path / weights_format, weights_format=weights_format)
        again = KINDS[head].from_pretrained(str(tmp_path / weights_format))
        assert again.config == model.config
        assert scores(again, head).tobytes() == found.tobytes()


def test_vocabulary_travels_with_the_weights(tmp_path):
    vocabulary = golden("visualbert/data_formats").folder / "vocab.txt"
    model = heads.VisualBertForReasoning(config_of(case("nlvr").config))
    model.save_pretrained(tmp_path / "m", vocabulary)
    assert load_tokenizer(tmp_path / "m").vocab_size == load_tokenizer(vocabulary).vocab_size


def test_saving_names_a_missing_vocabulary_and_an_unknown_format(tmp_path):
    model = heads.VisualBertForReasoning(config_of(case("nlvr").config))
    with pytest.raises(InputError, match=r"none\.txt: no such vocabulary"):
        model.save_pretrained(tmp_path / "m", tmp_path / "none.txt")
    with pytest.raises(InputError, match="unknown weights_format 'pth': known: pdparams, safetensors"):
        model.save_pretrained(tmp_path / "m", weights_format="pth")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("hidden_dropout", "x", "hidden_dropout: expected a number, found 'x'"),
        ("num_heads", "2", "num_heads: expected a whole number, found '2'"),
        ("hidden_act", 3, "hidden_act: expected text, found 3"),
    ],
)
def test_changes_of_another_type_name_the_field(tmp_path, field, value, told):
    with pytest.raises(InputError, match=f"from_pretrained: {told}"):
        heads.VisualBertForReasoning.from_pretrained(hub_folder(tmp_path / "hub", "nlvr"), **{field: value})


def test_sizes_are_read_from_the_tensors_where_no_configuration_lies(tmp_path):
    folder = hub_folder(tmp_path / "hub", "nlvr")
    (folder / "config.json").unlink()
    model = heads.VisualBertForReasoning.from_pretrained(folder, num_heads=4)
    recorded = config_of(case("nlvr").config)
    for field in ("vocab_size", "hidden_size", "num_layers", "intermediate_size", "max_positions", "visual_dim"):
        assert getattr(model.config, field) == getattr(recorded, field)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("hidden_size", "hidden_size"), ("num_hidden_layers", "num_layers"), ("visual_embedding_dim", "visual_dim")],
)
def test_a_configuration_that_does_not_fit_names_the_field(tmp_path, theirs, ours):
    folder = hub_folder(tmp_path / "hub", "nlvr", **{theirs: 24})
    with pytest.raises(InputError, match=rf"config\.json: model\.{ours} is 24, but the weights in pytorch_model\.bin"):
        heads.VisualBertForReasoning.from_pretrained(folder)


def test_bad_configurations_name_file_and_key(tmp_path):
    model = heads.VisualBertForReasoning(config_of(case("nlvr").config))
    model.save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.yaml"
    text = file.read_text()
    for wrong, told in [
        (text.replace("hidden_act", "hiden_act"), 'unknown key "hiden_act": did you mean "hidden_act"'),
        ("model: [", "cannot be read as YAML"),
        ("3", "expected a mapping of settings, found int"),
        (re.sub(r"num_layers: \d+", "num_layers: three", text), "expected a whole number"),
    ]:
        file.write_text(wrong)
        with pytest.raises(InputError, match=rf"config\.yaml.*{told}"):
            heads.VisualBertForReasoning.from_pretrained(tmp_path / "m")
    file.write_text(text)
    with pytest.raises(InputError, match='hidden_dropuot.*did you mean "hidden_dropout"'):
        heads.VisualBertForReasoning.from_pretrained(tmp_path / "m", hidden_dropuot=0.0)


def test_a_checkpoint_of_another_task_needs_a_permitted_head(tmp_path):
    folder = hub_folder(tmp_path / "hub", "pretraining")
    with pytest.raises(InputError, match=r"classifier\.bias"):
        heads.VisualBertForQuestionAnswering.from_pretrained(folder)
    with pytest.raises(InputError, match="missing: classifier.weight"):
        heads.VisualBertForReasoning.from_pretrained(folder)
    model = heads.VisualBertForReasoning.from_pretrained(folder, may_miss=[r"^classifier\."])
    other = heads.VisualBertForReasoning(model.config)
    load_initial(other, str(folder), [r"^classifier\."])
    np.testing.assert_array_equal(model.encoder.word_table.numpy(), other.encoder.word_table.numpy())


def test_the_configuration_of_a_training_run_is_read(tmp_path):
    model = heads.VisualBertForReasoning(config_of(case("nlvr").config))
    model.save_pretrained(tmp_path / "best")
    file = tmp_path / "best" / "config.yaml"
    file.write_text("output_dir: x\ntrain: {epochs: 3}\n" + file.read_text())
    assert heads.VisualBertForReasoning.from_pretrained(tmp_path).config == model.config
