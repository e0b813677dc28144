"""The base of tasks with an ITM head: the ITM probability of an example, and its Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import paddle
from PIL import Image, ImageDraw

from albef_paddle.network.boxes import choose_box, peak_box
from albef_paddle.network.grad_cam import blocks, check_block, default_block, image_maps, text_maps, word_maps
from albef_paddle.network.itc import unit_features
from albef_paddle.tasks.base import AlbefTask, softmax
from pyutils.console import say
from pyutils.data.images import as_rgb
from pyutils.data.records import BoxXYXY
from pyutils.engine.answers import Box, Boxes, Example, Features, Match, feature_rows
from pyutils.engine.evaluation import evaluating
from pyutils.engine.run import check_output_dir
from pyutils.engine.split_task import USUAL_TOP
from pyutils.engine.task import Rows

_SIDE, _LINE, _COLUMNS = 224, 18, 6


class MatchingTask(AlbefTask):
    """Answers `--image` and `--text` with the ITM probability; `--gradcam` draws `gradcam.png`."""

    example_flags = ("image", "text")
    predict_flags = ("top", "gradcam", "gradcam_mode", "block_num")

    def check_example(self, example: Mapping[str, Any], output: Path) -> None:
        """Raise InputError for a missing image, a block that does not exist, or an unusable output directory."""
        super().check_example(example, output)
        if example.get("gradcam"):
            if "block_num" in example:
                check_block(self.config.model, example.get("gradcam_mode", "itm"), example["block_num"])
            check_output_dir(output)

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """Compute the probability that `text` matches `image`, and draw Grad-CAM if asked to."""
        rows = super().answer_example(example, output)
        if example.get("gradcam"):
            with evaluating(self.model):
                say(f"wrote {self.draw(example, output)}")
        return rows

    def match(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Match]:
        """Compute the ITM probability, and the cosine of the ITC features, of each example's text and image."""
        ids, mask = self.captions([example.text for example in examples])
        model = self.model
        with evaluating(model):
            states, image_states = (
                model.text.encode(ids, mask),
                model.vision(self.pixels([e.images[0] for e in examples])),
            )
            logits = model.itm_logits(states, mask, model.text.memories(image_states))
            texts = unit_features(model.text_projection, states)
            cosines = (texts * unit_features(model.vision_projection, image_states)).sum(axis=-1).numpy()
        rows = zip(logits[:, 1].numpy(), softmax(logits)[:, 1], cosines)
        return [Match(score=float(logit), probability=float(p), similarity=float(cosine)) for logit, p, cosine in rows]

    def heat(self, images: paddle.Tensor, ids: paddle.Tensor, mask: paddle.Tensor) -> np.ndarray:
        """Compute the Grad-CAM map of each text, `[b, grid, grid]` float32."""
        block = default_block(self.model.config, "itm")
        return text_maps(self.model, "itm", block, images, ids, mask).astype("float32").numpy()

    def locate(self, examples: Sequence[Example], top: int = USUAL_TOP) -> list[Boxes]:
        """Choose among each example's `object_boxes` by the heat inside; without them, box the heat around the peak."""
        keys = [example.images[0] for example in examples]
        with evaluating(self.model):
            maps = self.heat(self.pixels(keys), *self.captions([example.text for example in examples]))
        sizes = [self.images(False).size(key) for key in keys]
        return [_boxes(heat, size, example.object_boxes) for heat, size, example in zip(maps, sizes, examples)]

    def extract(self, examples: Sequence[Example], top: int = 1) -> list[Features]:
        """Compute the unit ITC features of images and texts, and of both together the state at [CLS]."""
        model, texts = self.model, [example.text for example in examples]
        vectors: dict[str, np.ndarray] = {}
        with evaluating(model):
            if examples[0].images:
                image_states = model.vision(self.pixels([example.images[0] for example in examples]))
                vectors["image"] = unit_features(model.vision_projection, image_states).numpy()
            if texts[0]:
                ids, mask = self.captions(texts)
                states = model.text.encode(ids, mask)
                vectors["text_vector"] = unit_features(model.text_projection, states).numpy()
            if len(vectors) == 2:
                memories = model.text.memories(image_states)
                vectors["joint"] = model.text.fuse(states, mask, memories, read_at=0)[:, 0].numpy()
        return feature_rows(vectors)

    pipelines: ClassVar = {"image-text-matching": match, "grounding": locate, "feature-extraction": extract}

    def draw(self, example: Mapping[str, Any], output: Path) -> Path:
        """Draw Grad-CAM of the sentence and, in mode itm, of each of its words, to `gradcam.png`."""
        mode, model = example.get("gradcam_mode", "itm"), self.model
        block = example.get("block_num", default_block(model.config, mode))
        if mode == "itm" and block == blocks(model.config, mode)[-1]:
            say(f"block {block} is the last: only [CLS] reaches the score from it, the maps of the words are blank")
        ids = self.caption(example["text"])
        inputs = self.tensors(self.text_arrays([ids]))
        arguments = (model, block, self.pixels(["0"]), inputs["input_ids"], inputs["text_mask"])
        if mode == "itc":
            maps, names = image_maps(*arguments).numpy(), ["sentence"]
        else:
            words = word_maps(*arguments)[0][0].numpy()  # [t, grid, grid]
            maps, names = np.concatenate([words.mean(axis=0)[None], words]), ["sentence", *self.tokenizer.tokens(ids)]
        return draw_maps(Path(example["image"]).expanduser(), maps, names, output / "gradcam.png")


def _boxes(heat: np.ndarray, size: tuple[int, int], detections: Sequence[BoxXYXY]) -> Boxes:
    """Rank `detections` by the heat inside, or box the peak of `heat`."""
    if not detections:
        box, share = peak_box(heat, *size)
        return Boxes(boxes=(Box(box, share),), heat=heat)
    corners = np.array(detections, dtype=np.float64)
    widths = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    scores = choose_box(heat, *size, widths).scores
    order = np.argsort(-scores, kind="stable")
    return Boxes(boxes=tuple(Box(tuple(detections[n]), float(scores[n]), int(n)) for n in order), heat=heat)


def draw_maps(image: Path, maps: np.ndarray, names: Sequence[str], target: Path) -> Path:
    """Draw `maps` `[n, rows, columns]` over the image, side by side with their names; returns `target`.

    Each map is scaled by its own maximum.
    """
    with Image.open(image) as opened:
        ground = np.asarray(as_rgb(opened).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    columns = min(_COLUMNS, len(maps))
    rows = -(-len(maps) // columns)
    sheet = Image.new("RGB", (columns * _SIDE, rows * (_SIDE + _LINE)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (heat, name) in enumerate(zip(maps, names)):
        left, top = number % columns * _SIDE, number // columns * (_SIDE + _LINE)
        pen.text((left + 4, top + 3), name, fill="black")
        sheet.paste(_overlaid(ground, heat), (left, top + _LINE))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)
    return target


def _overlaid(ground: np.ndarray, heat: np.ndarray) -> Image.Image:
    """Overlay the map, in colours from blue over green to red, on an image `[side, side, 3]` in 0 … 1."""
    scaled = Image.fromarray((heat / max(float(heat.max()), 1e-12)).astype(np.float32))
    level = np.clip(np.asarray(scaled.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)), 0, 1)
    colours = np.stack([np.clip(1.5 - np.abs(4 * level - peak), 0, 1) for peak in (3, 2, 1)], axis=-1)
    return Image.fromarray(((0.5 * ground + 0.5 * colours) * 255).astype(np.uint8))
