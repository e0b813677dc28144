"""The detector against recorded results of the original PyTorch code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest
from PIL import Image

from pyutils.data.images import as_rgb
from pyutils.regions.boxes import cell_anchors, clip_boxes, decode_boxes, encode_boxes, grid_anchors, nms
from pyutils.regions.detector import BottomUpDetector, DetectorConfig, HeadOutput, select_detections
from pyutils.regions.names import convert_detector_weights
from pyutils.regions.preprocess import preprocess
from pyutils.regions.resnet import ResNetC4
from pyutils.weights.loading import load_arrays
from tests.support import golden

ROOT = golden("detector")
MAPS = {"atol": 2e-4, "rtol": 1e-3}
FULL = DetectorConfig()


def build(config):
    """A network with the recorded weights, loaded strictly."""
    model = BottomUpDetector(config)
    converted = convert_detector_weights(ROOT.weights)
    assert not converted.unmapped
    load_arrays(model, converted.tensors, "golden")
    model.eval()
    return model


@pytest.fixture(scope="module")
def config():
    return DetectorConfig.from_original(ROOT.config)


@pytest.fixture(scope="module")
def model(config):
    return build(config)


def images_of(case):
    return {path.stem: np.asarray(as_rgb(Image.open(path))) for path in sorted((case.folder / "images").glob("*.png"))}


def cases(prefix, arrays):
    return sorted({key[len(prefix) :].split(".")[0] for key in arrays if key.startswith(prefix)})


@pytest.mark.parametrize("order, kind", [("rgb", "file"), ("bgr", "url")])
def test_preprocess(config, order, kind):
    case = golden("detector/preprocess")
    pixels, outputs = images_of(case), case.outputs
    wanted = cases(f"{kind}.", outputs)
    assert wanted
    for name in wanted:
        found = preprocess([pixels[name]], replace(config, channel_order=order))
        np.testing.assert_array_equal(found.sizes, outputs[f"{kind}.{name}.sizes"])
        np.testing.assert_allclose(found.images.numpy(), outputs[f"{kind}.{name}.images"], atol=2e-2)
        np.testing.assert_allclose(found.scales, outputs[f"{kind}.{name}.scales_yx"], rtol=1e-6)


def test_preprocess_a_batch_and_floats(config):
    case = golden("detector/preprocess")
    pixels, outputs = images_of(case), case.outputs
    found = preprocess([pixels["landscape"], pixels["portrait"]], replace(config, channel_order="rgb"))
    np.testing.assert_allclose(found.images.numpy(), outputs["batch.images"], atol=2e-2)
    np.testing.assert_array_equal(found.sizes, outputs["batch.sizes"])
    np.testing.assert_allclose(found.scales, outputs["batch.scales_yx"], rtol=1e-6)
    found = preprocess([case.inputs["tensor.landscape"]], replace(config, channel_order="rgb"))
    np.testing.assert_allclose(found.images.numpy(), outputs["tensor.landscape.images"], atol=2e-2)


@pytest.mark.parametrize("change", [{}, {"caffe_pool": False}, {"stride_in_1x1": False}])
def test_a_folded_network_gives_the_same_maps_and_features(config, change):
    case, model = golden("detector/backbone"), build(replace(config, **change))
    images = paddle.to_tensor(case.inputs["images"])
    maps, boxes = model.backbone(images), [paddle.to_tensor([[5.0, 6, 70, 80], [1, 1, 30, 20]])] * 2
    features = model.region_features(maps, boxes)
    model.fold_norms()
    np.testing.assert_allclose(model.backbone(images).numpy(), maps.numpy(), **MAPS)
    np.testing.assert_allclose(model.region_features(maps, boxes).numpy(), features.numpy(), **MAPS)


def test_backbone(config):
    case, model = golden("detector/backbone"), build(config)
    images, outputs = paddle.to_tensor(case.inputs["images"]), case.outputs
    found = {"stem": model.backbone.pooled_stem(images)}
    for before, stage in zip(("stem", "res2", "res3"), ("res2", "res3", "res4")):
        found[stage] = getattr(model.backbone, stage)(found[before])
    for name, maps in found.items():
        np.testing.assert_allclose(maps.numpy(), outputs[name], **MAPS, err_msg=name)
    np.testing.assert_array_equal(model.backbone(images).numpy(), found["res4"].numpy())


@pytest.mark.parametrize(
    "name, change", [("maxpool_pad1", {"caffe_pool": False}), ("stride_3x3", {"stride_in_1x1": False})]
)
def test_backbone_variants(config, name, change):
    case, model = golden("detector/backbone"), build(replace(config, **change))
    images, outputs = paddle.to_tensor(case.inputs["images"]), case.outputs
    if f"{name}.stem" in outputs:
        np.testing.assert_allclose(model.backbone.pooled_stem(images).numpy(), outputs[f"{name}.stem"], **MAPS)
    np.testing.assert_allclose(model.backbone(images).numpy(), outputs[f"{name}.res4"], **MAPS)


@pytest.mark.parametrize("name", ["small", "full"])
def test_anchors(model, name):
    case = golden("detector/anchors")
    full = paddle.to_tensor(cell_anchors(FULL.anchor_sizes, FULL.anchor_ratios))
    cell = model.rpn.cell_anchors if name == "small" else full
    rows, columns = case.inputs[f"{name}.grid"].tolist()
    np.testing.assert_allclose(cell.numpy(), case.outputs[f"{name}.cell_anchors"], atol=1e-4)
    np.testing.assert_allclose(
        grid_anchors(cell, rows, columns, 16).numpy(), case.outputs[f"{name}.anchors"], atol=1e-4
    )
    if name == "full":
        found = grid_anchors(cell, rows, columns, 16, 0.5)
        np.testing.assert_allclose(found.numpy(), case.outputs["offset.anchors"], atol=1e-4)


@pytest.mark.parametrize("kind", ["rpn", "head"])
def test_box_deltas(config, kind):
    case = golden("detector/box_transform")
    boxes, deltas, targets = (paddle.to_tensor(case.inputs[name]) for name in ("boxes", "deltas", "targets"))
    weights = config.rpn_box_weights if kind == "rpn" else config.box_weights
    close = {"atol": 1e-3, "rtol": 1e-5}
    first, every = decode_boxes(boxes, deltas[:, :4], weights), decode_boxes(boxes, deltas, weights)
    np.testing.assert_allclose(first.numpy(), case.outputs[f"{kind}.decoded"], **close)
    np.testing.assert_allclose(every.numpy(), case.outputs[f"{kind}.decoded_all"], **close)
    np.testing.assert_allclose(encode_boxes(boxes, targets, weights).numpy(), case.outputs[f"{kind}.encoded"], **close)
    if kind == "rpn":
        clipped = clip_boxes(first, *map(float, case.inputs["size"])).numpy()
        np.testing.assert_allclose(clipped, case.outputs["clipped"], **close)
        nonempty = (clipped[:, 2:] > clipped[:, :2]).all(1)
        np.testing.assert_array_equal(nonempty, case.outputs["nonempty"])


@pytest.mark.parametrize("call", ["batch", "single", "min_size"])
def test_proposals(config, call):
    case = golden("detector/rpn")
    which = "single" if call == "min_size" else call
    size = float(case.inputs["min_size"]) if call == "min_size" else 0.0
    rpn = build(replace(config, min_proposal_size=size)).rpn
    maps, outputs = paddle.to_tensor(case.inputs[f"{which}.res4"]), case.outputs
    if call != "min_size":
        objectness, deltas = rpn(maps)
        logits, boxes = rpn.decoded(maps)
        np.testing.assert_allclose(objectness.numpy(), outputs[f"{call}.objectness"], **MAPS)
        np.testing.assert_allclose(deltas.numpy(), outputs[f"{call}.deltas"], **MAPS)
        np.testing.assert_allclose(logits.numpy(), outputs[f"{call}.flat_logits"], **MAPS)
        np.testing.assert_allclose(boxes.numpy(), outputs[f"{call}.decoded"], atol=1e-3, rtol=1e-5)
        anchors = grid_anchors(rpn.cell_anchors, *maps.shape[2:], 16)
        np.testing.assert_allclose(anchors.numpy(), outputs[f"{call}.anchors"], atol=1e-4)
        for image in range(len(maps)):
            before = paddle.to_tensor(outputs[f"{call}.pre_nms_boxes.{image}"])
            kept = nms(before, outputs[f"{call}.pre_nms_logits.{image}"], config.rpn_nms_threshold)
            np.testing.assert_array_equal(kept, outputs[f"{call}.nms_keep.{image}"])
    for image, found in enumerate(rpn.proposals(maps, case.inputs[f"{which}.sizes"])):
        np.testing.assert_allclose(found.numpy(), outputs[f"{call}.proposals.{image}"], atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("halved", [False, True])
def test_region_features(config, halved):
    case, model = golden("detector/roi"), build(replace(config, halve_res5=halved))
    maps, rois = paddle.to_tensor(case.inputs["res4"]), case.inputs["rois"]
    boxes = [paddle.to_tensor(rois[rois[:, 0] == image, 1:]) for image in range(len(maps))]
    prefix = "halved." if halved else ""
    found = model.region_features(maps, boxes)
    np.testing.assert_allclose(found.numpy(), case.outputs[f"{prefix}regions"], **MAPS)
    counts = paddle.to_tensor([len(each) for each in boxes], dtype="int32")
    pooled = paddle.vision.ops.roi_pool(maps, paddle.concat(boxes), counts, 14, 1 / 16)
    np.testing.assert_allclose(pooled.numpy(), case.outputs["pooled"], **MAPS)
    np.testing.assert_allclose(model.res5(pooled).numpy(), case.outputs[f"{prefix}res5"], **MAPS)


def test_heads(model):
    case = golden("detector/heads")
    found, outputs = model.heads(paddle.to_tensor(case.inputs["regions"])), case.outputs
    np.testing.assert_allclose(found.class_logits.numpy(), outputs["obj_logits"], **MAPS)
    np.testing.assert_allclose(found.attribute_logits.numpy(), outputs["attr_logits"], **MAPS)
    np.testing.assert_allclose(found.box_deltas.numpy(), outputs["box_deltas"], **MAPS)
    np.testing.assert_array_equal(found.class_logits.argmax(-1).numpy(), outputs["embedded_class"])
    rows = model.heads.class_embedding(paddle.to_tensor(outputs["embedded_class"]))
    np.testing.assert_array_equal(rows.numpy(), outputs["embedding"])


@pytest.mark.parametrize("call", ["free", "fixed", "more"])
def test_selection(config, call):
    case = golden("detector/select")
    inputs, outputs = case.inputs, case.outputs
    most = int(inputs["more"])
    least, most = {"free": (10, 36), "fixed": (36, 36), "more": (most, most)}[call]
    counts = inputs["proposals_per_image"]
    settings = replace(config, min_boxes=least, max_boxes=most)
    proposals = [paddle.to_tensor(part) for part in np.split(inputs["proposals"], np.cumsum(counts)[:-1])]
    output = HeadOutput(*(paddle.to_tensor(inputs[name]) for name in ("obj_logits", "attr_logits", "box_deltas")))
    arguments = (proposals, paddle.to_tensor(inputs["regions"]), output, inputs["sizes"], inputs["scales_yx"])
    found = select_detections(settings, *arguments)
    np.testing.assert_array_equal([len(each.boxes) for each in found], outputs[f"{call}.count"])
    joined = {name: np.concatenate([getattr(each, name) for each in found]) for name in found[0]._fields}
    np.testing.assert_array_equal(joined["class_ids"], outputs[f"{call}.obj_ids"])
    np.testing.assert_array_equal(joined["attribute_ids"], outputs[f"{call}.attr_ids"])
    np.testing.assert_allclose(joined["boxes"], outputs[f"{call}.boxes"], atol=1e-3)
    np.testing.assert_allclose(joined["class_scores"], outputs[f"{call}.obj_probs"], atol=1e-5)
    np.testing.assert_allclose(joined["attribute_scores"], outputs[f"{call}.attr_probs"], atol=1e-5)
    np.testing.assert_array_equal(joined["features"], outputs[f"{call}.roi_features"])


def test_a_short_image_keeps_its_own_boxes(config):
    """In the recorded call `stale` the second image has fewer boxes than wanted. The original then returns the first
    image's again and scales the boxes of both a second time; the first image is compared without that, and the second
    has its own boxes here."""
    case = golden("detector/select")
    inputs, outputs = case.inputs, case.outputs
    order, counts, scales = inputs["stale.order"].tolist(), inputs["proposals_per_image"], inputs["scales_yx"]
    assert order == [0, 1]
    rows = int(counts[:2].sum())
    settings = replace(config, min_boxes=36, max_boxes=36, nms_thresholds=(float(inputs["stale.threshold"]),))
    proposals = [paddle.to_tensor(part) for part in np.split(inputs["proposals"][:rows], [int(counts[0])])]
    heads = HeadOutput(*(paddle.to_tensor(inputs[name][:rows]) for name in ("obj_logits", "attr_logits", "box_deltas")))
    features = paddle.to_tensor(inputs["regions"][:rows])
    first, second = select_detections(settings, proposals, features, heads, inputs["sizes"][:2], scales[:2])
    stale = {key[6:]: value for key, value in outputs.items() if key.startswith("stale.")}
    np.testing.assert_array_equal(first.class_ids, stale["obj_ids"][0])
    np.testing.assert_array_equal(first.attribute_ids, stale["attr_ids"][0])
    np.testing.assert_array_equal(first.features, stale["roi_features"][0])
    np.testing.assert_allclose(first.class_scores, stale["obj_probs"][0], atol=1e-5)
    np.testing.assert_allclose(first.attribute_scores, stale["attr_probs"][0], atol=1e-5)
    np.testing.assert_allclose(first.boxes * scales[1][[1, 0, 1, 0]], stale["boxes"][0], atol=1e-3)
    assert 1 <= len(second.boxes) < 36
    (own,) = select_detections(
        settings,
        proposals[1:],
        features[int(counts[0]) :],
        HeadOutput(*(each[int(counts[0]) :] for each in heads)),
        inputs["sizes"][1:2],
        scales[1:2],
    )
    np.testing.assert_array_equal(second.boxes, own.boxes)


def test_decoded_boxes_and_probabilities_of_the_selection(config):
    case = golden("detector/select")
    inputs, outputs = case.inputs, case.outputs
    found = decode_boxes(
        paddle.to_tensor(inputs["proposals"]), paddle.to_tensor(inputs["box_deltas"]), config.box_weights
    )
    np.testing.assert_allclose(found.numpy(), outputs["decoded"], atol=1e-3, rtol=1e-5)
    probs = paddle.nn.functional.softmax(paddle.to_tensor(inputs["obj_logits"])).numpy()
    np.testing.assert_allclose(probs, outputs["class_probs"], atol=1e-5)


def test_the_published_network_has_every_recorded_name_and_shape():
    names = golden("detector/names").json("names.json")
    arrays = {name: np.empty(entry["shape"], np.float32) for name, entry in names.items()}
    converted = convert_detector_weights(arrays)
    model = BottomUpDetector(FULL)
    assert not converted.unmapped
    assert {name: list(value.shape) for name, value in converted.tensors.items()} == {
        name: list(value.shape) for name, value in model.state_dict().items()
    }


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("boxes", ["free", "fixed"])
@pytest.mark.parametrize("name", ["batch", "grey", "landscape", "portrait", "wide"])
def test_detect(config, name, boxes, folded):
    case = golden("detector/detect")
    inputs, outputs = case.inputs, case.outputs
    model = build(replace(config, min_boxes=10 if boxes == "free" else 36, max_boxes=36))
    if folded:
        model.fold_norms()
    images = paddle.to_tensor(inputs[f"{name}.images"])
    found = model.detect(images, inputs[f"{name}.sizes"], inputs[f"{name}.scales_yx"])
    wanted = {key.split(".", 2)[2]: value for key, value in outputs.items() if key.startswith(f"{name}.{boxes}.")}
    for image, detections in enumerate(found):
        count = int(wanted["preds_per_image"][image])
        assert len(detections.boxes) == count
        np.testing.assert_array_equal(detections.class_ids, wanted["obj_ids"][image, :count])
        np.testing.assert_array_equal(detections.attribute_ids, wanted["attr_ids"][image, :count])
        np.testing.assert_allclose(detections.boxes, wanted["boxes"][image, :count], atol=2e-2)
        np.testing.assert_allclose(detections.class_scores, wanted["obj_probs"][image, :count], atol=5e-4)
        np.testing.assert_allclose(detections.attribute_scores, wanted["attr_probs"][image, :count], atol=5e-4)
        np.testing.assert_allclose(detections.features, wanted["roi_features"][image, :count], atol=1e-3)
        sides = np.float32(inputs[f"{name}.sizes"][image] * inputs[f"{name}.scales_yx"][image])[[1, 0, 1, 0]]
        key = "normalized_boxes_each" if "normalized_boxes_each" in wanted else "normalized_boxes"
        np.testing.assert_allclose(detections.boxes / sides, wanted[key][image, :count], atol=1e-3)


@pytest.mark.parametrize("name, pad", [("np_max_detections", -1), ("np_max_batch", None)])
def test_detections_of_padded_calls(config, name, pad):
    """The original pads its arrays to one length; only the rows of real detections are compared."""
    case = golden("detector/detect")
    inputs = case.inputs
    wanted = {key.split(".")[2]: value[0] for key, value in case.outputs.items() if key.startswith(f"wide.{name}.")}
    model = build(replace(config, min_boxes=10, max_boxes=36))
    (found,) = model.detect(paddle.to_tensor(inputs["wide.images"]), inputs["wide.sizes"], inputs["wide.scales_yx"])
    count = len(found.boxes)
    np.testing.assert_array_equal(found.class_ids, wanted["obj_ids"][:count])
    np.testing.assert_allclose(found.boxes, wanted["boxes"][:count], atol=2e-2)
    np.testing.assert_allclose(found.features, wanted["roi_features"][:count], atol=1e-3)
    width, height = np.float32(inputs["wide.sizes"][0] * inputs["wide.scales_yx"][0])[::-1]
    normalized = found.boxes / [width, height, width, height]
    np.testing.assert_allclose(normalized, wanted["normalized_boxes"][:count], atol=1e-3)
    assert len(wanted["boxes"]) == count if pad is None else (wanted["boxes"][count:] == pad).all()


@pytest.mark.parametrize("name", ["random", "exact", "ties", "flat"])
def test_nms(name):
    case = golden("detector/ops")
    boxes, scores = paddle.to_tensor(case.inputs[f"nms.{name}.boxes"]), case.inputs[f"nms.{name}.scores"]
    for threshold in case.inputs[f"nms.{name}.thresholds"].tolist():
        np.testing.assert_array_equal(nms(boxes, scores, threshold), case.outputs[f"nms.{name}.keep_{threshold:g}"])


@pytest.mark.parametrize("name", ["random", "halves", "malformed"])
def test_roi_pool(name):
    case = golden("detector/ops")
    values = {key.split(".", 2)[2]: value for key, value in case.inputs.items() if key.startswith(f"roi_pool.{name}.")}
    order = np.argsort(values["rois"][:, 0], kind="stable")
    rois = values["rois"][order]
    counts = paddle.to_tensor(np.bincount(rois[:, 0].astype(int), minlength=len(values["features"])).astype(np.int32))
    size, scale = values["output_size"].tolist(), float(values["scale"])
    pooled = paddle.vision.ops.roi_pool(
        paddle.to_tensor(values["features"]), paddle.to_tensor(rois[:, 1:]), counts, size, scale
    )
    np.testing.assert_array_equal(pooled.numpy(), case.outputs[f"roi_pool.{name}.pooled"][order])


def test_boxes_given_are_described_in_their_order(model, config):
    case = golden("detector/detect")
    arguments = [case.inputs[f"landscape.{name}"] for name in ("sizes", "scales_yx")]
    images = paddle.to_tensor(case.inputs["landscape.images"])
    boxes = np.float32([[5, 6, 60, 70], [1, 1, 30, 20], [5, 6, 60, 70]])
    (found,) = model.detect(images, *arguments, boxes=[boxes])
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
    np.testing.assert_array_equal(found.features[0], found.features[2])
    assert np.abs(found.features[0] - found.features[1]).max() > 1e-3


def test_too_few_boxes_are_returned_as_they_are(config):
    """The original returns another image's boxes, or raises."""
    case = golden("detector/detect")
    model = build(replace(config, min_boxes=36, max_boxes=36, nms_thresholds=(1e-6,)))
    images = paddle.to_tensor(case.inputs["landscape.images"])
    (found,) = model.detect(images, case.inputs["landscape.sizes"], case.inputs["landscape.scales_yx"])
    assert 1 <= len(found.boxes) < 36 and len(found.features) == len(found.boxes)


def test_maps_of_odd_sizes_are_rounded_up_by_each_stage():
    assert ResNetC4(50, 4, 2, 4)(paddle.zeros([1, 3, 33, 48])).shape == [1, 16, 2, 3]
