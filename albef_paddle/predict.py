"""Prediction with a trained ALBEF: match scores, answers, verdicts and Grad-CAM pictures about images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle

from albef_paddle.grad_cam import check_block, image_maps, word_maps
from albef_paddle.recipe import choose_device
from albef_paddle.tasks.base import AlbefRunConfig, AlbefTask
from albef_paddle.tasks.entailment import CLASSES, AlbefEntailment
from albef_paddle.tasks.grounding import AlbefGrounding, AlbefGroundingConfig
from albef_paddle.tasks.nlvr2 import AlbefNLVR2
from albef_paddle.tasks.pretraining import AlbefPretraining, AlbefPretrainingConfig
from albef_paddle.tasks.retrieval import AlbefRetrieval, AlbefRetrievalConfig
from albef_paddle.tasks.vqa import AlbefVQA, AlbefVQAConfig
from albef_paddle.weights import load_initial
from pyutils.cli import Run
from pyutils.config import load_config
from pyutils.data.images import Images
from pyutils.data.transforms import albef_transform
from pyutils.engine import distributed
from pyutils.engine.checkpoint import CONFIG_FILE, find_checkpoint
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.run_log import markdown_table, say
from pyutils.errors import InputError, nearest

TASKS: dict[str, tuple[type[AlbefTask], type[AlbefRunConfig]]] = {
    "retrieval": (AlbefRetrieval, AlbefRetrievalConfig),
    "pretrain": (AlbefPretraining, AlbefPretrainingConfig),
    "grounding": (AlbefGrounding, AlbefGroundingConfig),
    "vqa": (AlbefVQA, AlbefVQAConfig),
    "ve": (AlbefEntailment, AlbefRunConfig),
    "nlvr": (AlbefNLVR2, AlbefRunConfig),
}
Row = dict[str, str]


def predict(run: Run) -> None:
    """Do what the command line of run_predict.py says. InputError for flags that do not go together."""
    extra = run.extra
    if "checkpoint" not in extra:
        raise InputError("--checkpoint is missing: name a checkpoint folder, the output folder of a run, or a file")
    choose_device(run)
    task = load_task(run, extra.get("task", "retrieval"))
    output_dir = Path(run.output_dir or task.config.output_dir)
    with evaluating(task.model):
        if "split" in extra:
            answer_split(task, extra["split"], output_dir)
            return
        for name in ("image", "text"):
            if not extra.get(name, "").strip():
                raise InputError(f"--{name} is missing: give --image and --text, or --split for a file of answers")
        say(
            markdown_table(
                judge(task, extra["image"], extra["text"], extra.get("second_image", ""), extra.get("top", 5))
            )
        )
        if extra.get("gradcam"):
            say(f"drawn: {draw(task, extra, output_dir)}")


def load_task(run: Run, name: str) -> AlbefTask:
    """Task `name` with the weights of `--checkpoint`. A checkpoint folder brings its configuration, vocabulary and
    answer list; a file needs `--config`."""
    if name not in TASKS:
        raise InputError(f"--task: unknown {name!r}: {nearest(name, TASKS)}")
    kind, config_class = TASKS[name]
    source = Path(run.extra["checkpoint"])
    folder = find_checkpoint(source) if source.is_dir() and run.config_path is None else source
    if run.config_path is None and not (folder / CONFIG_FILE).is_file():
        raise InputError(f"{source}: no {CONFIG_FILE} beside the weights: name the recipe's file with --config")
    config = load_config(config_class, run.config_path or folder / CONFIG_FILE, run.overrides)
    if (folder / "vocab.txt").is_file():
        config = replace(config, tokenizer=str(folder / "vocab.txt"))
    if isinstance(config, AlbefVQAConfig) and (folder / Path(config.answer_list).name).is_file():
        config = replace(config, answer_list=str(folder / Path(config.answer_list).name))
    distributed.initialize()
    task = kind(config)
    say(str(load_initial(task.model, str(folder), task.config.model, may_miss=())))
    return task


def answer_split(task: AlbefTask, split: str, output_dir: Path) -> None:
    """Write `result.json` of a question-answering split. InputError for other tasks."""
    if not isinstance(task, AlbefVQA):
        raise InputError(
            f"--split answers questions (--task vqa), found task {task.name}; use its run script's --evaluate"
        )
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
        if not second_image:
            raise InputError("--second_image is missing: NLVR2 judges a sentence about two images")
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
    if not hasattr(model, "match_scores"):
        raise InputError("--gradcam needs a model that matches images and texts (retrieval, pretrain, grounding)")
    first = model.config.text.fusion_layer if mode == "itm" else 0
    last = model.config.text.num_layers - 1 if mode == "itm" else model.config.vision.depth - 1
    block = extra.get("block_num", min(last, max(first, 8)))
    check_block(model, mode, block)
    ids = task.caption(extra["text"])
    inputs = task.tensors(task.text_arrays([ids]))
    arguments = (model, block, read_image(task, extra["image"]), inputs["input_ids"], inputs["text_mask"])
    if mode == "itc":
        maps, names = image_maps(*arguments).numpy(), ["sentence"]
    else:
        words = word_maps(*arguments)[0][0].numpy()  # [t, grid, grid]
        maps, names = np.concatenate([words.mean(axis=0)[None], words]), ["sentence", *task.tokenizer.tokens(ids)]
    return draw_maps(Path(extra["image"]), maps, names, output_dir / "gradcam.png")
