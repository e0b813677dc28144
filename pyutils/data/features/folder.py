"""Folders with one file per image, as detectron's extraction scripts write them, and the same files in one `.th` file.

| file | content |
|---|---|
| `NAME.npy` with `NAME_info.npy` | float array [regions, dimension]; dict: bbox, cls_prob, image size (MMF) |
| `NAME.npy` holding a dict | features, bbox, cls_prob, num_boxes, image_width, image_height (MMF) |
| `NAME.npz`, `NAME.jpg.npz` | box_features, cls_boxes, max_conf (VisualBERT's authors) |
| `NAME.th` | `torch.save` of {file name: (features, boxes, confidence)} (VisualBERT's authors) |

Files may be in sub-folders of any depth (`fc6/vqa/train2014/…`); an image's key is the file's stem.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from pyutils.data.features.keys import KeyIndex, as_bytes, stem_of
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionFeatures
from pyutils.errors import InputError
from pyutils.formats.safe_pickle import load_npy
from pyutils.weights import read_object

_INFO = "_info.npy"
_AUTHORS_REGIONS = 144


class FolderRegions(RegionSource):
    """Region features in one `.npy` or `.npz` file an image.

    The folder is walked once, when the first key is looked up; the index keeps a few bytes an image.
    """

    format = "folder"

    @cached_property
    def _files(self) -> tuple[KeyIndex, np.ndarray, np.ndarray, np.ndarray, list[str], list[str]]:
        """(index, has_info [n], folder [n], suffix [n], folder names, suffixes), all in the order of the index."""
        names: list[Any] = []
        infos: set[Any] = set()
        folders: dict[Any, Any] = {}
        suffixes: dict[Any, Any] = {}
        places: list[tuple[int, int]] = []
        for folder, name in _walk(self.path):
            number = folders.setdefault(folder, len(folders))
            if name.endswith(_INFO):
                infos.add((number, name[: -len(_INFO)]))
                continue
            stem = stem_of(name)
            names.append(stem)
            places.append((number, suffixes.setdefault(name[len(stem) :], len(suffixes))))
        if not names:
            raise InputError(f"{self.path} holds no .npy or .npz files")
        keys = as_bytes(names)
        order = np.argsort(keys, kind="stable")
        folder_names, suffix_names = list(folders), list(suffixes)
        repeated = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        if len(repeated):
            pair = [folder_names[places[order[at]][0]] or "." for at in (repeated[0], repeated[0] + 1)]
            raise InputError(
                f"{self.path}: '{keys[order[repeated[0]]].decode()}' is in {pair[0]} and in {pair[1]}: open the "
                "folder of one feature set"
            )
        numbers = np.array(places, dtype=np.int32)[order]
        has_info = np.array([(place[0], name) in infos for name, place in zip(names, places)])[order]
        return KeyIndex(keys[order], str(self.path)), has_info, numbers[:, 0], numbers[:, 1], folder_names, suffix_names

    def _load_index(self) -> KeyIndex:
        return self._files[0]

    def _locate(self, position: int) -> Entry:
        index, has_info, folder, suffix, folder_names, suffix_names = self._files
        key = index.name(position)
        parent = self.path / folder_names[folder[position]]
        file = parent / (key + suffix_names[suffix[position]])
        if file.suffix == ".npz":
            regions = regions_of_arrays(load_npz(file, file), file)
        else:
            regions = read_npy(file, parent / (key + _INFO) if has_info[position] else None)
        return Entry(len(regions), lambda: regions)


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """(folder below `root`, file name) of every array file, each folder listed once."""
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(root / below) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.endswith((".npy", ".npz")):
                    yield below, entry.name
                elif entry.is_dir():
                    pending.append(f"{below}/{entry.name}" if below else entry.name)


def read_npy(path: Path, info: Path | None = None) -> RegionFeatures:
    """The regions of one `.npy` file: a float array described by `info`, or a dict of everything.

    Raises InputError naming the file when it is broken or its parts do not fit each other.
    """
    content = load_npy(path)
    if content.dtype == object:
        table = content.item() if content.size == 1 else None
        if not isinstance(table, dict) or not isinstance(table.get("features"), np.ndarray):
            raise InputError(f"{path}: expected a dict with 'features', found {type(table).__name__}")
        return _from_table(path, table["features"], table)
    if info is None:
        return _from_table(path, content, {})
    described = load_npy(info)
    table = described.item() if described.dtype == object and described.size == 1 else None
    if not isinstance(table, dict):
        raise InputError(f"{info}: expected a dict with bbox, image_width and image_height")
    return _from_table(path, content, table)


def _from_table(where: object, features: np.ndarray, table: dict) -> RegionFeatures:
    """Regions from features and the dict that MMF's extraction script writes."""
    boxes, probs = table.get("bbox"), table.get("cls_prob")
    if features.ndim != 2 or features.dtype.kind != "f":
        raise InputError(
            f"{where}: expected float features [regions, dimension], found {features.dtype} {features.shape}"
        )
    count = min(len(features), int(table.get("num_boxes", len(features))))
    for name, array in (("bbox", boxes), ("cls_prob", probs)):
        if array is not None and (np.ndim(array) != 2 or len(array) < count):
            raise InputError(f"{where}: {count} regions, but {name} has shape {np.shape(array)}")
    return RegionFeatures(
        features[:count],
        None if boxes is None else np.asarray(boxes)[:count, :4],
        int(table.get("image_width", 0)),
        int(table.get("image_height", 0)),
        None if probs is None else np.asarray(probs)[:count],
    )


def load_npz(file: Path | IO[bytes], where: object) -> dict[str, np.ndarray]:
    """Load all arrays of an `.npz`; object arrays are refused. Raises InputError when it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, MemoryError) as error:
        # A damaged header may announce arrays larger than the memory.
        raise InputError(f"{where} is not an intact .npz file: {error or type(error).__name__}") from error


def regions_of_arrays(arrays: dict[str, np.ndarray], where: object) -> RegionFeatures:
    """Build regions from the arrays of an `.npz`: box_features (or features) and cls_boxes (or boxes, bbox), optionally
    cls_prob, num_boxes and the image size. Raises InputError when there are no features or shapes do not match."""
    features = _first(arrays, "box_features", "features", "x")
    if features is None:
        raise InputError(f"{where}: expected an array box_features or features, found {', '.join(arrays) or 'nothing'}")
    table = {"bbox": _first(arrays, "cls_boxes", "boxes", "bbox"), "cls_prob": arrays.get("cls_prob")}
    for name in ("num_boxes", "image_width", "image_height"):
        number = _first(arrays, name, name.replace("width", "w").replace("height", "h"))
        if number is not None and np.size(number) == 1:
            table[name] = int(np.reshape(number, -1)[0])
    return _from_table(where, features, table)


def _first(arrays: dict[str, np.ndarray], *names: str) -> np.ndarray | None:
    """The first of `names` that is in `arrays`."""
    return next((arrays[name] for name in names if name in arrays), None)


class ThRegions(RegionSource):
    """Region features in a `.th` file, which is loaded into memory: convert it to a packed store for training.

    Args:
        path: the file.
        regions: keep an image's first regions; the authors store 150 and read 144.
    """

    format = "th"

    def __init__(
        self, path: str | Path, spec: FeatureSpec | None = None, regions: int | None = _AUTHORS_REGIONS
    ) -> None:
        super().__init__(path, spec)
        self._regions = regions

    def __getstate__(self) -> dict[str, Any]:
        """The content is read again on the other side."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_content", "_order", "index")}

    @cached_property
    def _content(self) -> dict[str, Any]:
        """The whole file."""
        content = read_object(self.path)
        if not isinstance(content, dict):
            raise InputError(f"{self.path}: expected a dict of images, found {type(content).__name__}")
        return content

    @cached_property
    def _order(self) -> tuple[KeyIndex, list[str]]:
        """(index, names in its order)."""
        names = list(self._content)
        index, order = KeyIndex.sort(names, str(self.path))
        return index, [names[place] for place in order]

    def _load_index(self) -> KeyIndex:
        return self._order[0]

    def _locate(self, position: int) -> Entry:
        name = self._order[1][position]
        value = self._content[name]
        if not isinstance(value, (tuple, list)) or len(value) < 2:
            raise InputError(f"{self.path}, image '{name}': expected (features, boxes, confidence)")
        features, boxes = (np.asarray(part)[: self._regions] for part in value[:2])
        return Entry(len(features), partial(RegionFeatures, features, boxes))
