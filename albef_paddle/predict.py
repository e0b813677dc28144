"""Prediction with a trained ALBEF: match scores, answers, verdicts and Grad-CAM pictures about images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from albef_paddle.grad_cam import blocks, check_block, default_block, image_maps, word_maps
from albef_paddle.recipe import choose_device
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask
from albef_paddle.tasks.entailment import CLASSES, AlbefEntailment
from albef_paddle.tasks.nlvr2 import AlbefNLVR2
from albef_paddle.tasks.vqa import AlbefVQA
from albef_paddle.trained import TASKS, load_settings, load_task
from pyutils import distributed
from pyutils.config.command_line import Run
from pyutils.console import markdown_table, say
from pyutils.data.images import Images
from pyutils.data.transforms import albef_transform
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.run import check_output_dir
from pyutils.errors import InputError, nearest
from pyutils.text.cleaning import has_words
from pyutils.weights.checkpoint import weight_file
from pyutils.weights.places import locate

MATCHING = ("retrieval", "pretrain", "grounding")
"""Tasks that tell how an image and a text fit, and can be drawn."""
Row = dict[str, str]


def predict(run: Run) -> None:
    """Do what the command line of run_predict.py says. InputError for flags that do not go together, before weights are
    read."""
    extra = run.extra
    name = check_flags(extra)
    choose_device(run)
    file = weight_file(locate(extra["checkpoint"]))
    config = load_settings(run, name, file)
    output_dir = Path(run.output_dir or config.output_dir)
    check_with_settings(extra, config, output_dir)
    task = load_task(name, config, file)
    with evaluating(task.model):
        if "split" in extra:
            answer_split(task, extra["split"], output_dir)
            return
        rows = judge(task, extra["image"], extra["text"], extra.get("second_image", ""), extra.get("top", 5))
        say(markdown_table(rows))
        if extra.get("gradcam"):
            say(f"drawn: {draw(task, extra, output_dir)}")


def check_flags(extra: Mapping[str, Any]) -> str:
    """The task that is asked for. InputError where a flag is missing, does not suit the task, or names no image."""
    if "checkpoint" not in extra:
        raise InputError("--checkpoint is missing: name a checkpoint folder, the output folder of a run, or a file")
    name = extra.get("task", "retrieval")
    if name not in TASKS:
        raise InputError(f"--task: unknown {name!r}: {nearest(name, TASKS)}")
    if "split" in extra:
        if name != "vqa":
            raise InputError(
                f"--split answers questions (--task vqa), found task {name}; use its run script's --evaluate"
            )
        return name
    for flag in ("image", "text"):
        if not extra.get(flag, "").strip():
            raise InputError(f"--{flag} is missing: give --image and --text, or --split for a file of answers")
    if not has_words(extra["text"]):
        raise InputError(f"--text {extra['text']!r} has no letter or digit: write a sentence or a question")
    if name == "nlvr" and not extra.get("second_image"):
        raise InputError("--second_image is missing: NLVR2 judges a sentence about two images")
    for flag in ("image", "second_image") if name == "nlvr" else ("image",):
        if not Path(extra[flag]).expanduser().is_file():
            raise InputError(f"--{flag} {extra[flag]}: no such image file")
    if extra.get("gradcam") and name not in MATCHING:
        raise InputError(f"--gradcam needs a task that matches images and texts ({', '.join(MATCHING)}), found {name}")
    return name


def check_with_settings(extra: Mapping[str, Any], config: AlbefRunConfig, output_dir: Path) -> None:
    """InputError where there is no such split or block, or the folder to write to cannot be made."""
    if "split" in extra:
        config.data.files(extra["split"])
    elif not extra.get("gradcam"):
        return
    elif "block_num" in extra:
        check_block(config.model, extra.get("gradcam_mode", "itm"), extra["block_num"])
    check_output_dir(output_dir)


def answer_split(task: AlbefVQA, split: str, output_dir: Path) -> None:
    """Write `result.json` of a question-answering split."""
    texts = task.answer(split_loader(task, task.config.train, split), split)
    if distributed.is_main():
        ids = [record.question_id for record in task.records(split)]
        say(f"{len(texts)} answers written to {task.write_answers(output_dir, ids, texts)}")
    distributed.barrier()


def read_image(task: AlbefTask, file: str) -> paddle.Tensor:
    """One image file as the network takes it, `[1, 3, size, size]`. InputError for a missing or damaged one."""
    data = task.config.data
    transform = albef_transform("evaluate", task.config.model.vision.image_size)
    source = Images([], transform, data.draft_margin, data.exif_rotation)
    return paddle.to_tensor(source.read_file(Path(file).expanduser())[None])


def judge(task: AlbefTask, image: str, text: str, second_image: str, top: int) -> list[Row]:
    """What the model says of image and text, best first, as rows to print."""
    if isinstance(task, AlbefVQA):
        return _answers(task, image, text, top)
    pixels = read_image(task, image)
    inputs = task.tensors(task.text_arrays([task.caption(text)]))
    if isinstance(task, AlbefNLVR2):
        pixels = paddle.stack([pixels, read_image(task, second_image)], axis=1)
    if isinstance(task, (AlbefNLVR2, AlbefEntailment)):
        names = CLASSES if isinstance(task, AlbefEntailment) else ("False", "True")
        return _shares(names, task.model(pixels, inputs["input_ids"], inputs["text_mask"])[0])
    model = task.model
    states = model.text.encode(inputs["input_ids"], inputs["text_mask"])
    logits = model.match_scores(states, inputs["text_mask"], model.text.memories(model.vision(pixels)))
    return _shares(("no match", "match"), logits[0])


def _answers(task: AlbefVQA, image: str, text: str, top: int) -> list[Row]:
    arrays = task.tensors(task.question_arrays([text]))
    ranked = task.model.rank(
        read_image(task, image), arrays["question_ids"], arrays["question_mask"], *task.candidates(), task.config.k_test
    )
    best = zip(ranked.answers[0].numpy().tolist()[:top], ranked.probabilities[0].numpy().tolist())
    return [{"answer": task.answers[number], "probability": f"{share:.4f}"} for number, share in best]


def _shares(names: tuple[str, ...], logits: paddle.Tensor) -> list[Row]:
    shares = paddle.nn.functional.softmax(logits.astype("float32"), axis=-1).numpy()
    order = np.argsort(-shares, kind="stable")
    return [{"verdict": names[number], "probability": f"{shares[number]:.4f}"} for number in order]


def draw(task: AlbefTask, extra: dict, output_dir: Path) -> Path:
    """Grad-CAM pictures of the sentence and, in mode itm, of each of its words, in `output_dir/gradcam.png`."""
    from albef_paddle.pictures import draw_maps

    mode = extra.get("gradcam_mode", "itm")
    model = task.model
    block = extra.get("block_num", default_block(model.config, mode))
    if mode == "itm" and block == blocks(model.config, mode)[-1]:
        say(f"block {block} is the last: only [CLS] reaches the score from there, the maps of the words are blank")
    ids = task.caption(extra["text"])
    inputs = task.tensors(task.text_arrays([ids]))
    arguments = (model, block, read_image(task, extra["image"]), inputs["input_ids"], inputs["text_mask"])
    if mode == "itc":
        maps, names = image_maps(*arguments).numpy(), ["sentence"]
    else:
        words = word_maps(*arguments)[0][0].numpy()  # [t, grid, grid]
        maps, names = np.concatenate([words.mean(axis=0)[None], words]), ["sentence", *task.tokenizer.tokens(ids)]
    return draw_maps(Path(extra["image"]).expanduser(), maps, names, output_dir / "gradcam.png")
