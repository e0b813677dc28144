"""The original's checkpoints under our names and back, and one task's weights as the start of another's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest

from albef_paddle.checkpoints.parts import from_bert, from_vit, load_part
from albef_paddle.checkpoints.weights import (
    convert_albef_weights,
    for_model,
    load_initial,
    load_tensors,
    to_original,
)
from albef_paddle.config import AlbefConfig
from albef_paddle.network.classification import AlbefForEntailment, AlbefForReasoning
from albef_paddle.network.pretraining import AlbefForPretraining
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.network.retrieval import AlbefForRetrieval
from albef_paddle.network.text_assignment import AlbefForTextAssignment
from pyutils.errors import InputError
from pyutils.formats.tensor_files import write_safetensors
from pyutils.weights import bert_names, paddlenlp_names
from pyutils.weights.checkpoint import save_checkpoint
from pyutils.weights.names import NameMap
from tests.albef_paddle.support import config_of
from tests.support import golden

CASES = ("pretrain", "retrieval", "vqa", "nlvr", "ve")


def config(case: str = "ckpt_keys") -> AlbefConfig:
    return config_of(golden(f"albef/{case}").config)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case):
    weights, settings = golden(f"albef/{case}").weights, config(case)
    converted = convert_albef_weights({f"module.{name}": value for name, value in weights.items()}, settings)
    assert converted.unmapped == []
    back = to_original(converted.tensors, settings)
    assert set(back) == set(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_something_else_is_refused():
    with pytest.raises(InputError, match=r"x.pth: not an ALBEF checkpoint: expected visual_encoder.cls_token"):
        convert_albef_weights({"bert.embeddings.LayerNorm.weight": np.zeros(3)}, config(), "x.pth")
    with pytest.raises(InputError, match="decoder.foo"):
        to_original({"decoder.foo": np.zeros(3)}, config())


SCRIPTS = {
    "Retrieval.py": AlbefForRetrieval,
    "Grounding.py": AlbefForRetrieval,
    "VQA.py": AlbefForQuestionAnswering,
    "VE.py": AlbefForEntailment,
    "Pretrain_nlvr.py": AlbefForTextAssignment,
}


def numbered(names) -> dict[str, np.ndarray]:
    """A checkpoint whose tensors are the numbers of their names; tied ones have the number of the first."""
    tensors = {str(name): np.array([number]) for number, name in enumerate(names)}
    for suffix in ("", "_m"):
        head, table = f"text_encoder{suffix}.cls.predictions", f"text_encoder{suffix}.bert.embeddings.word_embeddings"
        if f"{head}.bias" in tensors:
            tensors[f"{head}.decoder.bias"] = tensors[f"{head}.bias"]
            tensors[f"{head}.decoder.weight"] = tensors[f"{table}.weight"]
    return tensors


@pytest.mark.parametrize("script", SCRIPTS)
def test_weights_go_where_the_original_scripts_put_them(script):
    names, recorded = golden("albef/ckpt_keys").inputs, golden("albef/ckpt_keys").outputs
    checkpoint, settings = numbered(names["pretrain_keys"]), config()
    model = SCRIPTS[script](settings)
    state = model.state_dict()
    ours = for_model(convert_albef_weights(checkpoint, settings).tensors, state)
    unused = {"text_proj.weight", "text_proj.bias", "temp"} if script == "Pretrain_nlvr.py" else set()
    skipped = {*recorded[f"{script}/unexpected"], *unused}
    wanted = {
        str(new): checkpoint[str(old)]
        for new, old in zip(recorded[f"{script}/new"], recorded[f"{script}/old"])
        if new not in skipped and not new.endswith("position_ids")
    }
    found = to_original({name: value for name, value in ours.items() if name in state}, settings)
    found = {name: value for name, value in found.items() if not name.endswith("position_ids")}
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name] == value, name
    missing = {name for name in state if name not in ours}
    heads = {
        name.replace("cls_head", "classifier").replace("ta_head", "assignment")
        for name in recorded[f"{script}/missing"]
    }
    heads = {name.replace("idx_queue", "queue.identities") for name in heads}
    assert missing == {f"teacher.{n.replace('_m.', '.')}" if "_m." in n else n for n in heads}


def test_text_assignment_starts_reasoning():
    recorded = golden("albef/ckpt_keys")
    model = AlbefForReasoning(config())
    tensors = convert_albef_weights(numbered(recorded.inputs["nlvr_pretrain_keys"]), config()).tensors
    ours = for_model(tensors, model.state_dict())
    missing = {name for name in model.state_dict() if name not in ours}
    theirs = {str(name) for name in recorded.outputs["NLVR.py/missing"] if not name.endswith("position_ids")}
    found = to_original({name: np.zeros(1) for name in missing}, config())
    assert {name for name in found if not name.endswith("position_ids")} == theirs
    extra = {name for name in ours if name not in model.state_dict()}
    assert {name.split(".")[0] for name in extra} == {
        "assignment", "temperature", "text_projection", "vision_projection",
    }  # fmt: skip


def original_checkpoint(tmp_path, case: str):
    file = tmp_path / f"{case}.safetensors"
    write_safetensors(file, golden(f"albef/{case}").weights)
    return file


def test_a_checkpoint_without_momentum_and_queues(tmp_path):
    settings = config("pretrain")
    plain = {n: v for n, v in golden("albef/pretrain").weights.items() if "_m." not in n and "queue" not in n}
    write_safetensors(tmp_path / "plain.safetensors", plain)
    model = AlbefForRetrieval(settings)
    report = load_initial(model, str(tmp_path / "plain.safetensors"), settings)
    created = {name.split(".")[0] for name in report.allowed_missing}
    assert created == {"teacher", "queue"}
    assert "missing, allowed: queue.images" in str(report)
    for name, tensor in model.state_dict().items():
        if name.startswith("teacher."):
            np.testing.assert_array_equal(tensor.numpy(), model.state_dict()[name[8:]].numpy())


def test_a_checkpoint_of_another_resolution_and_queue_size(tmp_path):
    settings = config("pretrain")
    larger = replace(settings, vision=replace(settings.vision, image_size=48), queue_size=10)
    vision = settings.vision
    had, has = (vision.image_size // vision.patch_size) ** 2 + 1, (48 // vision.patch_size) ** 2 + 1
    assert settings.queue_size != 10
    model = AlbefForPretraining(larger)
    report = load_initial(model, str(original_checkpoint(tmp_path, "pretrain")), larger)
    assert report.reshaped == {
        "vision.positions": ((1, had, vision.width), (1, has, vision.width)),
        "teacher.vision.positions": ((1, had, vision.width), (1, has, vision.width)),
    }
    assert sorted(report.allowed_missing) == ["queue.images", "queue.pointer", "queue.texts"]
    assert model.queue.pointer.item() == 0


def test_reasoning_gets_its_teacher_after_loading(tmp_path):
    settings = config("nlvr")
    weights = golden("albef/nlvr_pretrain").weights
    write_safetensors(tmp_path / "assigned.safetensors", weights)
    model = AlbefForReasoning(settings)
    load_initial(model, str(tmp_path / "assigned.safetensors"), settings)
    np.testing.assert_array_equal(model.vision.class_token.numpy(), weights["visual_encoder.cls_token"])
    for name, tensor in model.state_dict().items():
        if name.startswith("teacher."):
            np.testing.assert_array_equal(tensor.numpy(), model.state_dict()[name[8:]].numpy())


def test_a_checkpoint_of_another_task_is_refused_for_prediction(tmp_path):
    settings = config("ve")
    model = AlbefForQuestionAnswering(settings)
    before = model.vision.class_token.numpy()
    with pytest.raises(InputError, match=r"ve.safetensors[\s\S]*missing: decoder"):
        load_initial(model, str(original_checkpoint(tmp_path, "ve")), settings, may_miss=())
    np.testing.assert_array_equal(model.vision.class_token.numpy(), before)
    headless = {n: v for n, v in golden("albef/ve").weights.items() if not n.startswith("cls_head")}
    write_safetensors(tmp_path / "headless.safetensors", headless)
    with pytest.raises(InputError, match=r"missing: classifier.0.weight"):
        load_initial(AlbefForEntailment(settings), str(tmp_path / "headless.safetensors"), settings, may_miss=())
    report = load_initial(AlbefForEntailment(settings), str(tmp_path / "headless.safetensors"), settings)
    assert len(report.allowed_missing) == 8


def test_our_own_checkpoints_load_across_tasks(tmp_path):
    settings = config("pretrain")
    first = AlbefForPretraining(settings)
    save_checkpoint(tmp_path / "pretrained", first)
    second = AlbefForQuestionAnswering(settings)
    with pytest.raises(InputError, match="missing: decoder.text.fusion_layers.layers.2"):
        load_initial(second, str(tmp_path / "pretrained"), settings)  # 6 decoder layers, 2 fusion layers
    third = AlbefForReasoning(settings)
    load_initial(third, str(tmp_path / "pretrained"), settings)
    for place in (0, 1, 2, 3):
        np.testing.assert_array_equal(
            third.text.fusion_layers.layers[place].feed_forward.expand.weight.numpy(),
            first.text.fusion_layers.layers[place // 2].feed_forward.expand.weight.numpy(),
        )


def bert_checkpoint(settings: AlbefConfig) -> dict[str, np.ndarray]:
    """A BERT with the old names of its LayerNorms."""
    weights = golden("albef/pretrain").weights
    kept = {}
    for name, value in weights.items():
        if name.startswith("text_encoder.") and "crossattention" not in name:
            name = name[len("text_encoder.") :].replace("LayerNorm.weight", "LayerNorm.gamma")
            kept[name.replace("LayerNorm.bias", "LayerNorm.beta")] = value
    return kept


def test_bert_and_vit_start_the_encoders():
    settings = config("pretrain")
    bert, recorded = bert_checkpoint(settings), golden("albef/pretrain").weights
    model = AlbefForQuestionAnswering(settings)
    load_part(model, from_bert(bert, settings), "bert")
    last = settings.text.num_layers - 1
    place = last - settings.text.fusion_layer
    layer = f"bert.encoder.layer.{last}.intermediate.dense.weight"
    np.testing.assert_array_equal(
        model.text.fusion_layers.layers[place].feed_forward.expand.weight.numpy(), bert[layer].T
    )
    np.testing.assert_array_equal(
        model.decoder.text.fusion_layers.layers[last].feed_forward.expand.weight.numpy(), bert[layer].T
    )
    np.testing.assert_array_equal(model.text.embeddings.norm.bias.numpy(), bert["bert.embeddings.LayerNorm.beta"])
    np.testing.assert_array_equal(model.teacher.decoder.words.bias.numpy(), bert["cls.predictions.bias"])
    deit = {n[len("visual_encoder.") :]: v for n, v in recorded.items() if n.startswith("visual_encoder.")}
    load_part(model, from_vit({"model": {**deit, "head.weight": np.zeros([5, settings.vision.width])}}), "deit")
    for part in (model, model.teacher):
        np.testing.assert_array_equal(
            part.vision.blocks[1].attention.qkv.weight.numpy(), deit["blocks.1.attn.qkv.weight"].T
        )


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_a_bert_of_paddlenlp_starts_what_one_of_hugging_face_starts(prefix):
    settings = config("pretrain")
    hub = {name.replace("gamma", "weight").replace("beta", "bias"): v for name, v in bert_checkpoint(settings).items()}
    written = NameMap([
        *paddlenlp_names.text_embedding_rules(f"{prefix}embeddings", "bert.embeddings"),
        *paddlenlp_names.layer_rules(f"{prefix}encoder.layers.{{}}", "bert.layers.{}"),
        *paddlenlp_names.masked_language_rules("cls.predictions", "words"),
    ]).to_theirs(NameMap([
        *bert_names.text_embedding_rules("bert.embeddings", "bert.embeddings"),
        *bert_names.layer_rules("bert.encoder.layer.{}", "bert.layers.{}"),
        *bert_names.masked_language_rules("cls.predictions", "words"),
    ]).to_ours(hub).tensors)  # fmt: skip
    assert written.unmapped == []
    found, expected = from_bert(written.tensors, settings).tensors, from_bert(hub, settings).tensors
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_loading_twice_gives_the_same_predictions(tmp_path):
    settings = config("ve")
    model = AlbefForEntailment(settings)
    tensors = convert_albef_weights(golden("albef/ve").weights, settings).tensors
    load_tensors(model, tensors, "recorded", may_miss=())
    save_checkpoint(tmp_path / "saved", model)
    again = AlbefForEntailment(settings)
    report = load_initial(again, str(tmp_path / "saved"), settings, may_miss=())
    assert not report.allowed_missing
    inputs = [paddle.to_tensor(golden("albef/ve").inputs[n]) for n in ("image", "input_ids", "attention_mask")]
    model.eval()
    again.eval()
    with paddle.no_grad():
        np.testing.assert_array_equal(model(*inputs).numpy(), again(*inputs).numpy())


def test_a_head_of_another_size_is_initialised(tmp_path):
    settings = config("ve")
    first = AlbefForEntailment(settings)
    save_checkpoint(tmp_path / "entailment", first)
    second = AlbefForReasoning(settings)
    fresh = second.classifier[2].weight.numpy()
    report = load_initial(second, str(tmp_path / "entailment"), settings)
    assert "classifier.2.weight" in report.allowed_missing
    np.testing.assert_array_equal(second.classifier[2].weight.numpy(), fresh)
    np.testing.assert_array_equal(second.teacher.classifier[2].weight.numpy(), fresh)
    np.testing.assert_array_equal(second.vision.class_token.numpy(), first.vision.class_token.numpy())
    with pytest.raises(InputError, match=r"other shape: classifier\.2\.weight: file \[3"):
        load_initial(second, str(tmp_path / "entailment"), settings, may_miss=())
