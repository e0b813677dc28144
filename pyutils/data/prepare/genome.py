"""Pre-training pairs of Visual Genome: an image and the phrases that describe its regions."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pyutils.data.annotations import karpathy
from pyutils.data.annotations.fields import check_types, list_entries
from pyutils.data.prepare.captions import COCO
from pyutils.data.prepare.lists import Lists, Need, Tree
from pyutils.data.prepare.vqa import VG_IMAGES, genome_folders
from pyutils.errors import InputError
from pyutils.formats.json_files import check_fields
from pyutils.text.cleaning import has_words

REGIONS = Need(
    (
        "vg/region_descriptions.json",
        "visual_genome/region_descriptions.json",
        "vg/annotations/region_descriptions.json",
    ),
    "phrases about regions of Visual Genome",
)
NEEDS = (REGIONS, VG_IMAGES, Need(COCO.paths, "COCO images of retrieval's val and test, to leave out", optional=True))
LIST = "vg_pretrain.json"


def build(tree: Tree, lists: Lists) -> None:
    """Write vg_pretrain.json: one entry per image with its different phrases.

    Visual Genome contains images of COCO: those of Karpathy's val and test splits are left out if both image_data.json
    and dataset_coco.json are there, since retrieval is measured on them.
    """
    path = tree.find(REGIONS)
    if path is None:
        return
    pictures, splits = tree.find(VG_IMAGES), tree.find(COCO)
    measured = _measured(pictures, splits) if pictures and splits else frozenset()
    counts = {"images": 0, "phrases": 0, "wordless": 0, "measured": 0}
    lists.write(LIST, _entries(path, genome_folders(pictures), measured, counts), tree.folder("vg", "visual_genome"))
    lists.notes.append(
        f"{LIST}: {counts['phrases']:,} different phrases of {counts['images']:,} images; {counts['wordless']:,} "
        "images without any left out"
    )
    lists.notes.append(
        f"{LIST}: {counts['measured']:,} images that are also in COCO's val or test split left out"
        if pictures and splits
        else f"{LIST}: images that are also in COCO's val or test split are kept: to leave them out add "
        f"{VG_IMAGES.paths[0]} and {COCO.paths[0]}"
    )


def _measured(pictures: Path, splits: Path) -> frozenset[int]:
    """Return the Visual Genome ids of images in Karpathy's val and test splits of COCO."""
    found = karpathy.read_splits(splits)
    coco = {image for split in ("val", "test") if split in found for image in found[split].column("image_id")}
    return frozenset(
        entry["image_id"] for _, entry in list_entries(pictures, ("image_id",)) if entry.get("coco_id") in coco
    )


def _entries(
    path: Path, folders: dict[int, str], measured: Collection[int], counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield an entry per image and count what is kept and left out in `counts`."""
    for where, entry in list_entries(path, ("regions",)):
        if not isinstance(entry["regions"], list):
            raise InputError(f'{where}: expected a list as "regions"')
        image = entry.get("id", entry.get("image_id"))
        for region in entry["regions"]:
            check_fields(region, ("phrase",), where)
            check_types(region, {"phrase": str}, where)
            image = region.get("image_id", image)
        if not isinstance(image, int):
            raise InputError(f'{where}: expected a whole number as "id" of the image, found {image!r}')
        phrases = list(
            dict.fromkeys(text for region in entry["regions"] if has_words(text := region["phrase"].strip()))
        )
        if image in measured:
            counts["measured"] += 1
        elif not phrases:
            counts["wordless"] += 1
        else:
            counts["images"] += 1
            counts["phrases"] += len(phrases)
            folder = folders.get(image)
            yield {"image": f"{folder}/{image}.jpg" if folder else f"{image}.jpg", "caption": phrases}
