"""Checkpoints of every code base and format into VisualBERT: same outputs, identical bytes after a round trip."""

from __future__ import annotations

import pickle

import numpy as np
import paddle
import pytest

from pyutils.errors import InputError
from pyutils.formats.tensor_files import write_safetensors
from tests.pyutils.weights.torch_files import write_legacy, write_zip
from tests.support import golden
from tests.visualbert_paddle.support import as_tensors, config_of, network_inputs
from visualbert_paddle.checkpoints.names import NAMES
from visualbert_paddle.checkpoints.weights import code_base, convert_visualbert_weights, load_initial, to_names
from visualbert_paddle.network import heads

SCORES = {"rtol": 1e-4, "atol": 2e-5}
MODELS = {
    "pretraining": (heads.VisualBertForPretraining,),
    "vqa": (heads.VisualBertForQuestionAnswering, 3129),
    "nlvr": (heads.VisualBertForReasoning,),
    "multichoice": (heads.VisualBertForMultipleChoice,),
    "flickr": (heads.VisualBertForPhraseGrounding,),
}


def write_pdparams(path, arrays):
    path.write_bytes(pickle.dumps(dict(arrays), 4))
    return path


def write_plain(path, arrays):
    write_safetensors(path, arrays)
    return path


FORMATS = {
    "safetensors": write_plain,
    "torch zip": write_zip,
    "torch legacy": write_legacy,
    "pdparams": write_pdparams,
    "nested zip": lambda path, arrays: write_zip(path, {"model": {f"module.{n}": v for n, v in arrays.items()}}),
}


def case(head: str):
    return golden(f"visualbert/checkpoint_names/{head}")


def new_model(head: str):
    kind, *arguments = MODELS[head]
    model = kind(config_of(case(head).config), *arguments)
    model.eval()
    return model


def tensors_of(head: str, names: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(str(case(head).folder / f"{names}.safetensors"))


def check_outputs(head: str, model) -> None:
    recorded = case(head)
    inputs = network_inputs(recorded.inputs)
    with paddle.no_grad():
        scores = model(**as_tensors(inputs))
    if head == "pretraining":
        np.testing.assert_allclose(scores.words.numpy(), recorded.outputs["prediction_logits"], **SCORES)
        np.testing.assert_allclose(scores.sentence_image.numpy(), recorded.outputs["seq_relationship_logits"], **SCORES)
        return
    expected = recorded.outputs["logits"]
    np.testing.assert_allclose(scores.numpy().reshape(expected.shape), expected, **SCORES)


@pytest.mark.parametrize("names", ["hf", "authors"])
@pytest.mark.parametrize("head", list(MODELS))
def test_checkpoints_of_both_code_bases_give_the_recorded_scores(tmp_path, head, names):
    model = new_model(head)
    file = write_zip(tmp_path / "x.th", tensors_of(head, names))
    report = load_initial(model, str(file))
    assert report.ok and not report.allowed_missing
    check_outputs(head, model)


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("head", ["pretraining", "vqa"])
def test_every_format_gives_the_recorded_scores(tmp_path, kind, head):
    model = new_model(head)
    file = FORMATS[kind](tmp_path / "weights.any", tensors_of(head, "authors"))
    assert load_initial(model, str(file)).ok
    check_outputs(head, model)


@pytest.mark.parametrize("names", list(NAMES))
@pytest.mark.parametrize("head", list(MODELS))
def test_round_trip_through_the_names_of_every_code_base(head, names):
    ours = convert_visualbert_weights(tensors_of(head, "hf")).tensors
    if names == "mmf":
        ours = {name: value for name, value in ours.items() if not name.startswith("classifier.")}
    if names in ("mmf", "paddlenlp"):
        ours = {name: value for name, value in ours.items() if not name.startswith(("query.", "key."))}
    theirs = to_names(ours, names)
    assert code_base(theirs) == names
    back = convert_visualbert_weights(theirs)
    assert back.unmapped == [] and set(back.tensors) == set(ours)
    for name, value in ours.items():
        assert back.tensors[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize(("names", "file"), [("huggingface", "hf"), ("authors", "authors")])
@pytest.mark.parametrize("head", list(MODELS))
def test_names_written_are_those_of_the_code_base(head, names, file):
    recorded = tensors_of(head, file)
    written = to_names(convert_visualbert_weights(recorded).tensors, names)
    unused = {name for name in recorded if "attention.value." in name or name.startswith("detector.")}
    unused |= {name for name in recorded if name.endswith("position_ids")}
    assert set(written) == set(recorded) - unused
    for name, value in written.items():
        np.testing.assert_array_equal(value, recorded[name], err_msg=name)


def test_community_checkpoint_of_paddlenlp(tmp_path):
    model = new_model("vqa")
    theirs = to_names(convert_visualbert_weights(tensors_of("vqa", "hf")).tensors, "paddlenlp")
    config = model.encoder.config
    weight = theirs["visual_bert.encoder.layer.layers.0.linear1.weight"]
    assert weight.shape == (config.hidden_size, config.intermediate_size)
    folder = tmp_path / "visualbert-vqa"
    folder.mkdir()
    theirs["visual_bert.embeddings.position_ids"] = np.arange(64)[None]
    write_pdparams(folder / "model_state.pdparams", theirs | {"StructuredToParameterName@@": {}})
    assert load_initial(model, str(folder)).ok
    check_outputs("vqa", model)


def test_later_layer_names_of_paddlenlp():
    ours = convert_visualbert_weights(tensors_of("nlvr", "hf")).tensors
    theirs = {n.replace("encoder.layer.layers", "encoder.layers"): v for n, v in to_names(ours, "paddlenlp").items()}
    assert set(convert_visualbert_weights(theirs).tensors) == set(ours)


def test_mmf_checkpoint_with_prefix_and_a_classifier_of_its_own(tmp_path):
    theirs = to_names(convert_visualbert_weights(tensors_of("pretraining", "hf")).tensors, "mmf")
    wrapped = {f"model.{name}": value for name, value in theirs.items()}
    wrapped["model.classifier.0.dense.weight"] = np.zeros((48, 48), "float32")
    wrapped["model.classifier.1.bias"] = np.zeros(3129, "float32")
    file = write_legacy(tmp_path / "model.pth", {"model": wrapped})
    model = new_model("pretraining")
    assert load_initial(model, str(file)).ok
    check_outputs("pretraining", model)
    with pytest.raises(InputError, match="missing: classifier.weight"):
        load_initial(new_model("vqa"), str(file))


def bert_tensors(prefix: str = "bert.") -> dict[str, np.ndarray]:
    """A text-only BERT: the text part of the recorded VisualBERT."""
    found = {}
    for name, value in tensors_of("pretraining", "hf").items():
        if "visual_" not in name.replace("visual_bert.", ""):
            found[name.replace("visual_bert.", prefix)] = value
    return found


@pytest.mark.parametrize("prefix", ["bert.", "", "module.bert."])
def test_a_bert_fills_the_text_part_and_the_tables_of_the_regions(tmp_path, prefix):
    model = new_model("pretraining")
    before = model.encoder.embeddings.region_projection.weight.numpy()
    report = load_initial(model, str(write_zip(tmp_path / "pytorch_model.bin", bert_tensors(prefix))))
    embeddings, recorded = model.encoder.embeddings, bert_tensors()
    assert all("region_projection" in name for name in report.allowed_missing) and report.ok
    np.testing.assert_array_equal(embeddings.region_projection.weight.numpy(), before)
    words = recorded["bert.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(embeddings.text.words.weight.numpy(), words)
    positions = recorded["bert.embeddings.position_embeddings.weight"]
    np.testing.assert_array_equal(embeddings.region_positions.weight.numpy(), positions)
    np.testing.assert_array_equal(
        embeddings.region_token_types.weight.numpy(), recorded["bert.embeddings.token_type_embeddings.weight"]
    )


def test_gamma_and_beta_of_old_files():
    old = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
           for n, v in bert_tensors().items()}  # fmt: skip
    assert any(name.endswith("gamma") for name in old)
    found, expected = convert_visualbert_weights(old), convert_visualbert_weights(bert_tensors())
    assert found.unmapped == [] and set(found.tensors) == set(expected.tensors)


def test_names_of_another_model_are_named(tmp_path):
    file = write_zip(tmp_path / "x.pth", {"visual_encoder.cls_token": np.ones(3, "float32")})
    with pytest.raises(InputError, match=r"x\.pth: not a VisualBERT checkpoint .* e\.g\. visual_encoder\.cls_token"):
        load_initial(new_model("nlvr"), str(file))


def test_tensors_without_a_rule_are_named(tmp_path):
    file = write_zip(tmp_path / "x.pth", {**tensors_of("nlvr", "hf"), "visual_bert.extra.weight": np.ones(3)})
    with pytest.raises(InputError, match=r"no rule for 1 tensors, e\.g\. visual_bert\.extra\.weight"):
        load_initial(new_model("nlvr"), str(file))


def test_a_tensor_of_another_shape_leaves_the_model_untouched(tmp_path):
    tensors = {**tensors_of("nlvr", "hf"), "cls.bias": np.ones(5, "float32")}
    model = new_model("nlvr")
    before = model.encoder.word_table.numpy()
    with pytest.raises(InputError, match=r"classifier\.bias: file \[5\], model \[2\]"):
        load_initial(model, str(write_zip(tmp_path / "x.pth", tensors)))
    np.testing.assert_array_equal(model.encoder.word_table.numpy(), before)


def test_half_precision_and_integer_tensors_load(tmp_path):
    tensors = tensors_of("nlvr", "hf")
    half = {name: value.astype("float16") for name, value in tensors.items()}
    half["visual_bert.embeddings.position_ids"] = np.arange(64)[None]
    model = new_model("nlvr")
    assert load_initial(model, str(write_zip(tmp_path / "x.pth", half))).ok
    found = model.classifier.weight.numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tensors["cls.weight"].T, rtol=1e-3, atol=1e-4)


def test_unknown_code_bases_name_the_nearest():
    with pytest.raises(InputError, match='did you mean "huggingface"'):
        to_names({}, "hugging_face")
