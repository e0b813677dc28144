"""Names and shapes of original checkpoints, and loading each kind of them."""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file

from pyutils.errors import InputError
from pyutils.formats.tensor_files import write_pdparams
from pyutils.weights import paddlenlp_names
from pyutils.weights.names import NameMap
from tests.support import golden
from tests.vilbert_paddle.support import TASK_HEADS, config_of, inputs_of, tasks_of
from vilbert_paddle.checkpoints.weights import convert_vilbert_weights, load_initial, to_names, unused_shapes
from vilbert_paddle.config import VilbertConfig, from_original
from vilbert_paddle.network.heads import PRETRAINING, VilbertForPretraining, VilbertForTasks

ALL_HEADS = dict.fromkeys((*PRETRAINING, *TASK_HEADS))
TASK_KEYS = "VILBertForVLTasks"


def shapes_only(build):
    """The names and shapes of a model's tensors as arrays without memory; no weight is made."""
    with paddle.LazyGuard():
        model = build()
    return {name: np.broadcast_to(np.float32(0), value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", ["BertForMultiModalPreTraining", TASK_KEYS])
def test_full_size_names_shapes_and_number_of_parameters(name):
    recorded = golden("vilbert/names").json("full_size.json")
    config = from_original(recorded["config"])
    assert config == VilbertConfig()
    ours = shapes_only(
        lambda: VilbertForTasks(config, ALL_HEADS) if name == TASK_KEYS else VilbertForPretraining(config)
    )
    theirs = {key: list(value.shape) for key, value in to_names(ours, "authors").items()}
    assert theirs == recorded[name]["shapes"]
    unused = sum(int(np.prod(shape)) for shape in unused_shapes(ours).values())
    assert sum(value.size for value in ours.values()) + unused == recorded[name]["parameters"]


def test_both_directions_give_the_same_tensors():
    model, recorded = tasks_of("vilbert/vl_tasks")
    theirs = to_names({name: value.numpy() for name, value in model.state_dict().items()}, "authors")
    assert set(theirs) == set(recorded.weights)
    for name, value in recorded.weights.items():
        if "q_dense" in name:
            assert theirs[name].shape == value.shape
        else:
            np.testing.assert_array_equal(theirs[name], value, err_msg=name)


def test_a_tensor_without_a_name_there():
    with pytest.raises(ValueError, match="no rule for 1 tensors, e.g. encoder.new"):
        to_names({"encoder.new": np.zeros(1)}, "authors")


def fresh(kind, config):
    if kind == "BertForMultiModalPreTraining":
        return VilbertForPretraining(config)
    return VilbertForTasks(config, ALL_HEADS if kind == TASK_KEYS else ())


def gamma_and_beta(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def checkpoint(case, config):
    """The names of the recorded checkpoint kind `case` with values."""
    source = fresh("BertForMultiModalPreTraining", config)
    tensors = to_names({name: value.numpy() + 1.0 for name, value in source.state_dict().items()}, "authors")
    if case.startswith("BertModel"):
        return {name[5:]: value for name, value in tensors.items() if name.startswith("bert.")}
    if case.startswith("text-only"):
        entry = golden("vilbert/names").json("from_pretrained.json")[case]
        kept = {name: value for name, value in tensors.items() if name in entry["copied"]}
        extra = dict.fromkeys(entry["unexpected_keys"], np.zeros([2, 2], "float32"))
        return {gamma_and_beta(name): value for name, value in {**kept, **extra}.items()}
    return tensors


@pytest.mark.parametrize(
    "case",
    [
        "BertForMultiModalPreTraining -> BertModel",
        "BertForMultiModalPreTraining -> VILBertForVLTasks",
        "BertModel (no 'bert.' prefix) -> VILBertForVLTasks",
        "text-only BERT (gamma/beta spelling) -> BertForMultiModalPreTraining",
    ],
)
def test_from_pretrained(case, tmp_path):
    recorded = golden("vilbert/names")
    config, entry = config_of(recorded), recorded.json("from_pretrained.json")[case]
    file = tmp_path / "model.safetensors"
    save_file({name: np.ascontiguousarray(value) for name, value in checkpoint(case, config).items()}, str(file))
    model = fresh(case.split("-> ")[1], config)
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    report = load_initial(model, str(file), may_miss=[r"^heads\."])
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    copied = to_names({name: state[name] for name in report.matched}, "authors")
    # The copied names of the recorded report, less what nothing reads; a tied decoder is the word table itself.
    counted = {name if name.startswith(("bert.", "cls.")) else f"bert.{name}" for name in entry["copied"]}
    unread = re.compile(r"q_dense|cls\.predictions\.decoder\.weight")
    assert {name for name in copied if not unread.search(name)} == {n for n in counted if not unread.search(n)}
    for name in report.matched:
        assert not np.array_equal(state[name], before[name]), name
    for name in report.allowed_missing:
        np.testing.assert_array_equal(state[name], before[name])
    assert len(report.matched) + len(report.allowed_missing) == len(state)
    missing = set(to_names(state, "authors")) - set(copied)
    if case.startswith("BertModel"):  # there the original fills its inner BertModel alone, and reports that one
        missing = {name for name in missing if name.startswith("bert.")}
    assert missing == set(entry["missing_keys"])


def test_missing_heads_are_an_error_unless_permitted(tmp_path):
    config = config_of(golden("vilbert/names"))
    file = tmp_path / "model.safetensors"
    tensors = checkpoint("BertForMultiModalPreTraining", config)
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, str(file))
    with pytest.raises(InputError, match=r"heads\.region\.weight"):
        load_initial(VilbertForTasks(config, ["region"]), str(file))


def old_port(model):
    """The tensors of `model` as the old Paddle port saves them."""
    theirs = to_names({name: value.numpy() for name, value in model.state_dict().items()}, "authors")
    tables = re.compile(r"embeddings\.(word|position|token_type)_embeddings\.weight$")
    saved = {}
    for name, value in theirs.items():
        name = "cls.predictions.decoder.bias" if name == "cls.predictions.bias" else name
        saved[name] = value.T if value.ndim == 2 and not tables.search(name) else value
    return saved


@pytest.mark.parametrize("prefix", ["", "module."])
def test_old_paddle_port(prefix, tmp_path):
    recorded = golden("vilbert/vl_tasks")
    config = config_of(recorded)
    config = type(config)(**{**vars(config), "classifier": "weight_norm"})
    source = VilbertForTasks(config, (*PRETRAINING, "vqa", "match", "region", "word"))
    source.heads["vqa"].expand.scale.set_value(np.array([0.7], "float32"))
    saved = old_port(source)
    bridge = config.bridge_size
    assert saved["vil_prediction.main.0.weight_v"].shape == (bridge, 2 * bridge)
    assert saved["bert.v_embeddings.image_location_embeddings.weight"].shape == (5, config.regions.hidden_size)
    file = tmp_path / "paddle_model_19.pdparams"
    write_pdparams(file, {prefix + name: np.ascontiguousarray(value) for name, value in saved.items()})
    model = VilbertForTasks(config, ("vqa", "region"))
    load_initial(model, str(file))
    source.eval()
    model.eval()
    inputs = inputs_of(recorded.inputs, "even.")
    with paddle.no_grad():
        for head in ("vqa", "region"):
            np.testing.assert_array_equal(model(head, **inputs).numpy(), source(head, **inputs).numpy())


def test_weight_norm_classifier_of_the_authors():
    """PyTorch keeps matrices [out, in] and the norm without axes."""
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((24, 12)).astype("float32")
    found = convert_vilbert_weights(
        {
            "bert.embeddings.word_embeddings.weight": np.zeros([5, 2], "float32"),
            "vil_prediction.main.0.weight_v": direction,
            "vil_prediction.main.0.weight_g": np.float32(3.0).reshape([]),
            "vil_prediction.main.0.bias": np.zeros(24, "float32"),
        }
    )
    assert found.unmapped == []
    np.testing.assert_array_equal(found.tensors["heads.vqa.expand.direction"], direction.T)
    np.testing.assert_array_equal(found.tensors["heads.vqa.expand.scale"], [3.0])


def test_our_own_checkpoint_loads(tmp_path):
    config = config_of(golden("vilbert/names"))
    source, model = VilbertForPretraining(config), VilbertForTasks(config, ["region", "alignment"])
    file = tmp_path / "model.safetensors"
    save_file({name: value.numpy() for name, value in source.state_dict().items()}, str(file))
    report = load_initial(model, str(file), may_miss=[r"^heads\.region\."])
    assert sorted(report.allowed_missing) == ["heads.region.bias", "heads.region.weight"]
    np.testing.assert_array_equal(model.heads["alignment"].weight.numpy(), source.heads["alignment"].weight.numpy())


def test_other_checkpoints_are_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"visual_encoder.cls_token": np.zeros(3, "float32")}, str(file))
    model = VilbertForTasks(config_of(golden("vilbert/names")), ["region"])
    with pytest.raises(InputError, match=r"model\.safetensors: not a ViLBERT or BERT checkpoint.*visual_encoder"):
        load_initial(model, str(file))
    save_file(
        {"bert.embeddings.word_embeddings.weight": np.zeros([2, 2], "float32"), "bert.odd": np.zeros(1, "float32")},
        str(file),
    )
    with pytest.raises(InputError, match=r"no rule for 1 tensors, e\.g\. bert\.odd"):
        load_initial(model, str(file))
    with pytest.raises(InputError, match="no such checkpoint"):
        load_initial(model, str(tmp_path / "nothing"))


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_a_bert_of_paddlenlp_fills_the_text_stream(prefix, tmp_path):
    config = config_of(golden("vilbert/names"))
    source = VilbertForPretraining(config)
    ours = {name: value.numpy() + 1.0 for name, value in source.state_dict().items()}
    rules = [
        *paddlenlp_names.text_embedding_rules(f"{prefix}embeddings", "encoder.text_embeddings"),
        *paddlenlp_names.layer_rules(f"{prefix}encoder.layers.{{}}", "encoder.text.layers.{}"),
        *paddlenlp_names.masked_language_rules("cls.predictions", "heads.masked_words"),
    ]
    theirs = NameMap(rules).to_theirs(ours).tensors
    size = config.text.hidden_size
    theirs |= {
        f"{prefix}pooler.dense.weight": np.ones([size, size], "float32"),
        "cls.seq_relationship.bias": np.ones(2),
    }
    write_pdparams(tmp_path / "model_state.pdparams", theirs)
    report = load_initial(source, str(tmp_path))
    text = re.compile(r"^encoder\.(text_embeddings|text)\.|^heads\.masked_words\.")
    assert set(report.matched) == {name for name in ours if text.search(name)}
    for name in report.matched:
        np.testing.assert_array_equal(source.state_dict()[name].numpy(), ours[name], err_msg=name)
