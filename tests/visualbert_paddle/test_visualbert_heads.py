"""Every head against the recorded outputs, losses, gradients and the values after one optimizer step."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from pyutils.layers.heads import take_positions
from pyutils.losses import kl_unnormalised, masked_cross_entropy, vqa_bce
from pyutils.optim import OptimizerConfig, build_optimizer
from tests.support import golden
from tests.visualbert_paddle.support import as_tensors, config_of, load_golden_weights, network_inputs, to_reference
from visualbert_paddle.network import heads

SCORES = {"rtol": 1e-4, "atol": 2e-5}


def loaded(kind, case: str, *args):
    recorded = golden(case)
    model = kind(config_of(recorded.config), *args)
    load_golden_weights(model, recorded.weights)
    model.eval()
    return model, recorded


def check_gradients(model: paddle.nn.Layer, expected: dict[str, np.ndarray]) -> None:
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    theirs, checked = to_reference(gradients), 0
    for name, value in expected.items():
        if name.startswith("grad."):
            np.testing.assert_allclose(theirs[name[5:]], value, rtol=1e-3, atol=2e-6, err_msg=name)
            checked += 1
    assert checked


def pretraining_losses(model, recorded):
    arrays = recorded.inputs
    scores = model(**as_tensors(network_inputs(arrays)))
    text_length = arrays["input_ids"].shape[1]
    words = masked_cross_entropy(
        scores.words[:, :text_length], paddle.to_tensor(arrays["labels_authors"]), ignore_index=-1
    )
    matching = masked_cross_entropy(scores.sentence_image, paddle.to_tensor(arrays["sentence_image_labels"]))
    return scores, words, matching


def test_pretraining_scores_losses_and_gradients():
    model, recorded = loaded(heads.VisualBertForPretraining, "visualbert/pretrain")
    scores, words, matching = pretraining_losses(model, recorded)
    expected = recorded.outputs
    np.testing.assert_allclose(scores.words.numpy(), expected["prediction_logits"], **SCORES)
    np.testing.assert_allclose(scores.sentence_image.numpy(), expected["seq_relationship_logits"], **SCORES)
    assert abs(float(words) - expected["loss_mlm"]) < 1e-5
    assert abs(float(matching) - expected["loss_sentence_image"]) < 1e-5
    assert abs(float(words + matching) - expected["loss"]) < 1e-5
    (words + matching).backward()
    check_gradients(model, expected)
    norm = np.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None))
    np.testing.assert_allclose(norm, expected["grad_global_norm"], rtol=1e-4)


def test_pretraining_scores_of_chosen_positions():
    model, recorded = loaded(heads.VisualBertForPretraining, "visualbert/pretrain")
    labels = recorded.inputs["labels"]  # [batch, t + r]
    flat = np.flatnonzero(labels != -100)
    with paddle.no_grad():
        chosen = model(word_positions=paddle.to_tensor(flat), **as_tensors(network_inputs(recorded.inputs)))
    expected = recorded.outputs["prediction_logits"].reshape([-1, recorded.config["vocab_size"]])[flat]
    np.testing.assert_allclose(chosen.words.numpy(), expected, **SCORES)


def test_pretraining_step_after_adamw():
    model, recorded = loaded(heads.VisualBertForPretraining, "visualbert/pretrain")
    optimizer = build_optimizer(
        OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8, clip="none"),
        dict(model.named_parameters()),
    )
    _, words, matching = pretraining_losses(model, recorded)
    (words + matching).backward()
    gradients = to_reference({n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None})
    optimizer.step()
    after = to_reference({name: p.numpy() for name, p in model.named_parameters()})
    checked = 0
    for name, value in recorded.outputs.items():
        if not name.startswith("after."):
            continue
        gradient = np.abs(gradients[name[6:]])
        clear = (gradient > 1e-6) | (gradient == 0)
        np.testing.assert_allclose(after[name[6:]][clear], value[clear], rtol=0, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(after[name[6:]], value, rtol=0, atol=2e-3, err_msg=name)
        checked += 1
    assert checked == 16


@pytest.mark.parametrize("variant, token_type", [("vt0", 0), ("vt1", 1)])
def test_question_answering(variant, token_type):
    model, recorded = loaded(
        heads.VisualBertForQuestionAnswering, "visualbert/vqa", golden("visualbert/vqa").config["num_labels"]
    )
    arrays, expected = recorded.inputs, recorded.outputs
    inputs = network_inputs(arrays)
    inputs["region_token_type_ids"] = np.full(arrays["visual_attention_mask"].shape, token_type, dtype="int64")
    with paddle.no_grad():
        logits = model(**as_tensors(inputs))
        gathered = take_positions(
            model.encoder(**as_tensors(inputs)).states, paddle.to_tensor(expected["index_to_gather"])
        )[:, 0]
        labels = paddle.to_tensor(arrays["labels"])
        losses = {"loss_kldiv": kl_unnormalised(logits, labels), "loss_bce_sum_answers": vqa_bce(logits, labels)}
    np.testing.assert_allclose(logits.numpy(), expected[f"{variant}.logits"], **SCORES)
    for name, value in losses.items():
        assert abs(float(value) - expected[f"{variant}.{name}"]) < 1e-5, name
    np.testing.assert_array_equal(logits.numpy().argmax(1), expected[f"{variant}.argmax"])
    chosen = logits.numpy()[:, 1:].argmax(1) + 1
    np.testing.assert_array_equal(chosen, expected[f"{variant}.argmax_without_unk"])
    scores = arrays["labels"][np.arange(len(chosen)), chosen]
    np.testing.assert_array_equal(scores, expected[f"{variant}.score_per_sample"])
    np.testing.assert_allclose(scores.mean(), expected[f"{variant}.accuracy"], rtol=1e-6)
    np.testing.assert_allclose(gathered.numpy(), expected[f"{variant}.gathered"], **SCORES)
    logarithms = paddle.nn.functional.log_softmax(logits, axis=-1)
    np.testing.assert_allclose(logarithms.numpy(), expected[f"{variant}.logits_with_labels"], **SCORES)
    mean = float(losses["loss_bce_sum_answers"]) / logits.shape[1]
    assert abs(mean - expected[f"{variant}.loss_bce_mean"]) < 1e-5


def test_zero_labels_give_zero_loss():
    zeros = paddle.zeros([2, 5])
    assert (
        float(kl_unnormalised(paddle.randn([2, 5]), zeros))
        == golden("visualbert/vqa").outputs["loss_kldiv_none_zero_label"]
    )


def test_visual_reasoning():
    model, recorded = loaded(heads.VisualBertForReasoning, "visualbert/nlvr2")
    arrays, expected = recorded.inputs, recorded.outputs
    inputs = as_tensors(network_inputs(arrays))
    logits = model(**inputs)
    loss = masked_cross_entropy(logits, paddle.to_tensor(arrays["labels"]))
    np.testing.assert_allclose(logits.numpy(), expected["logits"], **SCORES)
    assert abs(float(loss) - expected["loss"]) < 1e-5
    np.testing.assert_array_equal(logits.numpy().argmax(1), expected["prediction"])
    loss.backward()
    check_gradients(model, expected)
    inputs["region_token_type_ids"] = paddle.ones_like(inputs["region_token_type_ids"])
    np.testing.assert_allclose(model(**inputs).numpy(), expected["default_types.logits"], **SCORES)


@pytest.mark.parametrize("variant", ["plain", "align"])
def test_multiple_choice(variant):
    model, recorded = loaded(heads.VisualBertForMultipleChoice, "visualbert/vcr")
    inputs = network_inputs(recorded.inputs)
    if variant == "plain":
        del inputs["alignment"]
    with paddle.no_grad():
        logits = model(**as_tensors(inputs))
        loss = masked_cross_entropy(logits, paddle.to_tensor(recorded.inputs["labels"]))
    np.testing.assert_allclose(logits.numpy(), recorded.outputs[f"{variant}.logits"], **SCORES)
    assert abs(float(loss) - recorded.outputs[f"{variant}.loss"]) < 1e-5


def test_phrase_grounding():
    model, recorded = loaded(heads.VisualBertForPhraseGrounding, "visualbert/flickr")
    arrays, expected = recorded.inputs, recorded.outputs
    with paddle.no_grad():
        logits = model(**as_tensors(network_inputs(arrays)))
        loss = kl_unnormalised(logits, paddle.to_tensor(arrays["labels"]))
    seen = np.broadcast_to(arrays["visual_attention_mask"][:, None] > 0, logits.shape)
    np.testing.assert_allclose(logits.numpy()[seen], expected["logits"][seen], **SCORES)
    assert (logits.numpy()[~seen] < -9000).all()
    assert (expected["logits"][~seen] < -1e30).all()
    assert abs(float(loss) - expected["loss"]) < 1e-5
    phrases = arrays["region_to_phrase_position"] != -1
    assert phrases.sum() == expected["entity_num"]
    chosen = np.take_along_axis(arrays["labels"], logits.numpy().argmax(-1)[..., None], -1)[..., 0]
    assert abs((chosen[phrases] > 0).sum() / phrases.sum() - expected["accuracy"]) < 1e-6


HEADS = {
    "pretraining": (heads.VisualBertForPretraining,),
    "vqa": (heads.VisualBertForQuestionAnswering, 3129),
    "nlvr": (heads.VisualBertForReasoning,),
    "multichoice": (heads.VisualBertForMultipleChoice,),
    "flickr": (heads.VisualBertForPhraseGrounding,),
}


@pytest.mark.parametrize("origin", ["huggingface", "authors"])
@pytest.mark.parametrize("head", HEADS)
def test_both_name_sets_give_the_recorded_scores(head, origin):
    from safetensors.numpy import load_file

    recorded = golden(f"visualbert/checkpoint_names/{head}")
    kind, *args = HEADS[head]
    model = kind(config_of(recorded.config), *args)
    file = "hf.safetensors" if origin == "huggingface" else "authors.safetensors"
    load_golden_weights(model, load_file(str(recorded.folder / file)), names=origin)
    model.eval()
    with paddle.no_grad():
        scores = model(**as_tensors(network_inputs(recorded.inputs)))
    if head == "pretraining":
        np.testing.assert_allclose(scores.words.numpy(), recorded.outputs["prediction_logits"], **SCORES)
        np.testing.assert_allclose(scores.sentence_image.numpy(), recorded.outputs["seq_relationship_logits"], **SCORES)
        return
    seen = recorded.outputs["logits"] > -1e30
    np.testing.assert_allclose(scores.numpy()[seen], recorded.outputs["logits"][seen], **SCORES)
