"""The text encoder in its modes, the masked-language head and the answer decoder against recorded values."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from albef_paddle.checkpoints.names import text_rules
from albef_paddle.network.text_encoder import (
    TextDecoder,
    TextEncoder,
    labelled_positions,
    language_head,
    next_words,
    take_flat,
    text_encoder,
)
from pyutils.layers.attention import attention_bias
from pyutils.layers.heads import Pooler
from pyutils.losses import distilled_cross_entropy, masked_cross_entropy
from pyutils.weights.bert_names import masked_language_rules
from pyutils.weights.names import NameMap, NameRule
from tests.albef_paddle.support import STATES, fill, tensors, text_of
from tests.support import golden


def recorded_layers(case: str, layer: paddle.nn.Layer, rules) -> paddle.nn.Layer:
    dropped = (r"position_ids$", r"predictions\.decoder\.")
    converted = NameMap(rules, dropped).to_ours(golden(case).weights)
    assert converted.unmapped == []
    fill(layer, converted.tensors)
    layer.eval()
    return layer


def recorded_encoder(case: str) -> TextEncoder:
    config, width = text_of(golden(case).config["bert"]), golden(case).config["bert"]["encoder_width"]
    text, fusion = config.fusion_layer, config.num_layers - config.fusion_layer
    rules = [NameRule(r.theirs[2:], r.ours[2:], r.kind) for r in text_rules("x", "x", text, fusion)]
    if case.endswith("multimodal"):
        weights = golden(case).weights
        pooled = [NameRule("pooler.dense", "pooler.dense")]
        model = paddle.nn.Layer()
        model.text, model.pooler = text_encoder(config, width), Pooler(config.hidden_size)
        rules = [NameRule(r.theirs, f"text.{r.ours}", r.kind) for r in rules] + pooled
        assert "pooler.dense.weight" in weights
        return recorded_layers(case, model, rules)
    return recorded_layers(case, text_encoder(config, width), rules)


def test_text_mode():
    recorded, model = golden("albef/bert_text"), recorded_encoder("albef/bert_text")
    ids, mask = tensors(recorded.inputs, "input_ids", "attention_mask")
    expected = recorded.outputs
    with paddle.no_grad():
        np.testing.assert_allclose(model.encode(ids, mask).numpy(), expected["last_hidden_state"], **STATES)
        np.testing.assert_allclose(model.encode(ids, None).numpy(), expected["no_mask_last_hidden_state"], **STATES)
        trail, maps = model.text_layers.trace(model.embeddings(ids), attention_bias(mask))
    for number, states in enumerate(trail):
        np.testing.assert_allclose(states.numpy(), expected[f"hidden_{number}"], **STATES)
    for number, layer in enumerate(maps):
        np.testing.assert_allclose(layer.self_attention.weights.numpy(), expected[f"attention_{number}"], **STATES)


def test_fusion_mode():
    recorded, model = golden("albef/bert_fusion"), recorded_encoder("albef/bert_fusion")
    arrays, expected = recorded.inputs, recorded.outputs
    states, mask = tensors(arrays, "encoder_embeds", "attention_mask")
    first, first_mask = tensors(arrays, "encoder_hidden_states", "encoder_attention_mask")
    second, second_mask = tensors(arrays, "encoder_hidden_states_1", "encoder_attention_mask_1")
    with paddle.no_grad():
        masked = model.memories(first, masks=[first_mask])
        fused = model.fuse(states, mask, masked).numpy()
        unmasked = model.fuse(states, mask, model.memories(first)).numpy()
        two = model.fuse(states, mask, model.memories(first, second, masks=[first_mask, second_mask])).numpy()
        trail, _ = model.fusion_layers.trace(states, attention_bias(mask), masked)
    np.testing.assert_allclose(fused, expected["last_hidden_state"], **STATES)
    np.testing.assert_allclose(unmasked, expected["no_mask_last_hidden_state"], **STATES)
    np.testing.assert_allclose(two, expected["two_images_last_hidden_state"], **STATES)
    for number, value in enumerate(trail):
        np.testing.assert_allclose(value.numpy(), expected[f"hidden_{number}"], **STATES)


def test_multimodal_mode():
    recorded, model = golden("albef/bert_multimodal"), recorded_encoder("albef/bert_multimodal")
    arrays, expected = recorded.inputs, recorded.outputs
    ids, mask, types, places = tensors(arrays, "input_ids", "attention_mask", "token_type_ids", "position_ids")
    image, image_mask = tensors(arrays, "encoder_hidden_states", "encoder_attention_mask")
    with paddle.no_grad():
        memories = model.text.memories(image, masks=[image_mask])
        states = model.text(ids, mask, memories)
        typed = model.text(ids, mask, memories, token_type_ids=types, position_ids=places)
        causal = model.text(ids, mask, memories, causal=True)
        pooled = model.pooler(states)
        trail, _ = model.text.text_layers.trace(model.text.embeddings(ids), attention_bias(mask))
        fused, _ = model.text.fusion_layers.trace(trail[-1], attention_bias(mask), memories)
    for number, value in enumerate([*trail, *fused[1:]]):
        np.testing.assert_allclose(value.numpy(), expected[f"hidden_{number}"], **STATES)
    np.testing.assert_allclose(states.numpy(), expected["last_hidden_state"], **STATES)
    np.testing.assert_allclose(pooled.numpy(), expected["pooler_output"], **STATES)
    np.testing.assert_allclose(typed.numpy(), expected["typed_last_hidden_state"], **STATES)
    np.testing.assert_allclose(causal.numpy(), expected["causal_last_hidden_state"], **STATES)


def test_masked_words_and_their_distillation():
    recorded = golden("albef/bert_mlm")
    config, width = text_of(recorded.config["bert"]), recorded.config["bert"]["encoder_width"]
    model = paddle.nn.Layer()
    model.text, model.words = text_encoder(config, width), language_head(config)
    text, fusion = config.fusion_layer, config.num_layers - config.fusion_layer
    rules = [*text_rules("bert", "text", text, fusion), *masked_language_rules("cls.predictions", "words")]
    recorded_layers("albef/bert_mlm", model, rules)
    model.train()
    arrays, expected = recorded.inputs, recorded.outputs
    ids, mask, labels = tensors(arrays, "input_ids", "attention_mask", "labels")
    image, image_mask = tensors(arrays, "encoder_hidden_states", "encoder_attention_mask")
    memories = model.text.memories(image, masks=[image_mask])
    states = model.text(ids, mask, memories)
    logits = model.words(states, model.text.word_table)
    np.testing.assert_allclose(logits.numpy(), expected["logits"], **STATES)
    fused = model.text.fuse(model.text.encode(ids, mask), mask, memories)
    losses = {
        "loss": masked_cross_entropy(logits, labels),
        "loss_fusion": masked_cross_entropy(model.words(fused, model.text.word_table), labels),
    }
    positions, targets = labelled_positions(labels)
    chosen = model.words(take_flat(states, positions), model.text.word_table)
    teacher = paddle.log(take_flat(paddle.to_tensor(arrays["soft_labels"]), positions))
    losses["loss_distill"] = distilled_cross_entropy(chosen, targets, teacher, recorded.config["alpha"])
    for name, value in losses.items():
        np.testing.assert_allclose(float(value), expected[name], rtol=2e-5, err_msg=name)
    losses["loss_distill"].backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    theirs = NameMap(rules).to_theirs(gradients).tensors
    for name, value in expected.items():
        if name.startswith("grad."):
            allowed = 2e-4 * np.abs(value).max() + 1e-6
            assert np.abs(theirs[name[5:]] - value).max() <= allowed, name


@pytest.fixture
def decoder() -> TextDecoder:
    bert = golden("albef/bert_lm_decoder").config["bert"]
    config = text_of(bert)
    model = TextDecoder(config, bert["encoder_width"], config.num_layers)
    rules = [
        *text_rules("bert", "text", 0, config.num_layers),
        *masked_language_rules("cls.predictions", "words"),
    ]
    return recorded_layers("albef/bert_lm_decoder", model, rules)


def test_answer_decoder(decoder):
    recorded = golden("albef/bert_lm_decoder")
    arrays, expected = recorded.inputs, recorded.outputs
    ids, mask, labels, soft = tensors(arrays, "input_ids", "attention_mask", "labels", "soft_labels")
    context, context_mask = tensors(arrays, "encoder_hidden_states", "encoder_attention_mask")
    with paddle.no_grad():
        memories = decoder.text.memories(context, masks=[context_mask])
        states = decoder.states(ids, mask, memories)
        logits = decoder.logits(states)
        unmasked = decoder.logits(decoder.states(ids, None, memories))
        start = decoder.logits(decoder.states(ids[:, :1], None, memories))
        losses = decoder.answer_losses(states, labels)
        positions, _ = labelled_positions(next_words(labels))
        padded = paddle.concat([soft, paddle.ones([len(soft), 1, soft.shape[2]])], axis=1)
        teacher = paddle.log(take_flat(padded, positions))
        distilled = decoder.answer_losses(states, labels, teacher, recorded.config["alpha"])
    np.testing.assert_allclose(logits.numpy(), expected["logits"], **STATES)
    np.testing.assert_allclose(logits.numpy()[:, :-1], expected["return_logits"], **STATES)
    np.testing.assert_allclose(unmasked.numpy(), expected["logits_no_mask"], **STATES)
    np.testing.assert_allclose(unmasked.numpy(), expected["logits_incremental"], **STATES)
    np.testing.assert_allclose(start.numpy(), expected["start_logits"], **STATES)
    np.testing.assert_allclose(losses.numpy(), expected["loss_none"], rtol=2e-5)
    np.testing.assert_allclose(distilled.numpy(), expected["loss_distill"], rtol=2e-5)


def test_a_shared_memory_equals_a_repeated_one(decoder):
    arrays = golden("albef/bert_lm_decoder").inputs
    ids, mask = tensors(arrays, "input_ids", "attention_mask")
    context, context_mask = tensors(arrays, "encoder_hidden_states", "encoder_attention_mask")
    with paddle.no_grad():
        few = decoder.text.memories(context[:2], masks=[context_mask[:2]])
        rows = paddle.to_tensor([0, 0, 1, 1])
        ids, mask = (paddle.concat([value, value])[:4] for value in (ids, mask))
        shared = decoder.states(ids, mask, few)
        repeated = decoder.states(ids, mask, [memory.gather(rows) for memory in few])
        with pytest.raises(ValueError):
            decoder.states(ids[:3], mask[:3], few)
    np.testing.assert_allclose(shared.numpy(), repeated.numpy(), rtol=1e-5, atol=1e-6)


def test_recomputing_layers_changes_nothing(decoder):
    arrays = golden("albef/bert_lm_decoder").inputs
    ids, mask, labels = tensors(arrays, "input_ids", "attention_mask", "labels")
    decoder.train()
    found = []
    for decoder.text.fusion_layers.recompute_layers in (False, True):
        context = paddle.to_tensor(arrays["encoder_hidden_states"])
        context.stop_gradient = False
        losses = decoder.answer_losses(decoder.states(ids, mask, decoder.text.memories(context)), labels)
        losses.sum().backward()
        found.append([context.grad.numpy(), *(p.grad.numpy() for p in decoder.parameters() if p.grad is not None)])
        decoder.clear_gradients()
    for plain, recomputed in zip(*found):
        np.testing.assert_allclose(recomputed, plain, rtol=1e-4, atol=1e-5)
