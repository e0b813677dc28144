"""ALBEF's commands: a training script for every task, the flags that users of the original scripts type, and
prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pyutils.config.command_line import Flag, Run
from pyutils.config.recipes import recipe_folder
from pyutils.engine.commands import Command, Package, Parts

CONFIGS = recipe_folder(Path(__file__).resolve().parent)

_LAUNCHER = "accepted for compatibility; ignored: paddle.distributed.launch decides"


def configure(run: Run, command: Command, config_class: Any) -> Any:
    """The configuration of a training. A file of the original's or TorchMultimodal's form is merged over the recipe."""
    from albef_paddle.originals import as_overrides, device_of, is_original
    from albef_paddle.tasks.base import with_decay
    from pyutils.engine.run import choose_device

    path = run.config_path
    if path is not None and is_original(path):
        overrides = (*as_overrides(path, config_class), *run.overrides)
        if "device" not in run.extra:
            choose_device(replace(run, extra={"device": device_of(path)}))
        run = replace(run, config_path=CONFIGS / command.recipe, overrides=overrides)
    config, typed = run.load(config_class), {override.key for override in run.overrides if override.value}
    if "init" in typed:
        # A recipe's encoders would replace those of the checkpoint that the user names.
        config = replace(config, **{part: "" for part in ("init_text", "init_vision") if part not in typed})
    return with_decay(config)


def load_parts() -> Parts:
    """Import the tasks, and with them Paddle."""
    from albef_paddle.checkpoints.parts import start_parts
    from albef_paddle.checkpoints.weights import load_initial
    from albef_paddle.tasks.base import AlbefRunConfig
    from albef_paddle.tasks.entailment import AlbefEntailment
    from albef_paddle.tasks.grounding import AlbefGrounding
    from albef_paddle.tasks.nlvr2 import AlbefNLVR2, AlbefTextAssignment
    from albef_paddle.tasks.pretraining import AlbefPretraining
    from albef_paddle.tasks.retrieval import AlbefRetrieval
    from albef_paddle.tasks.vqa import AlbefVQA

    tasks: dict[str, Any] = {
        "run_pretrain.py": AlbefPretraining,
        "run_retrieval.py": AlbefRetrieval,
        "run_vqa.py": AlbefVQA,
        "run_nlvr_pretrain.py": AlbefTextAssignment,
        "run_nlvr.py": AlbefNLVR2,
        "run_ve.py": AlbefEntailment,
        "run_grounding.py": AlbefGrounding,
    }
    return Parts(
        tasks,
        AlbefRunConfig,
        lambda model, source, may_miss: load_initial(model, source, model.config, may_miss),
        lambda task: start_parts(task.model, task.config),
    )


_TOKENIZER = Flag(("--text_encoder", "--textencoder"), "tokenizer", help="vocab.txt, a folder with one, or a name")
COMMON_FLAGS = [
    _TOKENIZER,
    Flag("--checkpoint", "init", help="weights to start from or to evaluate"),
    Flag("--distributed", None, type=bool, help=_LAUNCHER),
    Flag("--world_size", None, type=int, help=_LAUNCHER),
    Flag("--dist_url", None, help=_LAUNCHER),
    Flag("--batch_size", "train.batch_size", type=int),
    Flag("--learning_rate", "train.optimizer.lr", type=float),
    Flag("--num_train_epochs", "train.epochs", type=int),
    Flag("--gradient_accumulation_steps", "train.accumulation_steps", type=int),
    Flag("--num_workers", "train.workers", type=int),
]
RETRIEVAL_FLAGS = [Flag("--k_test", "k_test", type=int, help="candidates that are re-ranked")]
GROUNDING_FLAGS = [
    Flag("--gradcam_mode", "mode", choices=("itm", "itc"), help="score to backpropagate for Grad-CAM"),
    Flag("--block_num", "block_num", type=int, help="block whose attention is read"),
]
PREDICT_FLAGS = [
    _TOKENIZER,
    Flag("--gradcam", None, type=bool, help="draw gradcam.png: the sentence and each of its words"),
    Flag("--gradcam_mode", None, choices=("itm", "itc"), help="score to backpropagate for Grad-CAM (default itm)"),
    Flag("--block_num", None, type=int, help="block whose attention is read (default 8, or one of the last)"),
]

COMMANDS = Package(
    name="albef",
    configs=CONFIGS,
    load_parts=load_parts,
    commands=(
        Command("run_pretrain.py", "pretrain.yaml", about="Pre-train ALBEF."),
        Command("run_retrieval.py", "retrieval_flickr.yaml", RETRIEVAL_FLAGS, "ALBEF on retrieval."),
        Command("run_vqa.py", "vqa.yaml", about="ALBEF on VQA v2."),
        Command("run_nlvr_pretrain.py", "nlvr_pretrain.yaml", about="Text assignment before NLVR2."),
        Command("run_nlvr.py", "nlvr.yaml", about="ALBEF on NLVR2."),
        Command("run_ve.py", "ve.yaml", about="ALBEF on SNLI-VE."),
        Command("run_grounding.py", "grounding.yaml", GROUNDING_FLAGS, "ALBEF on RefCOCO, +, g."),
    ),
    flags=COMMON_FLAGS,
    configure=configure,
    predict_flags=PREDICT_FLAGS,
    task_aliases={"nlvr": "albef_nlvr2"},
    predict_about="""Ask a trained ALBEF about images, or predict a whole split. The task is the checkpoint's.

  run_predict.py --checkpoint output/Flickr --image dog.jpg --text "a dog runs" --gradcam
  run_predict.py --checkpoint output/VQA --image dog.jpg --question "what runs?" --top 5
  run_predict.py --checkpoint output/VQA --split test              writes output/VQA/test/result.json
  run_predict.py --checkpoint ALBEF_vqa.pth --config configs/albef/vqa.yaml --task vqa --split test

A checkpoint folder carries its configuration; for a file of the original's, name the recipe with --config.""",
)
