"""Building our networks from recorded configurations, weights and inputs."""

from __future__ import annotations

import numpy as np
import paddle

from visualbert_paddle.checkpoints.weights import NAME_MAPS
from visualbert_paddle.config import VisualBertConfig

# Names of the recorded arrays (Hugging Face's) → ours.
INPUT_NAMES = {
    "input_ids": "input_ids",
    "attention_mask": "text_mask",
    "token_type_ids": "token_type_ids",
    "visual_embeds": "region_features",
    "visual_attention_mask": "region_mask",
    "visual_token_type_ids": "region_token_type_ids",
    "image_text_alignment": "alignment",
    "position_ids": "position_ids",
    "region_to_phrase_position": "phrase_positions",
}


def config_of(recorded: dict) -> VisualBertConfig:
    """Our configuration for a recorded one."""
    return VisualBertConfig(
        vocab_size=recorded["vocab_size"],
        hidden_size=recorded["hidden_size"],
        num_layers=recorded["num_hidden_layers"],
        num_heads=recorded["num_attention_heads"],
        intermediate_size=recorded["intermediate_size"],
        hidden_act=recorded["hidden_act"],
        hidden_dropout=recorded["hidden_dropout_prob"],
        attention_dropout=recorded["attention_probs_dropout_prob"],
        max_positions=recorded["max_position_embeddings"],
        token_types=recorded["type_vocab_size"],
        visual_dim=recorded["visual_embedding_dim"],
        layer_norm_eps=recorded["layer_norm_eps"],
        bypass_encoder=recorded["bypass_transformer"],
    )


def network_inputs(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Recorded arrays under our names; what is no network input is left out."""
    return {INPUT_NAMES[name]: value for name, value in arrays.items() if name in INPUT_NAMES}


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, paddle.Tensor]:
    """NumPy arrays as Paddle tensors."""
    return {name: paddle.to_tensor(value) for name, value in arrays.items()}


def load_golden_weights(
    model: paddle.nn.Layer, tensors: dict[str, np.ndarray], strip: str = "", names: str = "huggingface"
) -> None:
    """Give `model` the recorded `tensors`; every parameter must get its value, and nothing may be left over."""
    converted = NAME_MAPS[names].to_ours(tensors)
    assert converted.unmapped == []
    state = {name[len(strip) :] if strip else name: value for name, value in converted.tensors.items()}
    own = model.state_dict()
    missing, extra = set(own) - set(state), set(state) - set(own)
    assert not missing, f"not in the recorded weights: {sorted(missing)}"
    assert extra <= {n for n in extra if n.split(".")[0] in ("words", "sentence_image")}, f"left over: {sorted(extra)}"
    for name, parameter in own.items():
        parameter.set_value(np.ascontiguousarray(state[name]))


def to_reference(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our tensors (values or gradients) under Hugging Face's names, linear weights `[out, in]`."""
    converted = NAME_MAPS["huggingface"].to_theirs(tensors)
    assert converted.unmapped == []
    return converted.tensors


DIMENSION = 32


def world_yaml(world, output_dir) -> str:
    """A tiny VisualBERT on the VQA part of a drawn world, as YAML."""
    files = (
        "annotations/v2_OpenEnded_mscoco_{0}_questions.json, annotations: annotations/v2_mscoco_{0}_annotations.json"
    )
    return f"""
task: visualbert_vqa
output_dir: {output_dir}
tokenizer: {world}/vocab.txt
max_text: 32
model: {{vocab_size: 0, hidden_size: 16, num_layers: 2, num_heads: 2, intermediate_size: 24, max_positions: 64,
        visual_dim: {DIMENSION}}}
regions: {{path: {world}/X_COCO/data/detectron_fix_100}}
vqa:
  root: {world}/VQA2
  splits:
    train: [{{questions: {files.format("train2014")}}}]
    val: [{{questions: {files.format("val2014")}}}]
    test: [{{questions: annotations/v2_OpenEnded_mscoco_test2015_questions.json}}]
    imdb: [{{questions: annotations/imdb_minival2014.npy}}]
train:
  batch_size: 16
  epochs: 1
  workers: 0
  log_every: 5
  scalars: false
  optimizer: {{lr: 1e-3}}
"""


def tiny_yaml(world, output_dir, regions: str, section: str, dimension: int = DIMENSION) -> str:
    """A tiny VisualBERT on another part of a drawn world: `regions` is below the world, `section` the task's YAML."""
    return f"""
output_dir: {output_dir}
tokenizer: {world}/vocab.txt
max_text: 48
model: {{vocab_size: 0, hidden_size: 16, num_layers: 2, num_heads: 2, intermediate_size: 24, max_positions: 64,
        visual_dim: {dimension}}}
regions: {{path: {world}/{regions}}}
{section}
train:
  batch_size: 8
  epochs: 1
  workers: 0
  log_every: 1
  scalars: false
  optimizer: {{lr: 1e-3}}
"""
