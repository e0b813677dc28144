"""The base of ALBEF's tasks: configuration, tokenizer, images, splits, and the momentum teacher's updates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import numpy as np
import paddle
from PIL import Image, ImageOps

from albef_paddle.checkpoints.weights import NEW_HEADS
from albef_paddle.config import DECAY_PRESETS, AlbefConfig
from albef_paddle.data.image_check import check_images
from pyutils import distributed
from pyutils.config import setting
from pyutils.config.checks import at_least, at_most
from pyutils.config.renamed import Renamed
from pyutils.data.given_images import GivenImages
from pyutils.data.images import Images, as_rgb
from pyutils.data.order import TrainOrder
from pyutils.data.transforms import albef_transform
from pyutils.engine.run import RunConfig
from pyutils.engine.split_task import SplitTask, vocabulary_size
from pyutils.engine.task import Batch, State
from pyutils.errors import InputError, nearest
from pyutils.optim.config import NO_DECAY
from pyutils.text.cleaning import clean_caption
from pyutils.text.sequences import pad
from pyutils.text.tokenizer import load_tokenizer


@dataclass(frozen=True)
class DataConfig:
    """Lists and images; `python -m pyutils.data.prepare` makes the lists."""

    images: list[str] = setting(["data"], "Directories that the lists' image paths are relative to, searched in order.")
    splits: dict[str, list[str]] = setting({}, "Split name -> its JSON lists, concatenated.")
    flip: bool = setting(
        True,
        "Random horizontal flip of training images (as in the original, although captions mention left and right).",
    )
    augment: Literal["original", "crop", "none"] = setting(
        "original",
        "Augmentation of training images: the task's crop and RandAugment; the crop alone, for data whose texts name "
        "colours; or none.",
    )
    exif_rotation: bool = setting(False, "Apply the EXIF orientation.")
    keep_decoded: bool = setting(False, "Keep decoded images in memory; for data sets of small images.")
    check_images: bool = setting(True, "Check before training that every image of the splits it uses exists.")
    draft_margin: Optional[float] = setting(
        2.0, "Decode JPEG files at a smaller scale, at least this multiple of the input size."
    )

    def files(self, split: str) -> list[str]:
        """Return the lists of `split`. Raises InputError naming the known splits if there are none."""
        if not self.splits.get(split):
            known = [name for name, files in self.splits.items() if files]
            raise InputError(f"data.splits has no split {split!r} with files: {nearest(split, known)}")
        return self.splits[split]


@dataclass(frozen=True)
class AlbefRunConfig(RunConfig):
    """Configuration shared by all ALBEF tasks."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {
        "data.blind": Renamed("image_input", {True: "withheld", False: "shown"})
    }

    model: AlbefConfig = setting(AlbefConfig, "The networks.")
    init_may_miss: list[str] = setting(list(NEW_HEADS), "Regular expressions of names that `init` may lack.")
    init_text: str = setting("", "BERT weights of the text encoder, loaded over `init`.")
    init_vision: str = setting("", "ViT or DeiT weights of the vision encoder, loaded over `init`.")
    tokenizer: str = setting("bert-base-uncased", "vocab.txt, a directory with one, or a name known to paddlenlp.")
    data: DataConfig = setting(DataConfig, "Lists and images.")
    max_words: int = setting(30, "Maximum words of a text.")
    alpha: float = setting(0.4, "Weight of the teacher's predictions (momentum distillation).")
    alpha_warmup: bool = setting(True, "Raise alpha from 0 over the first epoch.")
    decay: Literal["default", "original"] = setting(
        "default",
        "No weight decay for: vectors, temperature, class token, positions (default); vectors only (original).",
    )

    def __post_init__(self) -> None:
        if self.image_input == "shuffled":
            raise InputError("image_input: shuffled is for region features; use withheld")
        at_least(self, 1, "max_words")
        at_least(self, 0, "alpha")
        at_most(self, 1, "alpha")


def with_decay(config: Any) -> Any:
    """Set `no_decay` of the optimizer from the preset `decay`, unless the configuration sets it itself."""
    optimizer = config.train.optimizer
    if tuple(optimizer.no_decay) != NO_DECAY:
        return config
    optimizer = replace(optimizer, no_decay=list(DECAY_PRESETS[config.decay]))
    return replace(config, train=replace(config.train, optimizer=optimizer))


class AlbefTask(SplitTask):
    """Everything but the objective. A subclass reads its splits (`read`), collates, sets `model` and adds the loss.

    transform: of training images, see `pyutils.data.transforms.albef_transform`. image_fields: record fields that name
    images. least_batch: minimum pairs per batch and process, so that there are negatives.
    """

    config_class = AlbefRunConfig
    visual_input = "images"
    transform = "finetune"
    image_fields: tuple[str, ...] = ("image",)
    least_batch = 1

    def __init__(self, config: AlbefRunConfig):
        tokenizer = load_tokenizer(config.tokenizer, special_in_text=True)
        words = vocabulary_size(config.model.text.vocab_size, tokenizer, "model.text.vocab_size")
        text = replace(config.model.text, vocab_size=words)
        super().__init__(replace(config, model=replace(config.model, text=text)), tokenizer)
        self._step, self._teacher_is_due = 0, True
        self._images: dict[bool, Images] = {}

    @abstractmethod
    def training_loss(self, batch: Batch, alpha: float) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """Compute the loss of a batch and its parts; `alpha`: the teacher's weight at this step."""

    def loss(self, batch: Batch) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """Update the teacher once per optimizer step, before its first batch, and compute the training loss."""
        if self._teacher_is_due and hasattr(self.model, "teacher"):
            self.model.teacher.update(self.model)
        self._teacher_is_due = False
        return self.training_loss(batch, self.alpha)

    def before_training(self) -> None:
        """Fail fast on problems that would otherwise surface mid-training: missing labels or images, a small batch."""
        data, size = self.config.data, self.config.train.batch_size
        super().before_training()
        if size < self.least_batch:
            raise InputError(
                f"train.batch_size: expected at least {self.least_batch} on every process (for negatives), found {size}"
            )
        if data.check_images and self.config.image_input != "withheld":
            for split in dict.fromkeys(filter(None, ("train", self.held_out))):
                check_images(self.images(split == "train"), self.records(split), self.image_fields, split)

    def is_cut(self, text: str, pieces: int) -> bool:
        words = len(clean_caption(text).split(" "))
        return words > self.config.max_words or pieces + len(("[CLS]",)) > self.config.model.text.max_positions

    @property
    def held_out(self) -> str:
        """Split evaluated during training; empty: none."""
        train = self.config.train
        return train.eval_split if train.evaluates else ""

    def after_step(self, step: int) -> None:
        self._step, self._teacher_is_due = step, True

    def state_dict(self) -> State:
        return {"step": self._step}

    def load_state_dict(self, state: State) -> None:
        self._step = int(state["step"])

    @property
    def alpha(self) -> float:
        """Weight of the teacher at the current step: a linear warm-up in the first epoch (section 3.3)."""
        config = self.config
        if not config.alpha_warmup or self._step >= self.steps_per_epoch:
            return config.alpha
        return config.alpha * self._step / self.steps_per_epoch

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        train, world, rank = self.config.train, distributed.world_size(), distributed.rank()
        records = len(self.train_records())
        return TrainOrder(records, train.batch_size, world, rank, train.accumulation_steps, train.seed).steps_per_epoch

    def images(self, training: bool) -> Images:
        """Return the image source, with random transforms for training."""
        if training not in self._images:
            data = self.config.data
            name = self.transform if training else "evaluate"
            transform = albef_transform(name, self.config.model.vision.image_size, data.flip)
            if data.augment != "original":
                crop = transform.crop_scale if data.augment == "crop" else None
                transform = replace(transform, augment=None, crop_scale=crop)
            kept = KeptImages if data.keep_decoded else Images
            kind = BlindImages if self.config.image_input == "withheld" else kept
            self._images[training] = kind(data.images, transform, data.draft_margin, data.exif_rotation)
        return self._images[training]

    def caption(self, text: str, max_tokens: int | None = None) -> list[int]:
        """Clean a text and encode `[CLS] text` (no `[SEP]`, as in the original), truncated to `max_tokens` and to the
        number of position embeddings."""
        return self.ids(clean_caption(text, self.config.max_words), max_tokens)

    def ids(self, text: str, max_tokens: int | None = None) -> list[int]:
        """Encode `[CLS] text` without cleaning, truncated as in `caption`."""
        positions = self.config.model.text.max_positions
        most = positions if max_tokens is None else min(max_tokens, positions)
        return [self.tokenizer.cls, *self.tokenizer.encode(text, max_words=most - 1)]

    def text_arrays(self, rows: Sequence[Sequence[int]], prefix: str = "") -> dict[str, np.ndarray]:
        """Pad rows to `input_ids` and `text_mask`, or `prefix`_ids and `prefix`_mask, `[b, t]` int64 each."""
        return {
            (f"{prefix}_ids" if prefix else "input_ids"): pad(rows, self.tokenizer.pad),
            (f"{prefix}_mask" if prefix else "text_mask"): pad([[1] * len(row) for row in rows], 0),
        }

    @classmethod
    def for_examples(cls, config: Any) -> Any:
        return replace(config, image_input="shown", data=replace(config.data, images=[]))

    def hold(self, images: Sequence[Any], names: Sequence[str]) -> list[str]:
        data = self.config.data
        transform = albef_transform("evaluate", self.config.model.vision.image_size)
        self._images[False] = source = GivenImages(images, transform, data.draft_margin, data.exif_rotation)
        return source.keys

    def example_images(self, images: Sequence[str]) -> Sequence[str]:
        """Hold the image files of an example."""
        return self.hold([Path(image).expanduser() for image in images], images)

    def pixels(self, keys: Sequence[str]) -> paddle.Tensor:
        """Read images, `[len(keys), 3, size, size]` float32. Raises InputError for a missing or damaged one."""
        return paddle.to_tensor(self.images(False).read_batch(keys))

    def captions(self, texts: Sequence[str], max_tokens: int | None = None) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Clean and encode texts: ids and mask `[texts, t]` int64."""
        arrays = self.tensors(self.text_arrays([self.caption(text, max_tokens) for text in texts]))
        return arrays["input_ids"], arrays["text_mask"]

    def check_example(self, example: Mapping[str, Any], output: Path) -> None:
        """Raise InputError if an image file does not exist."""
        for flag in ("image", "second_image"):
            if flag in example and not Path(example[flag]).expanduser().is_file():
                raise InputError(f"--{flag} {example[flag]}: no such image file")

    def tensors(self, arrays: dict[str, np.ndarray]) -> Batch:
        """Convert arrays to a batch, for use without a loader."""
        return {name: paddle.to_tensor(value) for name, value in arrays.items()}


def softmax(logits: paddle.Tensor) -> np.ndarray:
    """Return the probabilities of `logits` over the last axis, float32."""
    return paddle.nn.functional.softmax(logits.astype("float32"), axis=-1).numpy()


class KeptImages(Images):
    """Decode each file once, at full size, and keep it: width · height · 3 bytes per image in every data worker."""

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
        """Return `[3, H, W]` float32 zeros, written to `out` if given; no file is read."""
        out = np.empty(self.shape, dtype=np.float32) if out is None else out
        out[...] = 0.0
        return out
