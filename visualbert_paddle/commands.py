"""VisualBERT's commands: a training script for every task, the flags that users of the original scripts type, and
prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pyutils.config import Override
from pyutils.config.command_line import Flag, Run
from pyutils.config.recipes import recipe_folder
from pyutils.engine.commands import Command, Package, Parts
from pyutils.errors import InputError
from pyutils.regions.choice import REGION_FLAGS

DEFAULT_CONFIGS = recipe_folder(Path(__file__).resolve().parent)

# The originals' names of region sets: folder below --input_dir, dimension, regions an image.
REGION_SETS = {
    "coco_detectron_fix_100": ("data/detectron_fix_100", 2048, 100),
    "coco_detectron_fix_144": ("data/detectron_fix_144", 1024, 144),
    "nlvr2_detectron_fix_144": ("data/detectron_fix_144", 1024, 144),
}
DEFAULT_REGIONS = "coco_detectron_fix_100"
OBJECTIVES = {"coco_captions": "words_and_matching", "vqa2": "words", "nlvr2": "words"}

_COMPATIBLE = "accepted for compatibility; ignored"
COMMON_FLAGS = [
    Flag("--model_type", None, choices=("visualbert",), help=_COMPATIBLE),
    Flag("--model_name_or_path", "init", help="weights to start from"),
    Flag(("--batch_size", "--train_batch_size"), "train.batch_size", type=int),
    Flag("--eval_batch_size", "train.eval_batch_size", type=int),
    Flag("--max_seq_length", "max_text", type=int),
    Flag("--learning_rate", "train.optimizer.lr", type=float),
    Flag("--weight_decay", "train.optimizer.weight_decay", type=float),
    Flag("--warmup_proportion", "train.schedule.warmup", type=float),
    Flag("--num_train_epochs", "train.epochs", type=int),
    Flag("--max_steps", "train.max_steps", type=int),
    Flag("--gradient_accumulation_steps", "train.accumulation_steps", type=int),
    Flag("--save_steps", "train.save_every_steps", type=int),
    Flag("--logging_steps", "train.log_every", type=int),
    Flag("--num_workers", "train.workers", type=int),
]


def _names(*names: str) -> list[Flag]:
    """`--task_name` and `--dataset`, which say again what the script already says; and the kind of regions."""
    ignored = [Flag(flag, None, choices=names, help=_COMPATIBLE) for flag in ("--task_name", "--dataset")]
    return [*ignored, Flag("--image_feature_type", None, help="accepted for compatibility; regions.path decides")]


def _regions_below(folder: str) -> Flag:
    """`--input_dir`, whose subfolder `folder` holds the regions."""
    return Flag(
        "--input_dir", lambda path: {"regions.path": f"{path.rstrip('/')}/{folder}"}, help=f"parent of {folder}"
    )


def place_regions(run: Run) -> Run:
    """Turn `--input_dir` and `--image_feature_type` of run_pretrain.py, which only together say where the regions are,
    into settings below those of `--set`.

    The type alone sets dimension and number of regions; the folder alone is taken to hold the type of the original's
    default.
    """
    kind, folder = run.extra.get("image_feature_type"), run.extra.get("input_dir")
    if kind is None and folder is None:
        return run
    below, dimension, count = REGION_SETS[kind or DEFAULT_REGIONS]
    added = [Override("regions.path", f"{folder.rstrip('/')}/{below}", "--input_dir")] if folder else []
    if kind:
        added += [Override("model.visual_dim", dimension, "--image_feature_type")]
        added += [Override("regions.max_regions", count, "--image_feature_type")]
    return replace(run, overrides=(*added, *run.overrides))


def configure(run: Run, command: Command, config_class: Any) -> Any:
    """The configuration of a training; run_pretrain.py finds its regions by two flags together."""
    return (place_regions(run) if command.script == "run_pretrain.py" else run).load(config_class)


def image_file(text: str) -> Path:
    """The path of an image. InputError where Pillow reads none."""
    from PIL import Image

    try:
        with Image.open(text):
            return Path(text)
    except OSError as error:
        raise InputError(f"expected an image file, found {text}: {error}") from error


def load_parts() -> Parts:
    """Import the tasks, and with them Paddle."""
    from visualbert_paddle.checkpoints.weights import load_initial
    from visualbert_paddle.tasks.base import VisualBertRunConfig
    from visualbert_paddle.tasks.entailment import VisualBertEntailment
    from visualbert_paddle.tasks.flickr import VisualBertFlickr
    from visualbert_paddle.tasks.nlvr2 import VisualBertNLVR2
    from visualbert_paddle.tasks.pretrain import VisualBertPretraining
    from visualbert_paddle.tasks.retrieval import VisualBertRetrieval
    from visualbert_paddle.tasks.vcr import VisualBertVCR
    from visualbert_paddle.tasks.vqa import VisualBertVQA

    tasks: dict[str, Any] = {
        "run_pretrain.py": VisualBertPretraining,
        "run_vqa2.py": VisualBertVQA,
        "run_nlvr2.py": VisualBertNLVR2,
        "run_ve.py": VisualBertEntailment,
        "run_vcr.py": VisualBertVCR,
        "run_flickr.py": VisualBertFlickr,
        "run_retrieval.py": VisualBertRetrieval,
    }
    return Parts(tasks, VisualBertRunConfig, load_initial)


PRETRAINING_FLAGS = [
    Flag("--image_feature_type", None, choices=tuple(REGION_SETS), help="which regions of --input_dir"),
    Flag("--input_dir", None, help="parent of data/detectron_fix_100 or data/detectron_fix_144"),
    Flag(
        "--dataset",
        lambda name: {"pretraining.dataset": name, "pretraining.objective": OBJECTIVES[name]},
        choices=tuple(OBJECTIVES),
        help="sets pretraining.dataset and the objective that goes with it",
    ),
    Flag("--task_name", None, help=_COMPATIBLE),
    Flag("--mask_prob", "pretraining.masking", type=float),
    Flag(
        "--annotations",
        lambda folder: {f"{name}.root": folder for name in ("coco", "vqa", "nlvr2")},
        help="parent of the data set's annotations/",
    ),
]
VQA_FLAGS = [
    _regions_below("data/detectron_fix_100"),
    Flag("--annotations", "vqa.root", help="parent of annotations/ and extras/vocabs/"),
    *_names("vqa2"),
]
NLVR2_FLAGS = [
    _regions_below("data/detectron_fix_144"),
    Flag("--annotations", "nlvr2.root", help="parent of annotations/"),
    *_names("nlvr2", "nlvr"),
]
VE_FLAGS = [
    Flag("--regions", "regions.path", help="region features of the images"),
    Flag("--annotations", "snli_ve.root", help="folder of the JSON lines"),
    *_names("ve", "snli_ve"),
]
VCR_FLAGS = [
    Flag(
        "--mode",
        "mode",
        choices=("answer", "rationale", "q_a", "qa_r"),
        help="answer: Q→A; rationale: QA→R (q_a, qa_r: the same, earlier)",
    ),
    Flag("--regions", "regions.path", help="region features of the images, best of the annotated boxes"),
    Flag(("--annotations", "--input_dir"), "vcr.root", help="folder of the JSON lines and vcr1images/"),
    *_names("vcr"),
]
FLICKR_FLAGS = [
    _regions_below("data/detectron_fix_100"),
    Flag("--annotations", "flickr.root", help="folder of Annotations/, Sentences/ and the split lists"),
    *_names("flickr", "flickr30k"),
]
RETRIEVAL_FLAGS = [
    Flag("--regions", "regions.path", help="region features of the images"),
    Flag("--annotations", "retrieval.annotations", help="Karpathy's JSON with the splits"),
    *_names("retrieval"),
]
PREDICT_FLAGS = [
    Flag(("--regions", "--features"), "regions.path", help="region features, where not those of the configuration"),
    *REGION_FLAGS,
    Flag("--phrase", None, help="Flickr30k Entities: words of --text to find in --image"),
    Flag("--annot_id", None, help="VCR: the question of --of_split to answer"),
    Flag("--of_split", None, help="VCR: split of --annot_id (default val)"),
    Flag("--rationale_checkpoint", None, help="VCR: checkpoint for QA→R beside one for Q→A; gives Q→AR"),
    Flag("--picture", None, type=image_file, help="VQA: image file of --image; draws prediction.png"),
    Flag("--allow_unk", None, type=bool, help="VQA: also submit <unk> where it wins, as the authors' code does"),
]

COMMANDS = Package(
    name="visualbert",
    configs=DEFAULT_CONFIGS,
    load_parts=load_parts,
    commands=(
        Command("run_pretrain.py", "pretrain.yaml", PRETRAINING_FLAGS, "Pre-train VisualBERT."),
        Command("run_vqa2.py", "vqa2.yaml", VQA_FLAGS, "Fine-tune and evaluate VisualBERT on VQA v2."),
        Command("run_nlvr2.py", "nlvr2.yaml", NLVR2_FLAGS, "Fine-tune and evaluate VisualBERT on NLVR2."),
        Command("run_ve.py", "ve.yaml", VE_FLAGS, "Fine-tune VisualBERT on SNLI-VE, or on classes of one's own."),
        Command("run_vcr.py", "vcr.yaml", VCR_FLAGS, "Fine-tune and evaluate VisualBERT on VCR."),
        Command("run_flickr.py", "flickr.yaml", FLICKR_FLAGS, "Fine-tune VisualBERT on Flickr30k Entities."),
        Command("run_retrieval.py", "flickr8k.yaml", RETRIEVAL_FLAGS, "Train VisualBERT on image-text retrieval."),
    ),
    flags=COMMON_FLAGS,
    configure=configure,
    predict_flags=PREDICT_FLAGS,
    predict_about="""Predict with a trained VisualBERT: a whole split, or one example. The task is the checkpoint's.

  run_predict.py --checkpoint output/vqa2 --split test                  writes output/vqa2/test/result.json
  run_predict.py --checkpoint output/vqa2 --regions X_COCO/data/detectron_fix_100 \\
      --image COCO_val2014_000000262148 --question "Where is he looking?" --top 5
  run_predict.py --checkpoint output/vqa2 --image dog.jpg --question "What is it?" \\
      --detector frcnn-vg-finetuned --boxes 100 --draw_regions regions.png
  run_predict.py --checkpoint output/nlvr2 --split test1                writes predictions.csv
  run_predict.py --checkpoint output/nlvr2 --image dev-0-0-img0 --second_image dev-0-0-img1 \\
      --sentence "Both images contain a dog."
  run_predict.py --checkpoint output/vcr_qa --rationale_checkpoint output/vcr_qar --split val
  run_predict.py --checkpoint output/flickr --split test                writes phrases.json

The configuration is the one saved with the checkpoint; --config and --set change it.""",
)
