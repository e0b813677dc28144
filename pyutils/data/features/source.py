"""`RegionSource`: the interface of all readers of region features; it assembles batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from pyutils.data.boxes import box_problem
from pyutils.data.features.keys import KeyIndex
from pyutils.data.features.spec import FeatureSpec, RegionBatch, RegionFeatures, read_spec
from pyutils.errors import InputError

_SAMPLED = 8


class Entry(NamedTuple):
    """An image found but not decoded yet, so that a batch can be allocated first and each image decoded in place."""

    regions: int
    """Number of regions."""
    decode: Callable[[], RegionFeatures]
    """Returns the arrays as stored (any float type, possibly views of a file); `features` has `regions` rows."""


class RegionSource(ABC):
    """Region features of many images, found by key (see `KeyIndex`).

    Sources open their files lazily, once per process, and can be pickled and forked. Reading a damaged entry, or one
    with values that are not finite in float32, raises InputError naming file and key.
    """

    format: ClassVar[str]
    """Name of the format, as `open_regions` takes it."""
    checks_values: ClassVar[bool] = True
    """Check that values are finite when they are read; False for formats that store only finite ones."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __getstate__(self) -> dict[str, Any]:
        """Everything that was read from files is read again by the receiver."""
        kind = type(self)
        return {
            name: value
            for name, value in self.__dict__.items()
            if not isinstance(getattr(kind, name, None), cached_property)
        }

    @abstractmethod
    def _load_index(self) -> KeyIndex:
        """The keys; called once."""

    @abstractmethod
    def _locate(self, position: int) -> Entry:
        """The entry at a position of the index."""

    @cached_property
    def index(self) -> KeyIndex:
        """The sorted keys."""
        return self._load_index()

    @cached_property
    def spec(self) -> FeatureSpec:
        """Description of the features: of `spec.json` or the store, else inferred from the first entry."""
        return read_spec(self.path) or self._infer_spec()

    def _infer_spec(self) -> FeatureSpec:
        """Infer a spec from the first entry; detector and largest number of regions stay unknown."""
        if not len(self):
            raise InputError(f"{self.path} holds no region features")
        first = self._locate(0).decode()
        return FeatureSpec(
            dimension=int(first.features.shape[1]),
            box_format="none" if first.boxes is None else "xyxy_pixels",
            has_class_probs=first.class_probs is not None,
            dtype=str(first.features.dtype),
        )

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, key: str | int) -> bool:
        return bool(self.index.find([key])[0] >= 0)

    def __iter__(self) -> Iterator[str]:
        """All keys, sorted as bytes."""
        return iter(self.index)

    def missing(self, keys: Iterable[str | int]) -> list[str]:
        """List those of `keys` that are missing, in their order, each once."""
        wanted = list(dict.fromkeys(str(key) for key in keys))
        return [key for key, position in zip(wanted, self.index.find(wanted)) if position < 0]

    def check(
        self,
        dimension: int | None = None,
        detector: str | None = None,
        boxes: bool = False,
        class_probs: bool = False,
    ) -> None:
        """Raise InputError when these are not the features a model expects, see `FeatureSpec.check`."""
        self.spec.check(self.path, dimension, detector, boxes, class_probs)

    def check_boxes(self) -> None:
        """Raise InputError if the boxes of most of a few evenly spaced images are not pixels of the image."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(len(self), _SAMPLED)).round().astype(int)).tolist()
        found = []
        for row in rows:
            with suppress(InputError):  # a damaged entry is an error when its image is needed
                stored = self._locate(row).decode()
                if stored.boxes is not None:
                    found.append((self.index.name(row), box_problem(stored.boxes, stored.width, stored.height)))
        wrong = [(key, problem) for key, problem in found if problem]
        if 2 * len(wrong) > len(found):
            raise InputError(
                f"{self.path}, image '{wrong[0][0]}' and {len(wrong) - 1} of {len(found) - 1} others looked at: "
                f"{wrong[0][1]}; write left, top, right, bottom in pixels beside the size of the image"
            )

    def _positions(self, keys: Sequence[str | int]) -> np.ndarray:
        """Find the positions of keys. Raises InputError for a missing one."""
        positions = self.index.find(keys)
        absent = np.flatnonzero(positions < 0)
        if len(absent):
            raise InputError(f"{self.path} has no features for image '{keys[absent[0]]}' (it has {len(self)} images)")
        return positions

    def _entries(self, keys: Sequence[str | int]) -> list[Entry]:
        """The entries of `keys`."""
        return [self._locate(position) for position in self._positions(keys)]

    def __getitem__(self, key: str | int) -> RegionFeatures:
        """Read one image as new float32 arrays. Raises InputError when it is missing or damaged."""
        stored = self.stored(key)
        self._check_width(stored, key)

        def copied(array: np.ndarray | None, name: str) -> np.ndarray | None:
            if array is None:
                return None
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.array(array, dtype=np.float32)
            self._check_finite(values, key, name)
            return values

        features = copied(stored.features if len(stored) else np.empty((0, self.spec.dimension)), "features")
        assert features is not None
        probs = copied(stored.class_probs, "class probabilities")
        return RegionFeatures(features, copied(stored.boxes, "boxes"), stored.width, stored.height, probs)

    def read_batch(
        self,
        keys: Sequence[str | int],
        max_regions: int | None = None,
        multiple: int = 1,
        global_region: bool = False,
        class_probs: bool = False,
    ) -> RegionBatch:
        """Read several images into one zero-padded array.

        Args:
            keys: one per row; a key may repeat.
            max_regions: keep an image's first `max_regions` regions.
            multiple: round the number of rows up to a multiple, for tensor cores.
            global_region: prepend the mean of all regions of the image (before cutting) with the whole image as its
                box (ViLBERT, arXiv 1908.02265, section 3.1). It does not count towards `max_regions`.
            class_probs: fill `RegionBatch.class_probs` too.

        Raises:
            InputError: a key is missing, or an entry is damaged, has features that are not finite in float32, or has
                another dimension than the spec.
        """
        entries = self._entries(keys)
        lead = int(global_region)
        counts = [entry.regions if max_regions is None else min(entry.regions, max_regions) for entry in entries]
        longest = lead + max(counts, default=0)
        rows = max(1, -(-longest // multiple) * multiple)
        # Not zeroed: every image writes its own rows and clears the rest.
        features = np.empty((len(entries), rows, self.spec.dimension), dtype=np.float32)
        boxes = np.zeros((len(entries), rows, 4), dtype=np.float32)
        sizes = np.zeros((len(entries), 2), dtype=np.int64)
        probs: list[np.ndarray | None] = []
        for row, (key, entry, count) in enumerate(zip(keys, entries, counts)):
            stored = entry.decode()
            self._check_width(stored, key)
            if len(stored) != entry.regions:
                raise InputError(
                    f"{self.path}, image '{key}': {entry.regions} regions announced, {len(stored)} found: the entry is "
                    "damaged, or was replaced while it was read"
                )
            sizes[row] = stored.width, stored.height
            _write_features(features[row], stored.features, count, lead)
            _write_boxes(boxes[row], stored, count, lead)
            # The mean is finite only if all regions are, and it is much shorter to check.
            self._check_finite(features[row, : lead or count], key, "features")
            probs.append(stored.class_probs)
        mask = (np.arange(rows) < np.array(counts, dtype=np.int64)[:, None] + lead).astype(np.int64)
        stacked = self._stack_probs(keys, probs, counts, rows, lead) if class_probs else None
        return RegionBatch(features, mask, boxes, sizes, stacked)

    def _check_width(self, stored: RegionFeatures, key: str | int) -> None:
        """Raise InputError when an entry has another dimension than the spec; without regions it has none."""
        if len(stored) and (stored.features.ndim != 2 or stored.features.shape[1] != self.spec.dimension):
            raise InputError(
                f"{self.path}, image '{key}': expected [regions, {self.spec.dimension}] features, found "
                f"{list(stored.features.shape)}"
            )

    def _check_finite(self, values: np.ndarray, key: str | int, name: str) -> None:
        """Raise InputError when one of `values` (float32, any shape) is NaN or infinite. Costs one sum."""
        if not self.checks_values:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values.sum()) or np.isfinite(values).all():
                return
        raise InputError(
            f"{self.path}, image '{key}': the {name} hold NaN, infinity or numbers too large for float32. `python -m "
            f"pyutils.data.features verify {self.path}` lists all such images: extract their features again, or leave "
            "them out"
        )

    def stored(self, key: str | int) -> RegionFeatures:
        """Read one image as stored: original types, unchecked values."""
        return self._entries([key])[0].decode()

    def _stack_probs(
        self, keys: Sequence[str | int], probs: list[np.ndarray | None], counts: list[int], rows: int, lead: int
    ) -> np.ndarray:
        """[batch, rows, classes] float32 class probabilities, the global region's row zero."""
        for key, own in zip(keys, probs):
            if own is None:
                raise InputError(f"{self.path}, image '{key}': class probabilities are missing")
        given = [own for own in probs if own is not None]
        stacked = np.zeros((len(given), rows, given[0].shape[1] if given else 0), dtype=np.float32)
        for row, (key, rows_of_key, count) in enumerate(zip(keys, given, counts)):
            with np.errstate(over="ignore", invalid="ignore"):
                stacked[row, lead : lead + count] = rows_of_key[:count]
            self._check_finite(stacked[row], key, "class probabilities")
        return stacked


def _write_features(out: np.ndarray, stored: np.ndarray, count: int, lead: int) -> None:
    """Fill one image's rows: the global mean if `lead` is 1, `count` regions, zeros."""
    body = out[lead : lead + count]
    if count:
        copy_as_float32(body, stored[:count])
    if lead:
        regions = body if count == len(stored) else stored.astype(np.float32, copy=False)
        np.sum(regions, axis=0, out=out[0])
        out[0] /= max(1, len(stored))
    out[lead + count :] = 0


def _write_boxes(out: np.ndarray, stored: RegionFeatures, count: int, lead: int) -> None:
    """Fill one image's boxes: the whole image if `lead` is 1, then `count` boxes; `out` is zero before."""
    if lead:
        out[0, 2:] = stored.width, stored.height
    if stored.boxes is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            out[lead : lead + count] = stored.boxes[:count]


_BLOCK = 32 * 1024  # values converted together: the block stays in the processor's cache over all passes
_WIDEN = np.float32(2.0**112)
_DROP_SIGN_COPIES = np.int32(-0x70000001)  # 0x8FFFFFFF
_SIGN, _INFINITY, _NEGATIVE_INFINITY = 0x8000, 0x7C00, 0xFC00  # bit patterns of a half; NaN is above its infinity


def copy_as_float32(out: np.ndarray, stored: np.ndarray) -> None:
    """Copy `stored` [rows, dimension] of any float type into `out` [rows, dimension] float32.

    float16 is widened bit by bit: shifting the 15 lower bits of a half into place gives its value times 2^-112 as a
    float, subnormals included, so one exact multiplication finishes. NumPy's own conversion also handles infinities and
    NaN, but takes six to ten times as long; it converts the blocks that have them. A float64 beyond the range of
    float32 becomes infinite, which `RegionSource` refuses.
    """
    if stored.dtype != np.float16 or not (out.flags.c_contiguous and stored.flags.c_contiguous) or not stored.size:
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(out, stored, casting="same_kind")
        return
    halves, floats = stored.reshape(-1), out.reshape(-1)
    for start in range(0, len(floats), _BLOCK):
        _widen(floats[start : start + _BLOCK], halves[start : start + _BLOCK])


def _widen(floats: np.ndarray, halves: np.ndarray) -> None:
    """Convert one block."""
    largest = int(np.max(halves.view(np.uint16)))  # as unsigned numbers, negative halves are above the positive ones
    signed = largest >= _SIGN
    finite = largest < (_NEGATIVE_INFINITY if signed else _INFINITY)
    if not finite or (signed and int(np.max(halves.view(np.int16))) >= _INFINITY):
        np.copyto(floats, halves)
        return
    bits = floats.view(np.int32)
    bits[...] = halves.view(np.int16)
    np.left_shift(bits, 13, out=bits)
    if signed:  # widening to 32 bits copied the sign into the bits below it
        np.bitwise_and(bits, _DROP_SIGN_COPIES, out=bits)
    np.multiply(floats, _WIDEN, out=floats)


class HeldRegions(RegionSource):
    """Regions that are already in memory, one entry per image; `keys` lists their keys.

    An image may occur twice. `names` (one per image) are for messages.
    """

    format = "held"

    def __init__(self, images: Sequence[RegionFeatures], names: Sequence[str]) -> None:
        super().__init__(f"pairs {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")
        self._images = list(images)
        width = len(str(len(self._images)))
        # Keys are numbers of one width, so that sorting them as text keeps the order.
        self.keys = [f"#{number:0{width}d}" for number in range(len(self._images))]

    def _load_index(self) -> KeyIndex:
        return KeyIndex.sort(self.keys, str(self.path))[0]

    def _locate(self, position: int) -> Entry:
        image = self._images[position]
        return Entry(len(image), lambda: image)
