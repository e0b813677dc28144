"""What ALBEF's tasks share: configuration, tokenizer, images, splits, the teacher's pace."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import paddle
from PIL import Image, ImageOps

from albef_paddle.checkpoints.weights import NEW_HEADS
from albef_paddle.config import DECAY_PRESETS, AlbefConfig
from albef_paddle.data.image_check import check_images
from pyutils import distributed
from pyutils.config import setting
from pyutils.config.checks import at_least, at_most
from pyutils.data.images import Images, as_rgb
from pyutils.data.order import TrainOrder
from pyutils.data.transforms import albef_transform
from pyutils.engine.run import RunConfig
from pyutils.engine.split_task import SplitTask, vocabulary_size
from pyutils.engine.task import Batch, Rows, State
from pyutils.errors import InputError, nearest
from pyutils.optim.config import NO_DECAY
from pyutils.text.cleaning import clean_caption
from pyutils.text.sequences import pad
from pyutils.text.tokenizer import load_tokenizer


@dataclass(frozen=True)
class DataConfig:
    """Lists and images; `python -m pyutils.data.prepare` makes the lists."""

    images: list[str] = setting(["data"], "Folders that the lists' image paths are below; looked into in turn.")
    splits: dict[str, list[str]] = setting({}, "Split name -> its JSON lists, read one after the other.")
    flip: bool = setting(
        True, "Mirror training images at random, as the original does though texts say left and right."
    )
    augment: Literal["original", "crop", "none"] = setting(
        "original",
        "Of training images: the task's crop and RandAugment; the crop alone, for data whose texts name "
        "colours; or neither.",
    )
    exif_rotation: bool = setting(False, "Turn images as their cameras noted.")
    blind: bool = setting(False, "Withhold the images (zeros instead): the baseline of what texts alone give away.")
    keep_decoded: bool = setting(False, "Keep decoded images in memory; for sets of small pictures.")
    check_images: bool = setting(True, "Before training, look whether every image of the splits it uses is there.")
    draft_margin: Optional[float] = setting(2.0, "JPEG files may be decoded smaller down to so many times the size.")

    def files(self, split: str) -> list[str]:
        """The lists of `split`. InputError naming the known splits when it is none of them."""
        if split not in self.splits:
            raise InputError(f"data.splits has no split {split!r}: {nearest(split, self.splits)}")
        if not self.splits[split]:
            raise InputError(f"data.splits.{split}: no files are named")
        return self.splits[split]


@dataclass(frozen=True)
class AlbefRunConfig(RunConfig):
    """What the configuration of every ALBEF task has; a task adds its own."""

    model: AlbefConfig = setting(AlbefConfig, "The networks.")
    init_may_miss: list[str] = setting(list(NEW_HEADS), "Regular expressions of names that `init` need not hold.")
    init_text: str = setting("", "BERT whose weights the text encoder starts from where `init` is empty.")
    init_vision: str = setting("", "ViT or DeiT whose weights the vision encoder starts from where `init` is empty.")
    tokenizer: str = setting("bert-base-uncased", "vocab.txt, a folder with one, or a name paddlenlp knows.")
    data: DataConfig = setting(DataConfig, "Lists and images.")
    max_words: int = setting(30, "Words of a text that are kept.")
    alpha: float = setting(0.4, "Weight of the teacher's predictions (momentum distillation).")
    alpha_warmup: bool = setting(True, "Raise alpha from 0 over the first epoch.")
    decay: Literal["default", "original"] = setting(
        "default", "default: vectors, temperature, class token and positions do not decay; original: vectors only."
    )

    def __post_init__(self) -> None:
        at_least(self, 1, "max_words")
        at_least(self, 0, "alpha")
        at_most(self, 1, "alpha")


def with_decay(config: Any) -> Any:
    """`config` with the parameters that `decay` spares; patterns that a file gives itself stay."""
    optimizer = config.train.optimizer
    if tuple(optimizer.no_decay) != NO_DECAY:
        return config
    optimizer = replace(optimizer, no_decay=list(DECAY_PRESETS[config.decay]))
    return replace(config, train=replace(config.train, optimizer=optimizer))


class AlbefTask(SplitTask):
    """Everything but the objective. A subclass reads its splits (`read`), collates, sets `model` and adds the loss.

    `transform`: of training images, see `pyutils.data.transforms.albef_transform`. `image_fields`: fields of a record
    that name images. `least_batch`: pairs that a batch must have on every process, so that there are wrong ones.
    """

    config_class = AlbefRunConfig
    transform = "finetune"
    image_fields: tuple[str, ...] = ("image",)
    least_batch = 1

    def __init__(self, config: AlbefRunConfig):
        tokenizer = load_tokenizer(config.tokenizer, special_in_text=True)
        words = vocabulary_size(config.model.text.vocab_size, tokenizer, "model.text.vocab_size")
        text = replace(config.model.text, vocab_size=words)
        super().__init__(replace(config, model=replace(config.model, text=text)), tokenizer)
        self._step, self._teacher_is_due = 0, True

    @abstractmethod
    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """The loss of a batch and its parts; `alpha`: the teacher's weight at this step."""

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """See Task. The teacher follows the model once an optimizer step, before its first batch."""
        if self._teacher_is_due and hasattr(self.model, "teacher"):
            self.model.teacher.update(self.model)
        self._teacher_is_due = False
        return self.training_loss(batch, self.alpha)

    def before_training(self) -> None:
        """See Task. What would end a training in its midst is told before it begins."""
        data, size = self.config.data, self.config.train.batch_size
        if size < self.least_batch:
            raise InputError(
                f"train.batch_size: expected at least {self.least_batch} on every process, for wrong pairs to learn "
                f"from, found {size}"
            )
        if data.check_images and not data.blind:
            for split in dict.fromkeys(filter(None, ("train", self.held_out))):
                check_images(self.images(split == "train"), self.records(split), self.image_fields, split)

    @property
    def held_out(self) -> str:
        """The split that is evaluated while training; empty: none."""
        train = self.config.train
        return train.eval_split if train.evaluates else ""

    def after_step(self, step: int) -> None:
        """See Task."""
        self._step, self._teacher_is_due = step, True

    def state_dict(self) -> State:
        """See Task."""
        return {"step": self._step}

    def load_state_dict(self, state: State) -> None:
        """See Task."""
        self._step = int(state["step"])

    @property
    def alpha(self) -> float:
        """Weight of the teacher at the present step: in the first epoch it rises with the steps (section 3.3)."""
        config = self.config
        if not config.alpha_warmup or self._step >= self.steps_per_epoch:
            return config.alpha
        return config.alpha * self._step / self.steps_per_epoch

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        train, world, rank = self.config.train, distributed.world_size(), distributed.rank()
        records = len(self.train_records())
        return TrainOrder(records, train.batch_size, world, rank, train.accumulation_steps, train.seed).steps_per_epoch

    def images(self, training: bool) -> Images:
        """The image source, transformed at random while training."""
        return self._training_images if training else self._plain_images

    @cached_property
    def _training_images(self) -> Images:
        return self._source(self.transform)

    @cached_property
    def _plain_images(self) -> Images:
        return self._source("evaluate")

    def _source(self, transform: str) -> Images:
        data = self.config.data
        made = albef_transform(transform, self.config.model.vision.image_size, data.flip)
        if data.augment != "original":
            made = replace(made, augment=None, crop_scale=made.crop_scale if data.augment == "crop" else None)
        kind = BlindImages if data.blind else KeptImages if data.keep_decoded else Images
        return kind(data.images, made, data.draft_margin, data.exif_rotation)

    def caption(self, text: str, max_tokens: int | None = None) -> list[int]:
        """`[CLS]` and the ids of a cleaned text; there is no `[SEP]`, as in the original. At most `max_tokens` ids,
        never more than the position table has."""
        return self.ids(clean_caption(text, self.config.max_words), max_tokens)

    def ids(self, text: str, max_tokens: int | None = None) -> list[int]:
        """`[CLS]` and the ids of `text` as it is, cut as in `caption`."""
        positions = self.config.model.text.max_positions
        most = positions if max_tokens is None else min(max_tokens, positions)
        return [self.tokenizer.cls, *self.tokenizer.encode(text, max_words=most - 1)]

    def text_arrays(self, rows: Sequence[Sequence[int]], prefix: str = "") -> dict[str, np.ndarray]:
        """`input_ids` and `text_mask`, `[b, t]` int64 each, t the longest row's; `prefix` stands before the names."""
        return {
            (f"{prefix}_ids" if prefix else "input_ids"): pad(rows, self.tokenizer.pad),
            (f"{prefix}_mask" if prefix else "text_mask"): pad([[1] * len(row) for row in rows], 0),
        }

    def read_image(self, file: str) -> paddle.Tensor:
        """One image file as the network takes it, `[1, 3, size, size]`. InputError for a missing or damaged one."""
        data = self.config.data
        transform = albef_transform("evaluate", self.config.model.vision.image_size)
        source = Images([], transform, data.draft_margin, data.exif_rotation)
        return paddle.to_tensor(source.read_file(Path(file).expanduser())[None])

    def check_example(self, example: Mapping[str, Any], output: Path) -> None:
        """See SplitTask: the image files must exist."""
        for flag in ("image", "second_image"):
            if flag in example and not Path(example[flag]).expanduser().is_file():
                raise InputError(f"--{flag} {example[flag]}: no such image file")

    def tensors(self, arrays: dict[str, np.ndarray]) -> Batch:
        """A batch that did not come through a loader."""
        return {name: paddle.to_tensor(value) for name, value in arrays.items()}


def probabilities(names: Sequence[str], logits: paddle.Tensor) -> Rows:
    """The softmax of `logits` `[n]` as rows to print, most probable of `names` first."""
    shares = paddle.nn.functional.softmax(logits.astype("float32"), axis=-1).numpy()
    order = np.argsort(-shares, kind="stable")
    return [{"verdict": names[number], "probability": f"{shares[number]:.4f}"} for number in order]


class KeptImages(Images):
    """Each file is decoded once, in full, and kept: width · height · 3 bytes an image in every data worker."""

    @cached_property
    def _decoded(self) -> dict[Path, Image.Image]:
        return {}

    def _pixels(self, path: Path, rng: np.random.Generator) -> np.ndarray:
        if path not in self._decoded:
            with Image.open(path) as image:
                turned = ImageOps.exif_transpose(image) if self.exif_rotation else image
                self._decoded[path] = as_rgb(turned).copy()
        image = self._decoded[path]
        return self.transform.scale(image, self.transform.crop(image.width, image.height, rng))


class BlindImages(Images):
    """Zeros for every image."""

    def read(self, key: str, rng: np.random.Generator | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """`[3, H, W]` float32 zeros, written to `out` when given; no file is read."""
        out = np.empty(self.shape, dtype=np.float32) if out is None else out
        out[...] = 0.0
        return out
