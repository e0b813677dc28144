"""The two-stream encoder against the recorded outputs of the original."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.layers.attention import recorded_attention
from tests.support import golden
from tests.vilbert_paddle.support import GRADIENTS, STATES, encoder_of, gradients_of, inputs_of, norm
from vilbert_paddle.checkpoints.weights import NAME_MAPS
from vilbert_paddle.config import RegionStreamConfig, StreamConfig, VilbertConfig
from vilbert_paddle.network.model import Vilbert

BATCH = ("input_ids", "token_type_ids", "text_mask", "region_features", "region_boxes", "region_mask", "task_ids")


def check(model, expected, prefix, **inputs):
    with paddle.no_grad():
        encoded = model(**inputs)
        pooled = model.text_pooler(encoded.text), model.region_pooler(encoded.regions)
    found = {
        "sequence_output_t": encoded.text,
        "sequence_output_v": encoded.regions,
        "pooled_output_t": pooled[0],
        "pooled_output_v": pooled[1],
    }
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[f"{prefix}.{name}"], **STATES, err_msg=f"{prefix}.{name}")


def batch_of(recorded) -> dict[str, paddle.Tensor]:
    return {name: value for name, value in inputs_of(recorded.inputs).items() if name in BATCH}


@pytest.mark.parametrize(
    "case", ["model", "model_task_tokens", "model_dynamic_attention", "model_activations", "model:roberta"]
)
def test_encoder_matches_recorded_states(case):
    case, _, variant = case.partition(":")
    model, recorded = encoder_of(f"vilbert/{case}", **({"model": variant} if variant else {}))
    check(model, recorded.outputs, variant or "default", **batch_of(recorded))


def test_co_attention_mask_has_no_effect():
    _, recorded = encoder_of("vilbert/model")
    expected = recorded.outputs
    for name in ("sequence_output_t", "sequence_output_v"):
        np.testing.assert_array_equal(expected[f"co_mask.{name}"], expected[f"default.{name}"])


def test_without_masks_and_token_types():
    model, recorded = encoder_of("vilbert/model")
    names = ("input_ids", "region_features", "region_boxes")
    check(model, recorded.outputs, "no_masks", **{name: batch_of(recorded)[name] for name in names})


def test_without_coattention():
    model, recorded = encoder_of("vilbert/model", with_coattention=False)
    check(model, recorded.outputs, "no_coattention", **batch_of(recorded))


@pytest.mark.parametrize("case", ["model", "model_dynamic_attention"])
def test_one_text_with_many_images(case):
    model, recorded = encoder_of(f"vilbert/{case}")
    text = inputs_of(recorded.inputs, "fast_mode.")
    check(model, recorded.outputs, "fast_mode", pairing="grouped", **{**batch_of(recorded), **text})


def test_every_pair():
    model, recorded = encoder_of("vilbert/model")
    check(model, recorded.outputs, "in_batch_pairs", pairing="every_pair", **batch_of(recorded))


def test_task_tokens_enter_behind_cls():
    model, recorded = encoder_of("vilbert/model_task_tokens")
    inputs, expected = batch_of(recorded), recorded.outputs
    with paddle.no_grad():
        embedded = model.text_embeddings(inputs["input_ids"], inputs["token_type_ids"], inputs["task_ids"])
    np.testing.assert_allclose(embedded.numpy(), expected["default.embedding_output"], **STATES)
    inputs["task_ids"] = paddle.to_tensor(recorded.inputs["other.task_ids"])
    check(model, expected, "other", **inputs)
    del inputs["task_ids"]
    with pytest.raises(ValueError, match="needs task_ids"):
        model(**inputs)


def test_task_ids_without_task_tokens():
    model, recorded = encoder_of("vilbert/model")
    with pytest.raises(ValueError, match="no task tokens"):
        model(task_ids=paddle.zeros([3, 1], "int64"), **batch_of(recorded))


def test_texts_and_images_that_cannot_be_paired():
    model, recorded = encoder_of("vilbert/model")
    inputs = batch_of(recorded)
    count = len(inputs["input_ids"])
    two = {name: value[: count - 1] if name.startswith("region") else value for name, value in inputs.items()}
    with pytest.raises(ValueError, match=f"{count} texts and {count - 1} images cannot be paired as 'rows'"):
        model(**two)
    with pytest.raises(ValueError, match=f"{count} texts and {count - 1} images cannot be paired as 'grouped'"):
        model(pairing="grouped", **two)
    inputs.update(inputs_of(recorded.inputs, "fast_mode."))
    with pytest.raises(ValueError, match=f"1 texts and {count} images"):
        model(**inputs)


def test_every_attention_map_matches_the_recorded_ones():
    model, recorded = encoder_of("vilbert/model")
    expected = recorded.outputs
    with paddle.no_grad(), recorded_attention(model) as maps:
        model(**batch_of(recorded))
    plain = ("attn", "queries", "keys")
    letters = {"text": "t", "regions": "v", "connections": "c"}
    # The original misspells one name.
    co_attention = {"text": ("attn1", "queries1", "keys1"), "regions": ("attn2", "querues2", "keys2")}
    found = {}
    for name, (one,) in maps.items():
        first, second, third, *_ = name.split(".")
        crossed = first == "connections"
        layer = f"attention.{letters[first]}{second if crossed else third}"
        parts = co_attention[third] if crossed else plain
        found.update({f"{layer}.{part}": value for part, value in zip(parts, one)})
    assert set(found) == {name for name in expected if name.startswith("attention.")}
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[name], **STATES, err_msg=name)
    assert all(part.recorded is None for part in model.sublayers() if hasattr(part, "recorded"))


def test_every_co_attention_layer_matches_the_recorded_states():
    model, recorded = encoder_of("vilbert/model")
    expected, layers = recorded.outputs, []
    for layer in model.connections:
        layer.register_forward_post_hook(lambda _, __, streams: layers.append(streams))
    with paddle.no_grad():
        model(**batch_of(recorded))
        pooled = model.text_pooler(layers[-1][0].states), model.region_pooler(layers[-1][1].states)
    assert len(layers) == sum(name.startswith("all_layers.t") for name in expected)
    for number, (words, boxes) in enumerate(layers):
        np.testing.assert_allclose(words.states.numpy(), expected[f"all_layers.t{number}"], **STATES)
        np.testing.assert_allclose(boxes.states.numpy(), expected[f"all_layers.v{number}"], **STATES)
    for value, name in zip(pooled, ("pooled_output_t", "pooled_output_v")):
        np.testing.assert_allclose(value.numpy(), expected[f"all_layers.{name}"], **STATES)


@pytest.mark.parametrize("kind", ["free", "fixed"])
def test_fixed_layers_get_no_gradient(kind):
    fixed = golden("vilbert/model").config["variants"]["fixed"] if kind == "fixed" else {}
    model, recorded = encoder_of("vilbert/model", **fixed)
    arrays, expected = recorded.inputs, recorded.outputs
    encoded = model(**batch_of(recorded))
    outputs = {
        "sequence_output_t": encoded.text,
        "sequence_output_v": encoded.regions,
        "pooled_output_t": model.text_pooler(encoded.text),
        "pooled_output_v": model.region_pooler(encoded.regions),
    }
    parts = [(value * paddle.to_tensor(arrays[f"fixed.proj_{name}"])).sum() for name, value in outputs.items()]
    loss = sum(parts)
    np.testing.assert_allclose(float(loss), expected[f"fixed.loss_{kind}"], rtol=1e-4, atol=2e-5)
    loss.backward()
    named = {f"encoder.{name}": value for name, value in gradients_of(model).items()}
    theirs = {name[5:]: value for name, value in NAME_MAPS["authors"].to_theirs(named).tensors.items()}
    checked = [name for name in expected if name.startswith(f"fixed.grad_{kind}.")]
    assert checked
    for name in checked:
        np.testing.assert_allclose(theirs[name.split(".", 2)[2]], expected[name], **GRADIENTS, err_msg=name)
    norms = recorded.json("fixed_grad_norms.json")[kind]
    assert {name for name, value in norms.items() if value is not None} == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(norm(value), norms[name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", ["model", "model_task_tokens", "model_dynamic_attention"])
@pytest.mark.parametrize("text, regions", [("first", "first"), ("none", "all"), ("all", "none"), ("first", "none")])
def test_reading_less_gives_the_same_states(case, text, regions):
    model, recorded = encoder_of(f"vilbert/{case}")
    inputs = batch_of(recorded)
    with paddle.no_grad():
        full, part = model(**inputs), model(text=text, regions=regions, **inputs)
    for wanted, whole, found in ((text, full.text, part.text), (regions, full.regions, part.regions)):
        if wanted == "none":
            assert found is None
            continue
        whole = whole[:, :1] if wanted == "first" else whole
        np.testing.assert_allclose(found.numpy(), whole.numpy(), rtol=1e-5, atol=1e-6)


def test_kept_beginnings_give_the_same_states():
    model, recorded = encoder_of("vilbert/model")
    inputs = batch_of(recorded)
    with paddle.no_grad():
        full = model(**inputs)
        words = model.begin_text(inputs["input_ids"], inputs["text_mask"], inputs["token_type_ids"])
        boxes = model.begin_regions(inputs["region_features"], inputs["region_boxes"], inputs["region_mask"])
        kept = model.co_attend(words, boxes)
    np.testing.assert_array_equal(kept.text.numpy(), full.text.numpy())
    np.testing.assert_array_equal(kept.regions.numpy(), full.regions.numpy())


def test_recomputation_gives_the_same_gradients():
    gradients = []
    for again in (False, True):
        model, recorded = encoder_of("vilbert/model")
        model.train()
        model.text.recompute_layers = model.regions.recompute_layers = again
        encoded = model(**batch_of(recorded))
        (encoded.text.square().sum() + encoded.regions.square().sum()).backward()
        gradients.append(gradients_of(model))
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_every_dropout_has_the_rate_of_its_stream():
    """As in the original: region embeddings take the text's rate, weights over a stream's tokens that stream's."""
    text = StreamConfig(num_layers=1, connect_at=(0,), hidden_dropout=0.1, attention_dropout=0.2)
    regions = RegionStreamConfig(num_layers=1, connect_at=(0,), hidden_dropout=0.3, attention_dropout=0.4)
    with paddle.LazyGuard():
        model = Vilbert(VilbertConfig(vocab_size=10, text=text, regions=regions))
    assert model.text_embeddings.dropout.rate == model.region_embeddings.dropout.rate == 0.1
    for stream, hidden, attention in ((model.text, 0.1, 0.2), (model.regions, 0.3, 0.4)):
        layer = stream.layers[0]
        assert layer.attention.attend.dropout == attention
        assert layer.attention.output.dropout.rate == layer.feed_forward.output.dropout.rate == hidden
    for half, hidden, attention in ((model.connections[0].text, 0.1, 0.4), (model.connections[0].regions, 0.3, 0.2)):
        assert half.attention.attend.dropout == attention
        assert half.attention.output.dropout.rate == half.feed_forward.output.dropout.rate == hidden
