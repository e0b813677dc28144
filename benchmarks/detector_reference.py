"""The original detector in PyTorch, timed unchanged. `benchmarks/detector.py --reference` starts it; not by hand.

Reads `modeling_frcnn.py`, `processing_image.py` and `utils.py` of Hugging Face's LXMERT research project from the
folder given first, and writes its random weights to the file given second. Then it answers every line of its input,
image files separated by tabs, with a line of JSON: seconds; boxes and features go to `original.npz` beside the weights.

torchvision has no CPU build for every PyTorch. Without one, the two operators that the original takes from it are
written here from their definitions: NMS in NumPy, and RoIPool as PyTorch's adaptive max pool, whose cells are the same.
Their seconds are in the answer too.
"""

import json
import resource
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

GOLDEN = Path(__file__).resolve().parents[1] / "tests/golden/detector/config.json"
# The published configuration, where it differs from that of the small recorded network.
FULL = {
    "model": {"pixel_mean": [102.9801, 115.9465, 122.7717], "pixel_std": [1.0, 1.0, 1.0]},
    "input": {"min_size_test": 800, "max_size_test": 1333},
    "proposal_generator": {"hidden_channels": 512},
    "anchor_generator": {"sizes": [[64, 128, 256, 512]]},
    "rpn": {"pre_nms_topk_test": 6000, "post_nms_topk_test": 300, "nms_thresh": 0.7},
    "roi_heads": {"num_classes": 1600, "nms_thresh_test": [0.5, 0.6, 0.7]},
    "roi_box_head": {"bbox_reg_weights": [10.0, 10.0, 5.0, 5.0], "num_attrs": 400},
    "resnets": {"depth": 101, "width_per_group": 64, "res2_out_channels": 256, "stem_out_channels": 64},
}
spent = 0.0
"""Seconds in the two operators of `stand_in`."""


def timed(function):
    """Count the seconds of `function`."""

    def call(*arguments):
        global spent
        begun = time.perf_counter()
        found = function(*arguments)
        spent += time.perf_counter() - begun
        return found

    return call


@timed
def nms(boxes, scores, threshold):
    """Indices of the boxes `[n, 4]` that are kept, by falling score."""
    order = torch.argsort(scores, descending=True, stable=True).numpy()
    x1, y1, x2, y2 = boxes.numpy()[order].T
    areas, left, kept = (x2 - x1) * (y2 - y1), np.arange(len(order)), []
    while len(left):
        first, rest = left[0], left[1:]
        kept.append(order[first])
        width = np.minimum(x2[first], x2[rest]) - np.maximum(x1[first], x1[rest])
        height = np.minimum(y2[first], y2[rest]) - np.maximum(y1[first], y1[rest])
        inside = width.clip(0) * height.clip(0)
        overlap = inside / (areas[first] + areas[rest] - inside)  # float32, compared as float64: as torchvision does
        left = rest[~(overlap.astype(np.float64) > threshold)]
    return torch.as_tensor(np.array(kept, np.int64))


class RoIPool(torch.nn.Module):
    """torchvision's, for boxes inside the image."""

    def __init__(self, output_size, spatial_scale):
        super().__init__()
        self.size, self.scale = output_size, spatial_scale

    def forward(self, maps, rois):
        """`[n, c, h, w]` and `[r, 5]` (image, box) → `[r, c, size, size]`."""
        return timed(self._pool)(maps, rois)

    def _pool(self, maps, rois):
        corners = np.floor(rois[:, 1:].numpy() * np.float32(self.scale) + 0.5).astype(int)
        maps, found = F.pad(maps, [0, 1, 0, 1], value=-torch.inf), []  # a box at the border rounds to one cell outside
        for image, (x1, y1, x2, y2) in zip(rois[:, 0].int().tolist(), corners):
            cells = maps[image, :, y1 : max(y1, y2) + 1, x1 : max(x1, x2) + 1]
            found.append(F.adaptive_max_pool2d(cells, self.size))
        return torch.stack(found).nan_to_num_(neginf=0.0)


def stand_in():
    """Offer the two operators as `torchvision.ops`; without torchvision only."""
    try:
        import torchvision.ops  # noqa: F401

        return "torchvision's operators"
    except (ImportError, RuntimeError):  # RuntimeError: built for another PyTorch
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    ops, boxes = types.ModuleType("torchvision.ops"), types.ModuleType("torchvision.ops.boxes")
    ops.RoIPool, ops.boxes, boxes.nms = RoIPool, boxes, nms
    boxes.batched_nms = lambda rows, scores, levels, threshold: nms(rows, scores, threshold)  # there is one level
    package = types.ModuleType("torchvision")
    package.ops = ops
    sys.modules.update({"torchvision": package, "torchvision.ops": ops, "torchvision.ops.boxes": boxes})
    return "stand-ins for torchvision's operators"


def configuration(side):
    """The published configuration as a dictionary; `side`: shorter side of the resized image."""
    values = json.loads(GOLDEN.read_text())
    for section, own in FULL.items():
        values[section].update(own)
    values["input"].update(min_size_test=side, max_size_test=side * 5 // 3)
    return values


def random_network(build, values):
    """Random weights: activations stay finite, and proposals are anchors, so that all of them occur."""
    torch.manual_seed(0)
    model = build(values).eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        if name.endswith("conv3.norm.weight"):
            parameter.mul_(0.1)
        if "anchor_deltas" in name or "bbox_pred" in name:
            parameter.zero_()
    return model


def main():
    """Answer until the input ends."""
    original, weights, side, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    operators = stand_in()
    sys.path.insert(0, original)
    from modeling_frcnn import GeneralizedRCNN
    from processing_image import Preprocess
    from utils import Config

    values = configuration(int(side))
    config = Config(values)
    model = random_network(lambda _: GeneralizedRCNN(config), values)
    prepare = Preprocess(config)
    torch.save(model.state_dict(), weights)
    Path(weights).with_name("config.yaml").write_text(json.dumps(values))
    print(json.dumps({"operators": operators, "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        global spent
        spent, begun, processor = 0.0, time.perf_counter(), time.process_time()
        images, sizes, scales = prepare(line.rstrip("\n").split("\t"))
        found = model(images, sizes, scales_yx=scales, padding="max_detections", max_detections=36, return_tensors="np")
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
        arrays = {name: np.asarray(found[name]) for name in ("boxes", "obj_ids", "roi_features")}
        np.savez(Path(weights).with_name("original.npz"), **arrays)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps({"seconds": seconds, "CPU": processor, "operators": spent, "peak MiB": peak}), flush=True)


if __name__ == "__main__":
    main()
