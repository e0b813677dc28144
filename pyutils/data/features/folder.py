"""Folders with one file per image, as detectron's extraction scripts write them, and the same in one `.th` file.

| file | content |
|---|---|
| `NAME.npy` with `NAME_info.npy` | float array [regions, dimension]; dict: bbox, cls_prob, image size (MMF) |
| `NAME.npy` holding a dict | features, bbox, cls_prob, num_boxes, image_width, image_height (MMF) |
| `NAME.npz`, `NAME.jpg.npz` | box_features, cls_boxes, max_conf (VisualBERT's authors) |
| `NAME.th` | `torch.save` of {file name: (features, boxes, confidence)} (VisualBERT's authors) |

Files may be in sub-folders of any depth (`fc6/vqa/train2014/…`); an image's key is the file's stem.
"""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from pyutils.data.features.keys import KeyIndex, as_bytes, stem_of
from pyutils.data.features.source import Entry, RegionSource
from pyutils.data.features.spec import RegionFeatures, make_regions
from pyutils.data.features.stored_fields import field, number
from pyutils.errors import InputError
from pyutils.formats.safe_pickle import NPY_DAMAGE, load_npy
from pyutils.weights import read_object

_INFO = "_info.npy"
_AUTHORS_REGIONS = 144  # the authors store 150 and read 144


class FolderRegions(RegionSource):
    """Region features in one `.npy` or `.npz` file per image.

    The folder is listed once, when the first key is looked up; the index keeps each file's path as bytes.
    """

    format = "folder"

    @cached_property
    def _files(self) -> tuple[KeyIndex, np.ndarray, np.ndarray]:
        """(index, path below the folder [n] bytes, True if there is an `_info.npy` [n]) in the order of the index."""
        files: list[tuple[str, str]] = []
        infos = set()
        for folder, name in array_files(self.path):
            if name.endswith(_INFO):
                infos.add((folder, name[: -len(_INFO)]))
            else:
                files.append((folder, name))
        if not files:
            raise InputError(f"{self.path} holds no .npy or .npz files")
        stems = [stem_of(name) for _, name in files]
        # Equal names in two folders are two images: their folders become part of their keys.
        counts = Counter(stems)
        keys = [folder + stem if counts[stem] > 1 else stem for (folder, _), stem in zip(files, stems)]
        index, order = KeyIndex.sort(keys, str(self.path))
        index.paths = as_bytes([folder + stem for (folder, _), stem in zip(files, stems)])[order]
        described = [(folder, stem) in infos for (folder, _), stem in zip(files, stems)]
        paths = np.array([os.fsencode(folder + name) for folder, name in files])
        return index, paths[order], np.array(described)[order]

    def _load_index(self) -> KeyIndex:
        return self._files[0]

    def _locate(self, position: int) -> Entry:
        index, files, described = self._files
        file = self.path / os.fsdecode(files[position])
        if file.suffix == ".npz":
            regions = regions_of_arrays(load_npz(file, file), file)
        else:
            regions = _read_npy(
                file, file.with_name(stem_of(index.name(position)) + _INFO) if described[position] else None
            )
        return Entry(len(regions), lambda: regions)


def array_files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (folder below `root` as "" or "a/b/", name) of every `.npy` and `.npz` file that is not hidden."""
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = "" if Path(folder) == root else f"{Path(folder).relative_to(root)}/"
        yield from ((below, name) for name in names if name.endswith((".npy", ".npz")) and not name.startswith("."))


def _read_npy(path: Path, info: Path | None) -> RegionFeatures:
    """Read the regions of one `.npy` file: a float array described by `info`, or a dict of everything."""
    content = load_npy(path)
    if content.dtype == object:
        table = _dict_of(content, path)
        return _from_table(path, field(table, "features"), table)
    return _from_table(path, content, _dict_of(load_npy(info), info) if info else {})


def _dict_of(content: np.ndarray, path: Path) -> dict:
    table = content.item() if content.dtype == object and content.size == 1 else None
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected a dict of features, bbox, image_width and image_height")
    return table


def _from_table(where: object, features: Any, table: dict) -> RegionFeatures:
    """Build regions from features and the dict that MMF's extraction script writes."""
    rows = len(features) if isinstance(features, np.ndarray) and features.ndim else 0
    count = min(rows, number(table, "num_boxes", where, rows))
    size = number(table, "width", where, 0), number(table, "height", where, 0)
    # Boxes may be a list; class probabilities of one axis have no class each.
    stored = (field(table, name) for name in ("boxes", "class_probs"))
    boxes, probs = (None if value is None else np.asarray(value) for value in stored)
    return make_regions(where, features, boxes, size, probs, count)


_MOST_NPZ_BYTES = 256 << 20
_NPZ_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, *NPY_DAMAGE),
    RuntimeError,  # encrypted, or compressed as NumPy never does
)


def load_npz(file: Path | IO[bytes], where: object) -> dict[str, np.ndarray]:
    """Load all arrays of an `.npz`; object arrays are refused. Raises InputError when it is damaged."""
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(
                f"{where} is not an .npz file but a single array; name it .npy, or write it with numpy.savez"
            )
        with archive:
            announced = sum(entry.file_size for entry in archive.zip.infolist())  # type: ignore[union-attr, misc]
            if announced > _MOST_NPZ_BYTES:
                raise InputError(f"{where}: its arrays take {announced:,} bytes, more than the regions of one image do")
            return {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except _NPZ_DAMAGE as error:
        # A damaged header may announce arrays larger than the memory.
        raise InputError(f"{where} is not an intact .npz file: {error or type(error).__name__}") from error


def regions_of_arrays(arrays: dict[str, np.ndarray], where: object) -> RegionFeatures:
    """Build regions from the arrays of an `.npz`: box_features (or features) and cls_boxes (or boxes, bbox), optionally
    cls_prob, num_boxes and the image size. Raises InputError when there are no features or shapes do not match."""
    features = field(arrays, "features")
    if features is None:
        raise InputError(f"{where}: expected an array box_features or features, found {', '.join(arrays) or 'nothing'}")
    single = {name: value.item() if value.size == 1 else value for name, value in arrays.items()}
    table: dict[str, Any] = {**single, **{name: arrays[name] for name in arrays if arrays[name].ndim == 2}}
    return _from_table(where, features, table)


class ThRegions(RegionSource):
    """Region features in a `.th` file, which is loaded into memory: convert it to a packed store for training."""

    format = "th"

    @cached_property
    def _content(self) -> dict[str, Any]:
        """{file name: (features, boxes, confidence)}."""
        content = read_object(self.path)
        if not isinstance(content, dict):
            raise InputError(f"{self.path}: expected a dict of images, found {type(content).__name__}")
        return content

    @cached_property
    def _order(self) -> tuple[KeyIndex, list[str]]:
        """(index, names in its order)."""
        names = list(self._content)
        index, order = KeyIndex.sort(names, str(self.path))
        return index, [names[position] for position in order]

    def _load_index(self) -> KeyIndex:
        return self._order[0]

    def _locate(self, position: int) -> Entry:
        name = self._order[1][position]
        value = self._content[name]
        if not isinstance(value, (tuple, list)) or len(value) < 2:
            raise InputError(f"{self.path}, image '{name}': expected (features, boxes, confidence)")
        features, boxes = (np.asarray(part)[:_AUTHORS_REGIONS] for part in value[:2])
        return Entry(len(features), partial(RegionFeatures, features, boxes))
