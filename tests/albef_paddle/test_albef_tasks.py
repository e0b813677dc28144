"""The fine-tuning objectives against recorded losses, gradients, states and predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest

from albef_paddle.network.classification import AlbefForEntailment, AlbefForReasoning
from albef_paddle.network.itc import encode_pairs, teacher_features, unit_features
from albef_paddle.network.question_answering import AlbefForQuestionAnswering
from albef_paddle.network.retrieval import AlbefForRetrieval
from albef_paddle.network.text_assignment import (
    AlbefForTextAssignment,
    Assignment,
    draw_assignment,
    other_image_weights,
)
from pyutils.layers.attention import attention_bias
from pyutils.layers.contrast import Negatives
from tests.albef_paddle.support import (
    STATES,
    check_gradients,
    check_momentum,
    config_of,
    fill_from_original,
    itc_arrays,
    original_gradients,
    retrieval_model,
    tensors,
)
from tests.support import golden


def recorded_model(case: str, kind, distill: bool = True):
    """The recorded case, and the model with its weights in training mode."""
    recorded = golden(case)
    config = replace(config_of(recorded.config), distill=distill)
    weights = recorded.weights
    if kind is AlbefForTextAssignment:  # tensors that this objective stores and never uses
        weights = {n: v for n, v in weights.items() if n != "temp" and not n.startswith("text_proj.")}
    model = kind(config)
    fill_from_original(model, recorded, config, weights)
    model.train()
    return recorded, model


def retrieval_losses(recorded, model, drawn: str = ""):
    arrays = recorded.inputs
    images, ids, mask, identities = tensors(arrays, "image", "input_ids", "attention_mask", "idx")
    negatives = Negatives(*tensors(arrays, f"neg_image_idx{drawn}", f"neg_text_idx{drawn}"))
    return model(images, ids, mask, identities, recorded.config["alpha"], negatives)


def test_retrieval_losses_gradients_queue_and_teacher():
    recorded, model = recorded_model("albef/retrieval", AlbefForRetrieval)
    expected = recorded.outputs
    model.teacher.update(model)
    losses = retrieval_losses(recorded, model)
    np.testing.assert_allclose(float(losses.itc), expected["loss_ita"], rtol=2e-5)
    np.testing.assert_allclose(float(losses.itm), expected["loss_itm"], rtol=2e-5)
    sum(losses).backward()
    check_gradients(model, model.config, expected)
    check_momentum(model, model.config, expected)
    np.testing.assert_allclose(model.queue.images.numpy(), expected["image_queue_after"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.queue.texts.numpy(), expected["text_queue_after"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(model.queue.identities.numpy(), expected["idx_queue_after"])
    np.testing.assert_array_equal(model.queue.pointer.numpy(), expected["queue_ptr_after"])


def test_retrieval_without_distillation():
    recorded, model = recorded_model("albef/retrieval", AlbefForRetrieval, distill=False)
    model.teacher.update(model)
    losses = retrieval_losses(recorded, model, "_nodistill")
    np.testing.assert_allclose(float(losses.itc), recorded.outputs["loss_ita_nodistill"], rtol=2e-5)
    np.testing.assert_allclose(float(losses.itm), recorded.outputs["loss_itm_nodistill"], rtol=2e-5)


def test_intermediate_values_of_retrieval():
    recorded, model = recorded_model("albef/retrieval", AlbefForRetrieval)
    arrays, expected = recorded.inputs, recorded.outputs
    images, ids, mask, identities = tensors(arrays, "image", "input_ids", "attention_mask", "idx")
    model.teacher.update(model)
    with paddle.no_grad():
        own, teacher = encode_pairs(model, images, ids, mask), encode_pairs(model.teacher, images, ids, mask)
        itc = model.itc(own, teacher_features(teacher, identities), recorded.config["alpha"])
        negatives = Negatives(*tensors(arrays, "neg_image_idx", "neg_text_idx"))
        itm = model.itm(own, mask, model.text.memories(own.image_states), itc, negatives)
        found = itc_arrays(own, teacher, itc, itm)
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[name], **STATES, err_msg=name)


def test_retrieval_scores():
    recorded, model = recorded_model("albef/retrieval", AlbefForRetrieval)
    model.eval()
    arrays, expected = recorded.inputs, recorded.outputs
    images, ids, mask = tensors(arrays, "eval_image", "eval_input_ids", "eval_attention_mask")
    with paddle.no_grad():
        tokens, states = model.vision(images), model.text.encode(ids, mask)
        image_features = unit_features(model.vision_projection, tokens)
        text_features = unit_features(model.text_projection, states)
        similar = paddle.matmul(image_features, text_features, transpose_y=True)
        scores = [
            model.itm_logits(states, mask, model.text.memories(tokens[row : row + 1]))[:, 1].numpy()
            for row in range(len(tokens))
        ]
    np.testing.assert_allclose(similar.numpy(), expected["eval_sims"], rtol=0, atol=5e-5)
    for matrix, found in (
        (expected["score_matrix_i2t"], np.stack(scores)),
        (expected["score_matrix_t2i"].T, np.stack(scores)),
    ):
        scored = matrix > -99
        assert scored.sum() in [size * recorded.config["k_test"] for size in matrix.shape]
        np.testing.assert_allclose(found[scored], matrix[scored], rtol=0, atol=5e-5)


def test_a_batch_of_one_image_has_no_negatives_to_learn_from():
    recorded, model = recorded_model("albef/retrieval", AlbefForRetrieval)
    images, ids, mask = tensors(recorded.inputs, "image", "input_ids", "attention_mask")
    losses = model(images, ids, mask, paddle.full([len(ids)], 7, dtype="int64"), 0.4)
    assert np.isfinite(float(losses.itm))
    sum(losses).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters() if p.grad is not None)


def answer_inputs(arrays, k) -> list[paddle.Tensor]:
    rows = paddle.to_tensor(np.repeat(np.arange(len(k)), k))
    return [*tensors(arrays, "answer_input_ids", "answer_attention_mask"), rows]


def test_question_answering():
    recorded, model = recorded_model("albef/vqa", AlbefForQuestionAnswering)
    arrays, expected, alpha = recorded.inputs, recorded.outputs, recorded.config["alpha"]
    question = tensors(arrays, "image", "question_input_ids", "question_attention_mask")
    answers = answer_inputs(arrays, recorded.config["k"])
    model.teacher.update(model)
    with paddle.no_grad():
        states = model.question_states(model, *question)
        logits = {}
        for name, parts in (("answer_logits", model), ("logits_m", model.teacher)):
            memories = [m.gather(answers[2]) for m in model.question_memories(parts, *question)]
            logits[name] = parts.decoder.logits(parts.decoder.states(answers[0], answers[1], memories)).numpy()
        losses = model.answer_losses(*question, *answers, alpha=alpha)
    np.testing.assert_allclose(states.numpy(), expected["question_states"], **STATES)
    np.testing.assert_allclose(logits["answer_logits"], expected["answer_logits"], **STATES)
    np.testing.assert_allclose(logits["logits_m"][:, :-1], expected["logits_m"], **STATES)
    np.testing.assert_allclose(losses.numpy(), expected["answer_loss"], rtol=2e-5)
    loss = model(*question, *answers, *tensors(arrays, "weights"), alpha=alpha)
    np.testing.assert_allclose(float(loss), expected["loss"], rtol=2e-5)
    loss.backward()
    check_gradients(model, model.config, expected)
    check_momentum(model, model.config, expected)


def test_question_answering_without_distillation():
    recorded, model = recorded_model("albef/vqa", AlbefForQuestionAnswering, distill=False)
    arrays = recorded.inputs
    question = tensors(arrays, "image", "question_input_ids", "question_attention_mask")
    loss = model(*question, *answer_inputs(arrays, recorded.config["k"]), *tensors(arrays, "weights"), alpha=0.4)
    np.testing.assert_allclose(float(loss), recorded.outputs["loss_nodistill"], rtol=2e-5)


def test_ranked_answers():
    recorded, model = recorded_model("albef/vqa", AlbefForQuestionAnswering)
    model.eval()
    arrays, expected = recorded.inputs, recorded.outputs
    question = tensors(arrays, "image", "question_input_ids", "question_attention_mask")
    candidates = tensors(arrays, "candidate_input_ids", "candidate_attention_mask")
    k, count = recorded.config["k_test"], len(arrays["image"])
    with paddle.no_grad():
        memories = model.question_memories(model, *question)
        start = model.first_word_logits(memories, candidates[0][0, 0], count)
        first, chosen = model.likely_answers(memories, candidates[0], count, k)
        scores = model.answer_scores(memories, first, chosen, *candidates)
        ranked = model.rank(*question, *candidates, k=k)
    np.testing.assert_allclose(start.numpy(), expected["start_logits"], **STATES)
    likely = np.take_along_axis(expected["prob_first_token"], chosen.numpy(), axis=1)
    np.testing.assert_allclose(first.numpy(), likely, **STATES)
    # Candidates of equal first words come in any order: compare in the order of the list.
    by_id, their_order = np.argsort(chosen.numpy(), axis=1), np.argsort(expected["topk_ids"], axis=1)
    ours = np.take_along_axis(scores.numpy(), by_id, axis=1)
    theirs = np.take_along_axis(np.sort(expected["log_probs_sum"], axis=1)[:, ::-1], their_order, axis=1)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=3e-5)
    np.testing.assert_array_equal(ranked.answers.numpy(), expected["topk_ids"])
    np.testing.assert_allclose(ranked.probabilities.numpy(), expected["topk_probs"], **STATES)


def test_k_larger_than_the_answer_list_ranks_all():
    recorded, model = recorded_model("albef/vqa", AlbefForQuestionAnswering)
    model.eval()
    arrays = recorded.inputs
    question = tensors(arrays, "image", "question_input_ids", "question_attention_mask")
    ranked = model.rank(*question, *tensors(arrays, "candidate_input_ids", "candidate_attention_mask"), k=128)
    assert np.sort(ranked.answers.numpy(), axis=1).tolist() == [list(range(len(arrays["candidate_input_ids"])))] * len(
        arrays["image"]
    )
    np.testing.assert_allclose(ranked.probabilities.numpy().sum(1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("case, kind", [("nlvr", AlbefForReasoning), ("ve", AlbefForEntailment)])
def test_classification(case, kind):
    recorded, model = recorded_model(f"albef/{case}", kind)
    arrays, expected, alpha = recorded.inputs, recorded.outputs, recorded.config["alpha"]
    images, ids, mask, labels = tensors(arrays, "image", "input_ids", "attention_mask", "targets")
    if kind is AlbefForReasoning:
        images = paddle.stack([images[: len(ids)], images[len(ids) :]], axis=1)
    model.teacher.update(model)
    loss = model.loss(images, ids, mask, labels, alpha)
    np.testing.assert_allclose(float(loss), expected["loss"], rtol=2e-5)
    loss.backward()
    check_gradients(model, model.config, expected)
    check_momentum(model, model.config, expected)
    with paddle.no_grad():
        np.testing.assert_allclose(model(images, ids, mask).numpy(), expected["train_prediction"], **STATES)
        teacher = model.classify(model.teacher, images, ids, mask)
        np.testing.assert_allclose(teacher.numpy(), expected["prediction_m"], **STATES)
        model.eval()
        np.testing.assert_allclose(model(images, ids, mask).numpy(), expected["prediction"], **STATES)
    model.config = replace(model.config, distill=False)
    np.testing.assert_allclose(
        float(model.loss(images, ids, mask, labels, alpha)), expected["loss_nodistill"], rtol=2e-5
    )


def test_text_assignment():
    recorded, model = recorded_model("albef/nlvr_pretrain", AlbefForTextAssignment)
    arrays, expected = recorded.inputs, recorded.outputs
    images, ids, mask = tensors(arrays, "image", "input_ids", "attention_mask")
    assigned = Assignment(*tensors(arrays, "first_image_idx", "second_image_idx", "labels"))
    with paddle.no_grad():
        tokens = model.vision(images)
        weights = other_image_weights(unit_features(model.vision_projection, tokens))
        logits = model.logits(tokens, ids, mask, assigned)
    np.testing.assert_allclose(weights.numpy(), expected["weights"], **STATES)
    np.testing.assert_allclose(logits.numpy(), expected["pred"], **STATES)
    loss = model(images, ids, mask, assigned)
    np.testing.assert_allclose(float(loss), expected["loss"], rtol=2e-5)
    loss.backward()
    check_gradients(model, model.config, expected)
    resting = {name for name in recorded.json("params_without_grad.json") if name.startswith("vision_proj.")}
    assert len(resting) == 2
    assert not resting & set(original_gradients(model, model.config))


def test_assignments_follow_their_rule():
    paddle.seed(3)
    weights = other_image_weights(paddle.nn.functional.normalize(paddle.randn([6, 4]), axis=1))
    labels, rows = [], np.arange(6)
    for _ in range(200):
        first, second, label = (item.numpy() for item in draw_assignment(weights))
        assert (first != second).all()
        assert (first[label == 0] == rows[label == 0]).all()
        assert (second[label == 1] == rows[label == 1]).all()
        assert ((first != rows) & (second != rows))[label == 2].all()
        labels.append(label)
    np.testing.assert_allclose(np.bincount(np.concatenate(labels)) / 1200, 1 / 3, atol=0.05)


def grounding_model():
    recorded = golden("albef/grounding")
    return recorded, retrieval_model(recorded), tensors(recorded.inputs, "image", "input_ids", "attention_mask")


def heat_map(attention: paddle.Tensor, score: paddle.Tensor) -> np.ndarray:
    """Attention on the patches where more of it raises the score: `[batch, heads, queries, patches]` float32."""
    attention.retain_grads()
    score.backward()
    return (attention.numpy() * np.maximum(attention.grad.numpy(), 0))[..., 1:]


def check_heat_map(found: np.ndarray, expected: np.ndarray) -> None:
    for ours, theirs in zip(found.reshape(expected.shape), expected):
        assert np.abs(ours - theirs).max() <= 1e-3 * theirs.max()


def test_cross_attention_maps_carry_grad_cam():
    recorded, model, (images, ids, mask) = grounding_model()
    expected, layer = recorded.outputs, recorded.config["block_num"] - model.config.text.fusion_layer
    states, memories = model.text.encode(ids, mask), model.text.memories(model.vision(images))
    trail, maps = model.text.fusion_layers.trace(states, attention_bias(mask), memories)
    logits = model.matching(trail[-1][:, 0])
    np.testing.assert_allclose(logits.numpy(), expected["vl_output"], **STATES)
    weights = maps[layer].cross_attention.weights
    np.testing.assert_allclose(weights.numpy().mean(1), expected["attention_mean_itm"], **STATES)
    check_heat_map(heat_map(weights, logits[:, 1].sum()).mean((1, 2)), expected["gradcam_itm"])


def test_image_attention_maps_carry_grad_cam():
    recorded, model, (images, ids, mask) = grounding_model()
    expected = recorded.outputs
    trail, maps = model.vision.trace(images)
    image_features = unit_features(model.vision_projection, trail[-1])
    text_features = unit_features(model.text_projection, model.text.encode(ids, mask))
    similar = paddle.matmul(image_features, text_features, transpose_y=True) / model.temperature
    np.testing.assert_allclose(similar.numpy(), expected["sim_itc"], **STATES)
    weights = maps[recorded.config["block_num"]].weights
    np.testing.assert_allclose(weights.numpy()[:, :, 0].mean(1), expected["attention_mean_itc"], **STATES)
    score = paddle.diagonal(similar).sum()
    np.testing.assert_allclose(float(score), expected["loss_itc"], rtol=2e-5)
    check_heat_map(heat_map(weights, score)[:, :, 0].mean(1), expected["gradcam_itc"])
