"""Tasks whose network tells how well an image and a text match: the score of a pair, and its Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albef_paddle.network.grad_cam import blocks, check_block, default_block, image_maps, word_maps
from albef_paddle.tasks.base import AlbefTask, probabilities
from albef_paddle.tasks.heat_maps import draw_maps
from pyutils.console import say
from pyutils.engine.evaluation import evaluating
from pyutils.engine.run import check_output_dir
from pyutils.engine.task import Rows


class MatchingTask(AlbefTask):
    """Answers `--image` and `--text` with the probability of a match; `--gradcam` draws `gradcam.png`."""

    example_flags = ("image", "text")
    predict_flags = ("top", "gradcam", "gradcam_mode", "block_num")

    def check_example(self, example: Mapping[str, Any], output: Path) -> None:
        """See SplitTask: image, block and output folder."""
        super().check_example(example, output)
        if example.get("gradcam"):
            if "block_num" in example:
                check_block(self.config.model, example.get("gradcam_mode", "itm"), example["block_num"])
            check_output_dir(output)

    def answer_example(self, example: Mapping[str, Any], output: Path) -> Rows:
        """The probability that `text` describes `image`."""
        inputs = self.tensors(self.text_arrays([self.caption(example["text"])]))
        model = self.model
        with evaluating(model):
            states = model.text.encode(inputs["input_ids"], inputs["text_mask"])
            memories = model.text.memories(model.vision(self.read_image(example["image"])))
            rows = probabilities(("no match", "match"), model.itm_logits(states, inputs["text_mask"], memories)[0])
            if example.get("gradcam"):
                say(f"drawn: {self.draw(example, output)}")
        return rows

    def draw(self, example: Mapping[str, Any], output: Path) -> Path:
        """Grad-CAM of the sentence and, in mode itm, of each of its words, in `gradcam.png`."""
        mode, model = example.get("gradcam_mode", "itm"), self.model
        block = example.get("block_num", default_block(model.config, mode))
        if mode == "itm" and block == blocks(model.config, mode)[-1]:
            say(f"block {block} is the last: only [CLS] reaches the score from there, the maps of the words are blank")
        ids = self.caption(example["text"])
        inputs = self.tensors(self.text_arrays([ids]))
        arguments = (model, block, self.read_image(example["image"]), inputs["input_ids"], inputs["text_mask"])
        if mode == "itc":
            maps, names = image_maps(*arguments).numpy(), ["sentence"]
        else:
            words = word_maps(*arguments)[0][0].numpy()  # [t, grid, grid]
            maps, names = np.concatenate([words.mean(axis=0)[None], words]), ["sentence", *self.tokenizer.tokens(ids)]
        return draw_maps(Path(example["image"]).expanduser(), maps, names, output / "gradcam.png")
