"""Every recorded network in every file format: the public command converts each, and each gives the same outputs."""

from __future__ import annotations

import pickle
from functools import cache

import numpy as np
import paddle
import pytest

import albef_paddle.network.classification
import albef_paddle.network.pretraining
import albef_paddle.network.question_answering
import albef_paddle.network.retrieval
import albef_paddle.network.text_assignment
import tests.albef_paddle.support as albef
import tests.vilbert_paddle.support as vilbert
import tests.visualbert_paddle.support as visualbert
from pyutils.config import to_yaml
from pyutils.formats.tensor_files import write_safetensors
from pyutils.weights import converting, read
from pyutils.weights.__main__ import main
from tests.pyutils.weights.torch_files import write_legacy, write_zip
from tests.support import GOLDEN, golden
from vilbert_paddle.network.heads import VilbertForPretraining, VilbertForTasks
from visualbert_paddle.network import heads


def write_pdparams(path, arrays):
    path.write_bytes(pickle.dumps(dict(arrays), 4))


FORMATS = {"model.pth": write_zip, "model.th": write_legacy, "m.safetensors": write_safetensors,
           "m.pdparams": write_pdparams}  # fmt: skip
FAMILIES = ("albef", "vilbert", "visualbert")
EVERY = sorted(
    str(file.parent.relative_to(GOLDEN)) for name in FAMILIES for file in (GOLDEN / name).rglob("weights.safetensors")
)
MODELS = {
    "albef/curve": albef_paddle.network.pretraining.AlbefForPretraining,
    "albef/pretrain": albef_paddle.network.pretraining.AlbefForPretraining,
    "albef/retrieval": albef_paddle.network.retrieval.AlbefForRetrieval,
    "albef/grounding": albef_paddle.network.retrieval.AlbefForRetrieval,
    "albef/vqa": albef_paddle.network.question_answering.AlbefForQuestionAnswering,
    "albef/nlvr": albef_paddle.network.classification.AlbefForReasoning,
    "albef/nlvr_pretrain": albef_paddle.network.text_assignment.AlbefForTextAssignment,
    "albef/ve": albef_paddle.network.classification.AlbefForEntailment,
    **{f"vilbert/{case}": VilbertForPretraining for case in ("pretrain_vt0", "pretrain_vt1", "pretrain_vt2",
                                                             "curve/pretrain")},
    **{f"vilbert/{case}": VilbertForTasks for case in (
        "model", "model_activations", "model_dynamic_attention", "model_task_tokens", "vl_tasks", "vl_tasks_2048",
        "vl_tasks_tokens", "curve/refcoco")},
    "visualbert/pretrain": heads.VisualBertForPretraining,
    "visualbert/curve/pretrain": heads.VisualBertForPretraining,
    "visualbert/vqa": heads.VisualBertForQuestionAnswering,
    "visualbert/curve/vqa": heads.VisualBertForQuestionAnswering,
    "visualbert/nlvr2": heads.VisualBertForReasoning,
    "visualbert/vcr": heads.VisualBertForMultipleChoice,
    "visualbert/flickr": heads.VisualBertForPhraseGrounding,
}  # fmt: skip
PARTS = {"albef/vit", "albef/bert_fusion", "albef/bert_lm_decoder", "albef/bert_mlm", "albef/bert_multimodal",
         "albef/bert_text", "visualbert/model", "visualbert/model_bypass"}  # fmt: skip
_HEADS = ("classifier", "matching", "assignment")
SUPPORT = {"albef": albef, "vilbert": vilbert, "visualbert": visualbert}


def test_every_recorded_case_is_here():
    assert {*MODELS, *PARTS} == set(EVERY)


@cache
def weights_of(case: str) -> dict[str, np.ndarray]:
    return golden(case).weights


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("case", EVERY)
def test_every_format_is_read_as_the_same_tensors(tmp_path, case, file):
    FORMATS[file](tmp_path / file, weights_of(case))
    assert_identical(read(tmp_path / file), weights_of(case))


def assert_identical(found, expected) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape and found[name].dtype == value.dtype, name
        assert found[name].tobytes() == value.tobytes(), name


def config_text(case: str, family: str) -> str:
    recorded = golden(case)
    config = SUPPORT[family].config_of(recorded if family == "vilbert" else recorded.config)
    return "model:\n" + "".join(f"  {line}\n" for line in to_yaml(config).splitlines())


def outputs(model, family: str) -> list[np.ndarray]:
    """What a network says about made-up inputs."""
    rng, config = np.random.default_rng(0), model.config
    words = getattr(config, "vocab_size", None) or config.text.vocab_size
    ids = paddle.to_tensor(rng.integers(5, words, (2, 6)))
    if family == "albef":
        size = config.vision.image_size
        images = paddle.to_tensor(rng.standard_normal((2, 3, size, size)).astype("float32"))
        contexts = [model.vision(images)] * model.text.fusion_layers.memory_sharing
        states = model.text(ids, paddle.ones_like(ids), model.text.memories(*contexts))
        head = next((getattr(model, name, None) for name in _HEADS if hasattr(model, name)), None)
        found = [states if head is None else head(states[:, 0])]
        if hasattr(model, "decoder"):
            found.append(model.decoder.logits(model.decoder.states(ids, None, model.decoder.text.memories(states))))
    else:
        regions = {"region_features": rng.standard_normal((2, 4, _dimension(config))).astype("float32")}
        if family == "vilbert":
            regions["region_boxes"] = rng.random((2, 4, 5)).astype("float32")
            if config.task_tokens:
                regions["task_ids"] = np.ones((2, 1), "int64")
        regions = {name: paddle.to_tensor(value) for name, value in regions.items()}
        encoded = model.encoder(input_ids=ids, **regions)
        found = [part for part in encoded if isinstance(part, paddle.Tensor)]
        if family == "vilbert":
            found += [model.heads[name](part) for name, part in (("region", encoded.regions),) if name in model.heads]
    return [tensor.numpy() for tensor in found]


def _dimension(config) -> int:
    return config.region_dim if hasattr(config, "region_dim") else config.visual_dim


@pytest.mark.parametrize("case", MODELS)
def test_the_command_makes_the_same_network_of_every_format(tmp_path, case):
    family = case.partition("/")[0]
    expected, told = converting.to_ours(family, weights_of(case), case), None
    for file, write in FORMATS.items():
        write(tmp_path / file, {"model": weights_of(case)} if write in (write_zip, write_legacy) else weights_of(case))
        folder = tmp_path / file.replace(".", "_")
        assert main(["convert", str(tmp_path / file), str(folder), "--model", family]) == 0
        assert_identical(read(folder / "model.safetensors"), expected)
        (folder / "config.yaml").write_text(config_text(case, family), encoding="utf-8")
        with paddle.no_grad():
            model = MODELS[case].from_pretrained(folder)
            found = outputs(model, family)
        state = {name: value.numpy() for name, value in model.state_dict().items()}
        for name in set(state) & set(expected):
            assert state[name].tobytes() == np.ascontiguousarray(expected[name]).tobytes(), name
        assert not told or [value.tobytes() for value in found] == told
        told = [value.tobytes() for value in found]
