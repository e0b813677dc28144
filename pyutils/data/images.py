"""`Images`: the visual source that reads image files from folders, `[3, H, W]` float32 each.

CMYK, palette and grey images become RGB; transparency is dropped and the underlying colours are kept; 16-bit values
keep their upper eight bits; the first frame of an animation is read; EXIF rotation is ignored, as in the original
ALBEF, unless `exif_rotation` is set. Missing, damaged and truncated files are errors that name the file.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pyutils.data.image_listing import ImageListing, PathLike, file_names
from pyutils.data.transforms import Crop, ImageTransform
from pyutils.errors import InputError

_EXIF_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_SMALLER = (8, 4, 2)
# Pillow's decoders report damage by any of these.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError),
    *(
        NotImplementedError,
        OverflowError,
        MemoryError,
        struct.error,
        zlib.error,
        LookupError,
        TypeError,
        AssertionError,
    ),
)
_KEPT_LISTINGS = 16
MOST_PIXELS = 100_000_000  # 300 MB as RGB; Pillow's own limit is nearly twice that


class Images:
    """Images of one folder tree, or several, by relative path ("val2014/COCO_val2014_000000000042.jpg") or key.

    A key is the file name without folder and suffix ("COCO_val2014_000000000042"). Paths are looked up below each
    `root` in order; other names are found through one listing of the folders, made when first needed.

    Args:
        root: a folder, or several.
        transform: makes the array of a decoded image, see `pyutils.data.transforms.albef_transform`.
        draft_margin: JPEG files may be decoded at a half, a quarter or an eighth of their size if the cropped region
            keeps `draft_margin` times the target size. At 2, images resized to 384 pixels differ from fully decoded
            ones by less than one grey level on average; None always decodes in full. Images of COCO, Flickr30k and
            Visual Genome are too small for it to matter at 256 or 384.
        exif_rotation: apply the EXIF rotation.

    Objects can be pickled and forked; they hold no open file.

    Raises:
        InputError: a root does not exist.
    """

    def __init__(
        self,
        root: PathLike | Sequence[PathLike],
        transform: ImageTransform,
        draft_margin: float | None = 2.0,
        exif_rotation: bool = False,
    ) -> None:
        roots = [root] if isinstance(root, (str, os.PathLike)) else list(root)
        self.roots = tuple(Path(item).expanduser() for item in roots)
        for folder in self.roots:
            if not folder.is_dir():
                raise InputError(f"image folder {folder} does not exist: set data.images to where the images are")
        self.transform = transform
        self.draft_margin = draft_margin
        self.exif_rotation = exif_rotation

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image's array."""
        return 3, self.transform.size, self.transform.size

    @cached_property
    def listing(self) -> ImageListing:
        """The images below the roots; listed on first use."""
        return ImageListing(self.roots)

    def path(self, key: str) -> Path:
        """Find the file of an image. Raises InputError when it is missing, or when two files have that name."""
        for folder in self.roots:
            path = folder / key
            if path.is_file():
                return path
        found = self.listing.path(key)
        if found is None:
            raise InputError(
                f"image {key!r} is not below {', '.join(map(str, self.roots))}: check data.images and that the archive "
                "with it is unpacked; python -m pyutils.data.prepare --check-images lists the missing images"
            )
        return found

    def missing(self, keys: Iterable[str]) -> list[str]:
        """List those of `keys` that are missing, in their order, each once.

        The folders in the paths are listed instead of checking each file; few listings are kept, which suffices for
        sorted keys. All folders below the roots are listed only if a path does not exist.
        """
        names_in = lru_cache(_KEPT_LISTINGS)(file_names)

        def is_path(key: str) -> bool:
            paths = (root / key for root in self.roots)
            return any(path.name in names_in(path.parent) for path in paths)

        others = [key for key in keys if not is_path(key)]
        return self.listing.missing(others) if others else []

    def size(self, key: str) -> tuple[int, int]:
        """Return width and height of an image in pixels, as it is read. Raises InputError as `read`."""
        path = self.path(key)
        with damage_named(path), Image.open(path) as image:
            return self.upright_size(image)

    def upright_size(self, image: Image.Image) -> tuple[int, int]:
        """Return width and height of an image, after EXIF rotation if it is applied."""
        return _turned_size(image, self.exif_rotation)

    def read(self, key: str, rng: np.random.Generator | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Read one image: [3, H, W] float32, written to `out` when given; `rng` is needed by random transforms.

        Raises:
            InputError: the file is missing, damaged or truncated.
        """
        return self.read_file(self.path(key), rng, out)

    def read_file(
        self, path: PathLike, rng: np.random.Generator | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read the file `path`, wherever it is; otherwise as `read`."""
        if rng is None:
            if self.transform.random:
                raise ValueError("a random transform needs the batch's random generator (rng)")
            rng = np.random.default_rng(0)  # nothing is drawn
        with damage_named(Path(path)):
            pixels = self._pixels(Path(path), rng)
        return self.transform.finish(pixels, rng, out)

    def read_batch(
        self, keys: Sequence[str], rng: np.random.Generator | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read images into one array (`out` when given): [len(keys), 3, H, W] float32; they share `rng` in order."""
        if out is None:
            out = np.empty((len(keys), *self.shape), dtype=np.float32)
        for row, key in enumerate(keys):
            self.read(key, rng, out[row])
        return out

    @staticmethod
    def decode(path: PathLike, upright: bool = False, most_pixels: int = MOST_PIXELS) -> Image.Image:
        """Decode the file `path` as RGB, at full size; with `upright` turned by its EXIF orientation.

        Raises InputError as `read`, and for an image of more than `most_pixels` before it is decoded.
        """
        with damage_named(Path(path)), Image.open(path) as image:
            check_pixels(image, str(path), most_pixels)
            return as_rgb(ImageOps.exif_transpose(image) if upright else image).copy()

    @staticmethod
    def decoded_size(path: PathLike, upright: bool = False) -> tuple[int, int]:
        """Return width and height of what `decode` gives, from the file's header. Raises InputError as `read`."""
        with damage_named(Path(path)), Image.open(path) as image:
            return _turned_size(image, upright)

    def _pixels(self, path: Path, rng: np.random.Generator) -> np.ndarray:
        """Decode, crop and resize: [size, size, 3] uint8."""
        with Image.open(path) as image:
            return self.prepared(image, rng)

    def prepared(self, image: Image.Image, rng: np.random.Generator) -> np.ndarray:
        """Crop and resize an image, opened or in memory: [size, size, 3] uint8."""
        check_pixels(image, getattr(image, "filename", "") or "an image in memory")
        turned = self.exif_rotation and image.getexif().get(_EXIF_ORIENTATION, 1) != 1
        if turned:
            image = ImageOps.exif_transpose(image)
        crop = self.transform.crop(image.width, image.height, rng)
        reduction = 1 if turned else self._draft(image, crop)
        return self.transform.scale(as_rgb(image), crop, reduction)

    def _draft(self, image: Image.Image, crop: Crop) -> int:
        """Set the JPEG decoder to a smaller size where the margin allows; returns the reduction factor."""
        if self.draft_margin is None or image.format != "JPEG":
            return 1
        needed = self.draft_margin * self.transform.size
        full = image.width
        for factor in _SMALLER:
            if min(crop.width, crop.height) >= factor * needed:
                image.draft(None, (image.width // factor, image.height // factor))
                return round(full / image.width)
        return 1


def _turned_size(image: Image.Image, upright: bool) -> tuple[int, int]:
    """Width and height of an opened image, after EXIF rotation if it is made `upright`."""
    on_its_side = upright and image.getexif().get(_EXIF_ORIENTATION, 1) in _ON_ITS_SIDE
    return (image.height, image.width) if on_its_side else image.size


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Name the image file `path` in errors inside. Raises InputError when it is missing, no image, or damaged."""
    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError:
        size = path.stat().st_size
        found = f"its {size} bytes are no image that Pillow knows" if size else "the file is empty"
        raise InputError(f"{path}: {found}; copy or download it again, or leave its records out") from None
    except _DAMAGE as error:
        raise InputError(
            f"{path}: the image is damaged or truncated ({error}); copy or download it again, or leave it out"
        ) from error


def check_pixels(image: Image.Image, where: str, most: int = MOST_PIXELS) -> None:
    """Raise InputError, before it is decoded, for an image that a file of a few kilobytes may announce."""
    if image.width * image.height > most:
        raise InputError(f"{where}: {image.width} x {image.height} pixels are more than {most:,}; make it smaller")


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB; 16-bit values keep their upper eight bits (Pillow alone would clip them)."""
    if image.mode in _SIXTEEN_BITS:
        values = np.asarray(image).astype(np.int32)
        image = Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        # Through RGBA, because Pillow warns about palettes that carry transparency; the colours are the same.
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")
