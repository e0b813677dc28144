"""The network against the recorded outputs of the original implementations."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from tests.support import golden
from tests.visualbert_paddle.support import as_tensors, config_of, load_golden_weights, network_inputs
from visualbert_paddle.network.model import VisualBert

STATES = {"rtol": 1e-4, "atol": 2e-5}


def encoder_of(case: str) -> VisualBert:
    recorded = golden(case)
    model = VisualBert(config_of(recorded.config))
    load_golden_weights(model, {f"visual_bert.{name}": value for name, value in recorded.weights.items()}, "encoder.")
    model.eval()
    return model


CALLS = {
    "full": ("input_ids", "attention_mask", "token_type_ids", "visual_embeds", "visual_attention_mask",
             "visual_token_type_ids"),
    "default": ("input_ids", "visual_embeds"),
    "vtype0": ("input_ids", "attention_mask", "token_type_ids", "visual_embeds", "visual_attention_mask"),
    "text_only": ("input_ids", "attention_mask", "token_type_ids"),
}  # fmt: skip


def call_inputs(call: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    given = {name: arrays[name] for name in CALLS.get(call, CALLS["full"])}
    if call == "align":
        given["image_text_alignment"] = arrays["image_text_alignment"]
    elif call == "align_long":
        given["image_text_alignment"] = arrays["image_text_alignment_long"]
    elif call == "posids":
        given["position_ids"] = arrays["position_ids"]
    elif call == "default":  # Hugging Face's default type of regions is 1
        given["visual_token_type_ids"] = np.ones(arrays["visual_embeds"].shape[:2], dtype="int64")
    return network_inputs(given)


@pytest.mark.parametrize("call", ["full", "align", "align_long", "default", "vtype0", "text_only", "posids"])
def test_encoder_matches_recorded_states(call):
    recorded = golden("visualbert/model")
    model, expected = encoder_of("visualbert/model"), recorded.outputs
    with paddle.no_grad():
        states = model(**as_tensors(call_inputs(call, recorded.inputs))).states
        pooled = model.pooler(states)
    np.testing.assert_allclose(states.numpy(), expected[f"{call}.last_hidden_state"], **STATES)
    np.testing.assert_allclose(pooled.numpy(), expected[f"{call}.pooler_output"], **STATES)


@pytest.mark.parametrize("call", ["full", "align"])
def test_trace_matches_recorded_layers_and_attention(call):
    recorded = golden("visualbert/model")
    model, expected = encoder_of("visualbert/model"), recorded.outputs
    with paddle.no_grad():
        trail, maps = model.encoder.trace(*model.embed(**as_tensors(call_inputs(call, recorded.inputs))))
    for layer, states in enumerate(trail):
        np.testing.assert_allclose(states.numpy(), expected[f"{call}.hidden_states.{layer}"], **STATES)
    for layer, layer_maps in enumerate(maps):
        weights = layer_maps.self_attention.weights.numpy()
        np.testing.assert_allclose(weights, expected[f"{call}.attentions.{layer}"], rtol=0, atol=1e-5)


def test_reading_one_position_equals_the_full_pass():
    recorded = golden("visualbert/model")
    model = encoder_of("visualbert/model")
    inputs = as_tensors(call_inputs("full", recorded.inputs))
    with paddle.no_grad():
        full = model(**inputs).states.numpy()
        positions = np.array([3, 0, 7, 5])[: len(full)]
        chosen = model(read_at=paddle.to_tensor(positions), **inputs).states.numpy()
        first = model(read_at=0, **inputs).states.numpy()
    np.testing.assert_allclose(chosen[:, 0], full[np.arange(len(full)), positions], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first, full[:, :1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("call", ["full", "align", "text_only"])
def test_bypassed_encoder_matches_the_authors(call):
    recorded = golden("visualbert/model_bypass")
    model, expected = encoder_of("visualbert/model_bypass"), recorded.outputs
    inputs = as_tensors(call_inputs(call, recorded.inputs))
    with paddle.no_grad():
        embedded, bias = model.embed(**inputs)
        length = inputs["input_ids"].shape[1]
        states = model(**inputs).states
        pooled = model.pooler(states)
        words = model.encoder(embedded[:, :length], bias[..., :length])
    np.testing.assert_allclose(states.numpy(), expected[f"{call}.last_hidden_state"], **STATES)
    np.testing.assert_allclose(pooled.numpy(), expected[f"{call}.pooler_output"], **STATES)
    if call != "text_only":
        np.testing.assert_allclose(embedded.numpy(), expected[f"{call}.embedding_output"], **STATES)
        np.testing.assert_allclose(words.numpy(), expected[f"{call}.text_encoder_output"], **STATES)
