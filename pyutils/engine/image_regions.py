"""Image files as input of models that read regions: extracted as the training features were."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from pyutils.config import load_config
from pyutils.console import say
from pyutils.data.features.inputs import RegionSourceConfig
from pyutils.data.features.packed import DTYPES, PackedWriter
from pyutils.data.features.spec import UNKNOWN_DETECTOR, FeatureSpec, RegionFeatures
from pyutils.data.features.windows import WindowDescriber, WindowedImages
from pyutils.errors import InputError
from pyutils.regions.choice import DRAW_FLAG, flags_text, open_extractor, parse_extractor

if TYPE_CHECKING:
    from pyutils.regions.extractors import Extractor

SPEC_FILE = "regions.json"
"""Description of the training features in a checkpoint folder."""
IMAGE_FLAGS = ("image", "second_image")


def saved_spec(folder: Path) -> Optional[FeatureSpec]:
    """Return the description of the features that the checkpoint in `folder` was trained on; None if it has none."""
    file = folder / SPEC_FILE
    return load_config(FeatureSpec, file) if file.is_file() else None  # JSON is YAML


class RecordedExtractor:
    """Describes images as the training features of the checkpoint in `folder` were; opened at the first image."""

    def __init__(self, trained: FeatureSpec, folder: Path) -> None:
        self.trained, self.folder = trained, folder

    @cached_property
    def extractor(self) -> Extractor:
        """The extractor that the checkpoint names. Raises InputError if it is not there, or is another one."""
        found = open_extractor(parse_extractor(self.trained.extractor, str(self.folder / SPEC_FILE)))
        check_trained(found.spec, self.trained, self.folder)
        return found

    def describe(self, images: Sequence[np.ndarray]) -> list[RegionFeatures]:
        """Return the regions of RGB images `[h, w, 3]` uint8 of one size, rounded as the stored features are."""
        regions = self.extractor.describe(images)
        dtype = _dtype(self.trained)
        return [replace(own, features=own.features.astype(dtype).astype(np.float32)) for own in regions]


def region_describer(config: Any, checkpoint: Path) -> Any:
    """Return what describes images for the checkpoint in a folder, with its `config`; None if it names nothing."""
    section = getattr(config, "regions", None)
    if section is not None and section.format == WindowedImages.format:
        return WindowDescriber()
    trained = saved_spec(checkpoint)
    return RecordedExtractor(trained, checkpoint) if trained and trained.extractor else None


def say_unread(before: Any, after: Any) -> None:
    """Log the sources of annotated boxes that `before` has and `after` has not: the model is asked without them."""
    for entry in fields(before):
        source = getattr(before, entry.name)
        annotated = isinstance(source, RegionSourceConfig) and entry.name != "regions"
        if annotated and source.path and not getattr(after, entry.name).path:
            say(f"{entry.name}: trained with regions of annotated boxes too ({source.path}); not read for given images")


@contextmanager
def extracted_regions(config: Any, extra: Mapping[str, Any], checkpoint: Path) -> Iterator[Any]:
    """Yield `config` with the regions of the image files that `extra` names; unchanged where it names entries of a
    store.

    An image is a file if --detector or --backbone is given, or if it exists and the checkpoint's description names an
    extractor. Its regions are in a temporary store under the name as typed.

    Args:
        config: the task's configuration. extra: values of `run_predict.py`. checkpoint: its folder.

    Raises:
        InputError: no such image, or an extractor other than that of the training features.
    """
    trained = saved_spec(checkpoint)
    images = {name: str(extra[name]) for name in IMAGE_FLAGS if name in extra}
    typed = flags_text(extra)
    if not images:
        yield config
        return
    if not typed and not (trained and trained.extractor and all(Path(image).is_file() for image in images.values())):
        if DRAW_FLAG in extra:
            raise InputError(f"--{DRAW_FLAG} {extra[DRAW_FLAG]}: needs an image file, and --detector or --backbone")
        yield config
        return
    for name, image in images.items():
        if not Path(image).is_file():
            raise InputError(f"--{name} {image}: no such file; --detector and --backbone describe image files")
    if typed:
        extractor = open_extractor(parse_extractor(typed, "run_predict.py"))
        if trained is not None:
            check_trained(extractor.spec, trained, checkpoint)
    else:
        assert trained is not None
        extractor = RecordedExtractor(trained, checkpoint).extractor
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), extractor, dict.fromkeys(images.values()), _dtype(trained), extra.get(DRAW_FLAG))
        reading = _reading(config, folder)
        say_unread(config, reading)
        yield reading


def _dtype(trained: Optional[FeatureSpec]) -> str:
    """Return the type that features are rounded to: that of the training features."""
    return trained.dtype if trained and trained.dtype in DTYPES else "float32"


def check_trained(found: FeatureSpec, trained: FeatureSpec, checkpoint: Path) -> None:
    """Raise InputError, naming both, unless the extractor `found` is the one of the training features.

    A name of a detector is compared where both have one; weights and settings where an extractor of ours made both.
    """
    names = ["dimension"]
    if UNKNOWN_DETECTOR not in (found.detector, trained.detector):
        names.append("detector")
    if trained.extractor:
        names.append("provenance")
    for name in names:
        here, there = getattr(found, name), getattr(trained, name)
        if here != there:
            raise InputError(
                f"{checkpoint / SPEC_FILE}: trained on features of {name} '{there}', this extractor gives "
                f"'{here}'; give the flags {trained.extractor or 'of the training features'}"
            )


def _write(store: Path, extractor: Extractor, images: Mapping[str, Any], dtype: str, drawing: Optional[str]) -> None:
    """Write the regions of `images` (files) to a packed store; draw those of the first."""
    from pyutils.regions.extract import read_image

    with PackedWriter(store, replace(extractor.spec, dtype=dtype, max_regions=None), extractor.classes) as writer:
        for image in images:
            pixels = read_image(Path(image))
            regions, labels = extractor.labelled(pixels)
            if not len(regions):
                raise InputError(f"{image}: {extractor.spec.detector} found no region")
            writer.add(image, regions)
            say(f"{image}: {len(regions)} regions of {extractor.spec.detector}")
            if drawing:
                from pyutils.visualize.boxes import draw_boxes

                assert regions.boxes is not None
                say(f"drawn: {draw_boxes(pixels, regions.boxes, labels, Path(drawing))}")
                drawing = None


def _reading(config: Any, store: str) -> Any:
    """`config` with the store as its regions; other region sources, of annotated boxes, are left out."""
    changed = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, RegionSourceConfig):
            changed[entry.name] = replace(value, path=store if entry.name == "regions" else "", format="")
    return replace(config, **changed)
