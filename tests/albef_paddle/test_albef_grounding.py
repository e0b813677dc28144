"""Grad-CAM maps and the choice among detections, equal to the recorded ones of the original."""

from __future__ import annotations

import numpy as np
import pytest

from albef_paddle.config import AlbefConfig, TextConfig, VisionConfig
from albef_paddle.network.boxes import choose_box, pixel_iou
from albef_paddle.network.grad_cam import check_block, default_block, text_maps, word_maps
from pyutils.engine.evaluation import evaluating
from pyutils.errors import InputError
from pyutils.metrics.grounding import accuracy_at
from tests.albef_paddle.support import retrieval_model, tensors
from tests.support import golden

RECORDED = golden("albef/grounding")


@pytest.fixture(scope="module")
def model():
    return retrieval_model(RECORDED)


@pytest.mark.parametrize("mode", ["itm", "itc"])
def test_maps_equal_the_recorded_ones(model, mode):
    inputs = tensors(RECORDED.inputs, "image", "input_ids", "attention_mask")
    with evaluating(model):
        found = text_maps(model, mode, RECORDED.config["block_num"], *inputs).numpy()
    for ours, theirs in zip(found, RECORDED.outputs[f"gradcam_{mode}"]):
        assert np.abs(ours - theirs).max() <= 1e-3 * theirs.max()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_words_only_leaves_cls_and_padding_out(model):
    images, ids, mask = tensors(RECORDED.inputs, "image", "input_ids", "attention_mask")
    block = RECORDED.config["block_num"]
    with evaluating(model):
        maps = word_maps(model, block, images, ids, mask)[0].numpy()
        found = text_maps(model, "itm", block, images, ids, mask, words_only=True).numpy()
    for ours, every, seen in zip(found, maps, mask.numpy().astype(bool)):
        np.testing.assert_allclose(ours, every[1:][seen[1:]].mean(axis=0), rtol=1e-5, atol=1e-9)


def test_chosen_boxes_and_accuracies_equal_the_recorded_ones():
    given, expected = RECORDED.json("inputs.json"), RECORDED.json("outputs.json")
    scores, maps = RECORDED.outputs["eval_scores"], RECORDED.inputs["eval_pred"]
    images = {image["id"]: image for image in given["instances"]["images"]}
    truth = {entry["id"]: entry["bbox"] for entry in given["instances"]["annotations"]}
    overlaps: dict[str, list[float]] = {}
    for number, (ref, result) in enumerate(zip(given["refs"], expected["per_ref"])):
        image = images[ref["image_id"]]
        boxes = np.array(
            [entry[0] if isinstance(entry[0], list) else entry[:4] for entry in given["dets"][str(image["id"])]]
        )
        chosen = choose_box(maps[number], image["width"], image["height"], boxes)
        np.testing.assert_allclose(chosen.scores, scores[number][: len(boxes)], rtol=1e-4)
        np.testing.assert_allclose(chosen.box, result["pred_box"])
        iou = pixel_iou(chosen.box, np.array(truth[ref["ann_id"]]))
        assert iou == pytest.approx(result["iou"], abs=1e-6)
        overlaps.setdefault(ref["split"], []).append(iou)
    for split, values in overlaps.items():
        assert accuracy_at(np.array(values), inclusive=True) == expected["grounding_eval"][f"{split}_d"]


def test_overlaps_equal_the_recorded_ones():
    pairs = RECORDED.json("inputs.json")["iou_pairs"]
    found = [pixel_iou(np.array(first, float), np.array(second, float)) for first, second in pairs]
    np.testing.assert_allclose(found, RECORDED.json("outputs.json")["iou"], atol=1e-9)


def test_without_heat_the_first_detection_is_chosen():
    boxes = np.array([[5.0, 5.0, 4.0, 4.0], [0.0, 0.0, 9.0, 9.0], [3.0, 3.0, 0.0, 2.0]])
    np.testing.assert_array_equal(choose_box(np.zeros((4, 4), np.float32), 12, 12, boxes).box, boxes[0])


@pytest.mark.parametrize(("mode", "block"), [("itm", 0), ("itm", "layers"), ("itc", "depth"), ("itc", -1)])
def test_a_missing_block_is_named(model, mode, block):
    block = {"layers": model.config.text.num_layers, "depth": model.config.vision.depth}.get(block, block)
    with pytest.raises(InputError, match=f"block_num: .*mode {mode}.*found {block}"):
        check_block(model.config, mode, block)


@pytest.mark.parametrize(
    ("mode", "layers", "expected"),
    [("itm", (6, 12), 8), ("itm", (1, 3), 1), ("itm", (4, 8), 6), ("itm", (2, 3), 2), ("itc", (1, 3), 2)],
)
def test_the_default_block_has_maps_of_words(mode, layers, expected):
    config = AlbefConfig(VisionConfig(depth=3), TextConfig(fusion_layer=layers[0], num_layers=layers[1]))
    assert default_block(config, mode) == expected


def test_words_only_needs_a_block_with_maps_of_words(model):
    last = model.config.text.num_layers - 1
    with pytest.raises(InputError, match=f"block_num: .*words_only.*found {last}"):
        check_block(model.config, "itm", last, words_only=True)
    check_block(model.config, "itm", last - 1, words_only=True)
    check_block(model.config, "itc", model.config.vision.depth - 1, words_only=True)
