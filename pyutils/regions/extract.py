"""Extract the regions of a folder of images into a packed store: resumable, in one or several processes."""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from pyutils import distributed
from pyutils.console import progress, say
from pyutils.data.features.packed import PackedRegions, PackedWriter, is_packed, read_header
from pyutils.data.features.spec import RegionFeatures
from pyutils.data.image_listing import ImageListing
from pyutils.data.images import Images
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write, write_json
from pyutils.regions.extractors import Extractor

CHUNK = 64
"""Images grouped and committed together. Fixed, so that batches do not depend on where a run was killed."""
MOST_PIXELS = 80_000_000
_LOG_SECONDS = 10.0
_POLL_SECONDS = 0.1


class BadImage(NamedTuple):
    """An image that was left out, and why."""

    key: str
    reason: str


class Extraction(NamedTuple):
    """Result of `extract`: images added, images in the store, images left out, and how many of those added have fewer
    regions than the extractor was to find at least."""

    added: int
    stored: int
    bad: list[BadImage]
    few: int = 0


def read_image(path: Path) -> np.ndarray:
    """Decode an image to `[h, w, 3]` uint8 RGB, upright by its EXIF orientation.

    Raises:
        InputError: not an image, damaged, cut off, or more than `MOST_PIXELS`.
    """
    return np.asarray(Images.decode(path, upright=True, most_pixels=MOST_PIXELS))


def list_images(folder: Path) -> dict[str, Path]:
    """Return the images below `folder` by key: the relative path without suffix, in the order of names.

    Raises:
        InputError: no image there, or two files that differ only in their suffix.
    """
    files: dict[str, Path] = {}
    for relative in ImageListing([folder]):
        key = relative.rpartition(".")[0]
        if key in files:
            raise InputError(f"{folder}: {files[key].name} and {Path(relative).name} would both be {key}; rename one")
        files[key] = folder / relative
    if not files:
        raise InputError(f"{folder}: contains no image files")
    return files


def read_boxes(path: Path) -> dict[str, np.ndarray]:
    """Read `{image key: [[x1, y1, x2, y2], …]}` in pixels from a JSON file. Raises InputError for another shape."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        boxes = {str(key): np.asarray(rows, np.float32).reshape(-1, 4) for key, rows in values.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: expected JSON {{image: [[x1, y1, x2, y2], …]}} in pixels: {error}") from error
    for key, rows in boxes.items():
        if not (np.isfinite(rows).all() and (rows[:, 2:] > rows[:, :2]).all() and len(rows)):
            raise InputError(f"{path}, image '{key}': boxes need x1 < x2 and y1 < y2, in pixels")
    return boxes


def extract(
    images: Mapping[str, Path],
    output: Path,
    extractor: Extractor,
    batch: int = 1,
    workers: int = 2,
    boxes: Optional[Mapping[str, np.ndarray]] = None,
    dtype: str = "float16",
) -> Extraction:
    """Write the regions of `images` (key → file) to the packed store `output`; images that it holds are kept.

    A killed run resumes when called again, and ends with the same bytes as an uninterrupted one. With several
    processes each writes the chunks of its rank to a store beside `output`, which the main process then joins; the
    others return before, with the numbers of their own store. Call `start_processes` first.

    Args:
        batch: images per forward pass, of one `Extractor.group`. workers: threads that decode; 0: the main one.
        boxes: key → `[r, 4]` boxes to describe in place of the extractor's own.

    Raises:
        InputError: `output` holds features of another extractor, another process writes to it, the disk is full.
    """
    keys = list(images)
    chunks = [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]
    rank, size = distributed.rank(), distributed.world_size()
    own = output if size == 1 else output.with_name(f"{output.name}.rank{rank}")
    before = 0
    if is_packed(output):
        check_same_extractor(output, extractor, dtype)
        before = len(PackedRegions(output))
    run = _Run(images, extractor, batch, workers, boxes, dtype)
    bad, few = run.write(own, chunks[rank::size], output if size > 1 and is_packed(output) else None)
    if size > 1:
        write_json(_mark(output, rank), {"bad": [list(entry) for entry in bad], "few": few})
        if rank:
            return Extraction(len(PackedRegions(own)), len(PackedRegions(own)), bad, few)
        marks = [_wait_for(_mark(output, other)) for other in range(size)]
        bad = [BadImage(*entry) for mark in marks for entry in mark["bad"]]
        few = sum(mark["few"] for mark in marks)
        _join(output, [output.with_name(f"{output.name}.rank{other}") for other in range(size)], keys, run)
        for other in range(size):
            _mark(output, other).unlink()
    stored, places = len(PackedRegions(output)), {key: place for place, key in enumerate(keys)}
    return Extraction(stored - before, stored, sorted(bad, key=lambda entry: places.get(entry.key, -1)), few)


def start_processes(output: Path) -> None:
    """Join the processes of the launcher and remove the mark that this one left beside `output` when it was killed."""
    distributed.initialize()
    if distributed.world_size() > 1:
        _mark(output, distributed.rank()).unlink(missing_ok=True)
        distributed.barrier()


def _mark(output: Path, rank: int) -> Path:
    """The file that tells the main process that the store of `rank` is finished: the fields `bad` and `few` of its
    `Extraction`, JSON."""
    return output.with_name(f"{output.name}.rank{rank}.done")


def _wait_for(mark: Path) -> dict[str, Any]:
    """Wait for another process to finish and return the content of its mark.

    A collective would not do: gloo gives up after seconds, and a process may be minutes behind. The launcher ends all
    processes if one fails.
    """
    while not mark.is_file():
        time.sleep(_POLL_SECONDS)
    return json.loads(mark.read_text(encoding="utf-8"))


def check_same_extractor(output: Path, extractor: Extractor, dtype: str) -> None:
    """Raise InputError when the store at `output` was made by another extractor, naming both."""
    found = read_header(output)[0]
    wanted = replace(extractor.spec, dtype=dtype, max_regions=None)
    for name in ("detector", "provenance", "dimension", "has_class_probs", "dtype"):
        there, here = getattr(found, name), getattr(wanted, name)
        if there != here:
            raise InputError(
                f"{output} holds features of another extractor ({name} '{there}', now '{here}'): choose another folder"
            )


class _Part(NamedTuple):
    """One batch of the chunk numbered `chunk`; `decoded` waits for an image or decodes it now."""

    chunk: int
    keys: list[str]
    decoded: Sequence[Callable[[], np.ndarray | BadImage]]


class _Run:
    """What the chunks of a run have in common."""

    def __init__(
        self,
        images: Mapping[str, Path],
        extractor: Extractor,
        batch: int,
        workers: int,
        boxes: Optional[Mapping[str, np.ndarray]],
        dtype: str,
    ):
        self.images, self.extractor, self.batch, self.workers, self.boxes = images, extractor, batch, workers, boxes
        self.spec = replace(extractor.spec, dtype=dtype, max_regions=None)

    def writer(self, path: Path) -> PackedWriter:
        return PackedWriter(path, self.spec, self.extractor.classes)

    def write(self, path: Path, chunks: Sequence[Sequence[str]], done: Optional[Path]) -> tuple[list[BadImage], int]:
        """Extract `chunks` into the store `path`, without the images of the store `done`.

        Returns:
            The images left out, and the number of images with fewer regions than wanted.
        """
        finished = set(PackedRegions(done)) if done else set()
        bad: list[BadImage] = []
        few, least = 0, self.extractor.least if self.boxes is None else 0
        try:
            with self.writer(path) as writer, ThreadPoolExecutor(max(1, self.workers)) as threads:
                todo = [chunk for chunk in chunks if any(key not in writer and key not in finished for key in chunk)]
                clock = _Clock(sum(map(len, todo)))
                parts = _ahead(self._parts(todo, threads), -(-2 * self.workers // self.batch))
                grouped = groupby(parts, lambda part: part.chunk)
                for chunk, (_, members) in zip(progress(todo, "chunks"), grouped):
                    regions: dict[str, RegionFeatures | BadImage] = {}
                    for part in members:
                        regions.update(self._described(part))
                    for key in chunk:
                        found = regions[key]
                        if isinstance(found, BadImage):
                            bad.append(found)
                        elif key not in writer and key not in finished:
                            writer.add(key, found)
                            few += len(found) < least
                    writer.commit()
                    clock.tick(len(chunk))
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error}); run again to resume") from error
        return bad, few

    def _parts(self, chunks: Sequence[Sequence[str]], threads: Executor) -> Iterator[_Part]:
        """Yield the batches of all chunks, whose images are then being decoded.

        Grouped by the size that the file's header gives, so that not all images of a chunk need be in memory.
        """
        for number, chunk in enumerate(chunks):
            groups: dict[Hashable, list[str]] = {}
            for key in chunk:
                groups.setdefault(self._group(key), []).append(key)
            for members in groups.values():
                for start in range(0, len(members), self.batch):
                    keys = members[start : start + self.batch]
                    yield _Part(number, keys, [self._later(key, threads) for key in keys])

    def _later(self, key: str, threads: Executor) -> Callable[[], np.ndarray | BadImage]:
        """Start decoding an image in a thread, if there are threads that decode; returns what gives it."""
        return threads.submit(self._decode, key).result if self.workers else partial(self._decode, key)

    def _group(self, key: str) -> Hashable:
        """The group of an image, None if its header cannot be read: then decoding it fails too."""
        try:
            return self.extractor.group(*Images.decoded_size(self.images[key], upright=True))
        except InputError:
            return None

    def _described(self, part: _Part) -> Iterator[tuple[str, RegionFeatures | BadImage]]:
        """Yield key and regions of the images of a batch, or why there are none."""
        images: dict[str, np.ndarray] = {}
        for key, decode in zip(part.keys, part.decoded):
            found = decode()
            if isinstance(found, BadImage):
                yield key, found
            else:
                images[key] = found
        if not images:
            return
        boxes = None if self.boxes is None else [self.boxes[key] for key in images]
        for key, regions in zip(images, self.extractor.describe(list(images.values()), boxes)):
            yield key, regions if len(regions) else BadImage(key, "no region was found")

    def _decode(self, key: str) -> np.ndarray | BadImage:
        if self.boxes is not None and key not in self.boxes:
            return BadImage(key, "the file of boxes does not name it")
        try:
            return read_image(self.images[key])
        except InputError as error:
            return BadImage(key, str(error))


def _ahead(values: Iterator[_Part], count: int) -> Iterator[_Part]:
    """Yield `values`, each after `count` more were taken."""
    taken: deque[_Part] = deque(islice(values, count))
    for value in values:
        taken.append(value)
        yield taken.popleft()
    yield from taken


class _Clock:
    """Logs images per second and the time left, every few seconds."""

    def __init__(self, total: int):
        self.total, self.done, self.begun = total, 0, time.monotonic()
        self.logged = self.begun

    def tick(self, images: int) -> None:
        self.done += images
        now = time.monotonic()
        if now - self.logged < _LOG_SECONDS and self.done < self.total:
            return
        self.logged = now
        rate = self.done / max(now - self.begun, 1e-9)
        left = int((self.total - self.done) / rate)
        clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        say(f"{self.done}/{self.total} images, {rate:.1f} images/s, {clock} left")


def _join(output: Path, parts: Sequence[Path], keys: Sequence[str], run: _Run) -> None:
    """Add the images of `parts` to `output` in the order of `keys`, and delete the parts."""
    stores = [PackedRegions(part) for part in parts]
    owner = {key: store for store in stores for key in store}
    with run.writer(output) as writer:
        for key in keys:
            if key in owner and key not in writer:
                writer.add(key, owner[key].stored(key))
    for part in parts:
        shutil.rmtree(part)


def write_bad_list(path: Path, bad: Sequence[BadImage]) -> None:
    """Write one line `key<tab>reason` per image left out."""
    with atomic_write(path) as stream:
        stream.writelines(f"{entry.key}\t{' '.join(entry.reason.split())}\n" for entry in bad)
