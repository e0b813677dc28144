"""Building our networks from recorded configurations, weights and inputs."""

from __future__ import annotations

import numpy as np
import paddle

from tests.support import Golden, golden
from vilbert_paddle.checkpoints.weights import convert_vilbert_weights, to_names
from vilbert_paddle.config import VilbertConfig, from_original
from vilbert_paddle.network.heads import PRETRAINING, VilbertForPretraining, VilbertForTasks
from vilbert_paddle.network.model import Vilbert

STATES = {"rtol": 1e-4, "atol": 2e-5}
GRADIENTS = {"rtol": 1e-3, "atol": 1e-5}
TASK_HEADS = ("alignment", "vqa", "gqa", "pair", "entailment", "match", "region", "word")

# Names of the recorded arrays → ours.
INPUT_NAMES = {
    "input_ids": "input_ids",
    "token_type_ids": "token_type_ids",
    "attention_mask": "text_mask",
    "image_feat": "region_features",
    "image_loc": "region_boxes",
    "image_attention_mask": "region_mask",
    "task_ids": "task_ids",
    "question": "input_ids",
    "segment_ids": "token_type_ids",
    "input_mask": "text_mask",
    "features": "region_features",
    "spatials": "region_boxes",
    "image_mask": "region_mask",
}


def config_of(case: Golden, **variant) -> VilbertConfig:
    """Our configuration of a recorded case; `variant`: original fields that differ."""
    fields = {name: value for name, value in case.config.items() if name != "variants"}
    return from_original({**fields, **variant}, str(case.folder))


def inputs_of(arrays: dict[str, np.ndarray], prefix: str = "") -> dict[str, paddle.Tensor]:
    """The network's inputs among recorded `arrays`, without their `prefix`, under our names."""
    plain = {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}
    return {INPUT_NAMES[name]: paddle.to_tensor(value) for name, value in plain.items() if name in INPUT_NAMES}


def load(model: paddle.nn.Layer, tensors: dict[str, np.ndarray], strip: str = "") -> None:
    """Give `model` the recorded `tensors`: every parameter gets its value and nothing is left over."""
    converted = convert_vilbert_weights(tensors)
    assert converted.unmapped == []
    state = {name[len(strip) :]: value for name, value in converted.tensors.items() if name.startswith(strip)}
    own = model.state_dict()
    assert set(own) == set(state), sorted(set(own) ^ set(state))
    for name, parameter in own.items():
        assert tuple(parameter.shape) == state[name].shape, name
        parameter.set_value(np.ascontiguousarray(state[name]))


def encoder_of(case: str, **variant) -> tuple[Vilbert, Golden]:
    """The encoder of a case of BertModel in eval mode, with the recorded weights."""
    recorded = golden(case)
    model = Vilbert(config_of(recorded, **variant))
    load(model, recorded.weights, "encoder.")
    model.eval()
    return model, recorded


def pretraining_of(case: str, **variant) -> tuple[VilbertForPretraining, Golden]:
    """The pre-training model of a case in eval mode."""
    recorded = golden(case)
    model = VilbertForPretraining(config_of(recorded, **variant))
    load(model, recorded.weights)
    model.eval()
    return model, recorded


def tasks_of(case: str, **variant) -> tuple[VilbertForTasks, Golden]:
    """The model with all heads of a case in eval mode."""
    recorded = golden(case)
    model = VilbertForTasks(config_of(recorded, **variant), dict.fromkeys((*PRETRAINING, *TASK_HEADS)))
    load(model, recorded.weights)
    model.eval()
    return model, recorded


def originals(model: paddle.nn.Layer, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our tensors (values or gradients) of `model` under the authors' names, linear weights `[out, in]`."""
    return to_names(tensors, "authors")


def gradients_of(model: paddle.nn.Layer) -> dict[str, np.ndarray]:
    """Gradients that exist, under our names."""
    return {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}


def norm(*arrays: np.ndarray) -> float:
    """L2 norm over all entries, in double precision."""
    return float(np.sqrt(sum(np.square(array.astype("float64")).sum() for array in arrays)))
