"""ALBEF's models by folder, file and name: weights, configuration and vocabulary together."""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest

from albef_paddle.checkpoints.parts import start_parts
from albef_paddle.checkpoints.weights import load_initial
from albef_paddle.network.classification import AlbefForEntailment, AlbefForReasoning
from albef_paddle.network.pretraining import AlbefForPretraining
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.network.retrieval import AlbefForRetrieval
from albef_paddle.network.text_assignment import AlbefForTextAssignment
from pyutils.errors import InputError
from pyutils.text.tokenizer import load_tokenizer
from pyutils.weights import registry
from tests.albef_paddle.support import STATES, config_of
from tests.pyutils.weights.torch_files import write_zip
from tests.support import golden

KINDS = {
    "pretrain": AlbefForPretraining,
    "retrieval": AlbefForRetrieval,
    "vqa": AlbefForQuestionAnswering,
    "ve": AlbefForEntailment,
    "nlvr": AlbefForReasoning,
    "nlvr_pretrain": AlbefForTextAssignment,
}
TOLD = ("width", "patch_size", "image_size", "depth", "mlp_ratio")
TOLD_OF_TEXT = ("vocab_size", "hidden_size", "max_positions", "token_types", "intermediate_size", "num_layers",
                "fusion_layer")  # fmt: skip


def recorded_heads(case: str) -> dict[str, int]:
    config = config_of(golden(f"albef/{case}").config)
    return {"vision.num_heads": config.vision.num_heads, "text.num_heads": config.text.num_heads}


def original_file(tmp_path, case: str):
    return write_zip(tmp_path / f"{case}.pth", {"model": golden(f"albef/{case}").weights, "epoch": 4})


@pytest.mark.parametrize("case", KINDS)
def test_sizes_are_inferred_from_the_tensors_and_saved_with_them(tmp_path, case):
    model = KINDS[case].from_pretrained(original_file(tmp_path, case), **recorded_heads(case))
    recorded, found = config_of(golden(f"albef/{case}").config), model.config
    assert not model.training
    assert [getattr(found.vision, f) for f in TOLD] == [getattr(recorded.vision, f) for f in TOLD]
    assert [getattr(found.text, f) for f in TOLD_OF_TEXT] == [getattr(recorded.text, f) for f in TOLD_OF_TEXT]
    for weights_format in ("safetensors", "pdparams"):
        model.save_pretrained(tmp_path / weights_format, weights_format=weights_format)
        again = KINDS[case].from_pretrained(str(tmp_path / weights_format))
        assert again.config == found
        state = again.state_dict()
        assert all(
            state[name].numpy().tobytes() == value.numpy().tobytes() for name, value in model.state_dict().items()
        )


@pytest.mark.parametrize("case", ["ve", "nlvr"])
def test_recorded_predictions(tmp_path, case):
    recorded = golden(f"albef/{case}")
    changes = {**recorded_heads(case), "vision.layer_norm_eps": 1e-6}
    model = KINDS[case].from_pretrained(original_file(tmp_path, case), **changes)
    images = recorded.inputs["image"]
    if case == "nlvr":  # all first images, then all second ones
        images = np.stack(np.split(images, 2), axis=1)
    with paddle.no_grad():
        found = model(*map(paddle.to_tensor, (images, recorded.inputs["input_ids"], recorded.inputs["attention_mask"])))
    np.testing.assert_allclose(found.numpy(), recorded.outputs["prediction"], **STATES)


def test_the_vocabulary_is_saved_with_the_weights(tmp_path):
    vocabulary = golden("visualbert/data_formats").folder / "vocab.txt"
    AlbefForEntailment(config_of(golden("albef/ve").config)).save_pretrained(tmp_path / "one", vocabulary)
    model = AlbefForEntailment.from_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "two")
    model.save_pretrained(tmp_path / "one")  # the folder that it came from
    for folder in ("one", "two"):
        assert load_tokenizer(tmp_path / folder).vocab_size == load_tokenizer(vocabulary).vocab_size


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("hidden_size", 60, "text.hidden_size is 60"),
        ("fusion_layer", 1, "text.fusion_layer is 1"),
        ("depth", 5, "vision.depth is 5"),
        ("patch_size", 4, "vision.patch_size is 4"),
        ("decoder_layers", 9, "decoder_layers is 9"),
        ("vocab_size", 7, "text.vocab_size is 7"),
    ],
)
def test_a_configuration_that_does_not_fit_names_the_field(tmp_path, field, value, told):
    config = config_of(golden("albef/vqa").config)
    AlbefForQuestionAnswering(config).save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.yaml"
    file.write_text(re.sub(rf"{field}: \d+", f"{field}: {value}", file.read_text(), count=1))
    with pytest.raises(InputError, match=rf"config\.yaml: model\.{told}, but the weights in model\.safetensors"):
        AlbefForQuestionAnswering.from_pretrained(tmp_path / "m")


def test_unknown_fields_are_named(tmp_path):
    AlbefForEntailment(config_of(golden("albef/ve").config)).save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match=r'vision\.imagesize.*did you mean "vision\.image_size"'):
        AlbefForEntailment.from_pretrained(tmp_path / "m", **{"vision.imagesize": 3})


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("queue_size", -1, "queue_size: expected at least 1, found -1"),
        ("queue_size", 0, "queue_size: expected at least 1, found 0"),
        ("temperature", 0, "temperature: expected more than 0, found 0.0"),
        ("momentum", 1.5, "momentum: expected 0 or more and less than 1, found 1.5"),
    ],
)
def test_invalid_sizes_are_named(tmp_path, field, value, told):
    AlbefForEntailment(config_of(golden("albef/ve").config)).save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.yaml"
    file.write_text(re.sub(rf"{field}: \S+", f"{field}: {value}", file.read_text()))
    with pytest.raises(InputError, match=rf"config\.yaml: {told}"):
        AlbefForEntailment.from_pretrained(tmp_path / "m")


def test_changes_of_another_type_name_the_field(tmp_path):
    AlbefForEntailment(config_of(golden("albef/ve").config)).save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match=r"vision\.image_size: expected a whole number, found '64' \(str\)"):
        AlbefForEntailment.from_pretrained(tmp_path / "m", **{"vision.image_size": "64"})


def test_another_resolution_and_queue_than_the_file_has(tmp_path):
    changes = {**recorded_heads("pretrain"), "vision.image_size": 64, "queue_size": 6}
    model = AlbefForRetrieval.from_pretrained(original_file(tmp_path, "pretrain"), **changes)
    assert model.vision.positions.shape[1] == (64 // model.config.vision.patch_size) ** 2 + 1
    assert model.queue.images.shape[1] == 6


def test_a_new_head_must_be_permitted(tmp_path):
    file = original_file(tmp_path, "pretrain")
    with pytest.raises(InputError, match=r"missing: classifier\.0\.weight"):
        AlbefForEntailment.from_pretrained(file, **recorded_heads("pretrain"))
    model = AlbefForEntailment.from_pretrained(file, [r"^classifier\."], **recorded_heads("pretrain"))
    assert model.classifier[2].weight.shape[1] == 3


def test_the_vocabulary_size_of_a_run_may_be_left_open(tmp_path):
    AlbefForEntailment(config_of(golden("albef/ve").config)).save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.yaml"
    file.write_text(re.sub(r"vocab_size: \d+", "vocab_size: 0", file.read_text()))
    model = AlbefForEntailment.from_pretrained(tmp_path / "m")
    assert model.config.text.vocab_size == model.text.word_table.shape[0]


def test_a_known_name_is_looked_up_for_checkpoints_and_for_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "MODELS_HOME", tmp_path)
    for name, case in (("albef-14m", "pretrain"), ("bert-base-uncased", "bert_text"), ("deit-base-patch16-224", "vit")):
        (tmp_path / name).mkdir()
        write_zip(tmp_path / name / "pytorch_model.bin", golden(f"albef/{case}").weights)
    config = config_of(golden("albef/pretrain").config)
    model = AlbefForPretraining(config)
    assert load_initial(model, "albef-14m", config).ok
    found = AlbefForPretraining.from_pretrained("albef-14m", **recorded_heads("pretrain"))
    np.testing.assert_array_equal(found.vision.class_token.numpy(), model.vision.class_token.numpy())
    with pytest.raises(InputError, match='did you mean "albef-14m"'):
        load_initial(model, "albef-14mm", config)

    class Started:
        init_text, init_vision = "bert-base", ""

    with pytest.raises(InputError, match='did you mean "bert-base-uncased"'):
        start_parts(model, Started)
