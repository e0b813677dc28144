"""ALBEF's checkpoints of LAVIS and TorchMultimodal under our names and back."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from albef_paddle.checkpoints.names import TORCHMULTIMODAL_ROOTS
from albef_paddle.checkpoints.weights import convert_albef_weights, load_initial, to_names
from albef_paddle.config import AlbefConfig, TextConfig, VisionConfig
from albef_paddle.network.pretraining import AlbefForPretraining
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.network.retrieval import AlbefForRetrieval
from pyutils.errors import InputError
from pyutils.weights import converting
from tests.pyutils.weights.torch_files import write_zip
from tests.support import golden

CONFIG = AlbefConfig(
    vision=VisionConfig(image_size=32, patch_size=8, width=16, depth=2, num_heads=2),
    text=TextConfig(
        vocab_size=50, hidden_size=16, num_layers=4, fusion_layer=2, num_heads=2, intermediate_size=24, max_positions=32
    ),
    embed_dim=8,
    queue_size=20,
    decoder_layers=2,
)
MODELS = {"retrieval": AlbefForRetrieval, "vqa": AlbefForQuestionAnswering}


def arrays_of(model) -> dict[str, np.ndarray]:
    """The model's tensors, each with values of its own."""
    rng = np.random.default_rng(0)
    found = {}
    for name, value in model.state_dict().items():
        array = value.numpy()
        found[name] = rng.normal(0, 0.1, array.shape).astype(array.dtype) if array.dtype.kind == "f" else array
    return found


def same(found, expected) -> bool:
    return set(found) == set(expected) and all(found[n].tobytes() == expected[n].tobytes() for n in expected)


@pytest.mark.parametrize("kind", MODELS)
def test_torchmultimodal_has_the_recorded_names_and_shapes(kind):
    recorded = golden("weights/torchmultimodal").json("names.json")[kind]
    written = to_names(arrays_of(MODELS[kind](CONFIG)), "torchmultimodal")
    assert {name: list(value.shape) for name, value in written.items()} == recorded


@pytest.mark.parametrize("kind", MODELS)
def test_torchmultimodal_there_and_back_gives_identical_bytes(kind):
    ours = arrays_of(MODELS[kind](CONFIG))
    theirs = to_names(ours, "torchmultimodal")
    back = convert_albef_weights({f"module.{name}": value for name, value in theirs.items()})
    assert back.unmapped == [] and same(back.tensors, ours)
    assert same(to_names(back.tensors, "torchmultimodal"), theirs)


def test_torchmultimodal_with_and_without_dropout_layers_and_of_old_torchvision():
    ours = arrays_of(AlbefForRetrieval(CONFIG))
    theirs = to_names(ours, "torchmultimodal")
    root, other = TORCHMULTIMODAL_ROOTS["retrieval"], {}
    for name, value in theirs.items():
        if "multimodal_encoder" in name:
            name = name.replace("feedforward.model.2.", "feedforward.model.3.")
        elif name.startswith(f"{root}text_encoder"):
            name = name.replace("feedforward.model.3.", "feedforward.model.2.")
        other[name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")] = value
    assert set(other) != set(theirs)
    converted = convert_albef_weights(other)
    assert converted.unmapped == [] and same(converted.tensors, ours)


def test_an_answer_decoder_with_an_output_matrix_of_its_own_is_refused():
    theirs = to_names(arrays_of(AlbefForQuestionAnswering(CONFIG)), "torchmultimodal")
    name = "answer_decoder_m.prediction_head.decoder.weight"
    with pytest.raises(InputError, match=r"x\.pt: answer_decoder_m\.prediction_head.* differs from the word embed"):
        convert_albef_weights({**theirs, name: theirs[name] + 1}, origin="x.pt")


def test_torchmultimodal_has_no_pre_training():
    with pytest.raises(InputError, match=r"TorchMultimodal.* e\.g\. words\.bias"):
        to_names(arrays_of(AlbefForPretraining(CONFIG)), "torchmultimodal")
    with pytest.raises(InputError, match='did you mean "torchmultimodal"'):
        to_names({}, "torchmultimodel")


def lavis_checkpoint(case: str) -> dict[str, np.ndarray]:
    """A recorded checkpoint as LAVIS saves it: no token types, and no momentum parts, which do not learn."""
    weights = golden(f"albef/{case}").weights
    return {name: value for name, value in weights.items() if "token_type" not in name and "_m." not in name}


@pytest.mark.parametrize("case", ["pretrain", "retrieval", "vqa", "nlvr", "ve"])
def test_lavis_there_and_back_gives_identical_bytes(case):
    theirs = lavis_checkpoint(case)
    converted = convert_albef_weights(theirs)
    assert converted.unmapped == []
    types = [value for name, value in converted.tensors.items() if name.endswith("token_types.weight")]
    assert len(types) == (2 if case == "vqa" else 1) and not any(value.any() for value in types)
    assert same(to_names(converted.tensors, "lavis"), theirs)


def test_for_lavis_the_token_type_is_part_of_the_positions(tmp_path):
    config = CONFIG
    model, again = AlbefForRetrieval(config), AlbefForRetrieval(config)
    file = write_zip(tmp_path / "checkpoint_best.pth", {"model": to_names(arrays_of(model), "lavis"), "epoch": 4})
    for name, value in arrays_of(model).items():
        model.state_dict()[name].set_value(value)
    load_initial(again, str(file), config, may_miss=())
    assert not again.text.embeddings.token_types.weight.numpy().any()
    ids = paddle.to_tensor(np.arange(12).reshape(2, 6))
    model.eval()
    again.eval()
    with paddle.no_grad():
        found, expected = (one.text.encode(ids, None).numpy() for one in (again, model))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("case", ["pretrain", "retrieval", "vqa", "nlvr", "ve", "nlvr_pretrain"])
def test_layouts_of_all_tasks_are_inferred_from_the_tensors(case):
    weights = golden(f"albef/{case}").weights
    ours = converting.to_ours("albef", weights, case)
    back = converting.to_theirs("albef", ours, "authors")
    assert same(back, weights)
