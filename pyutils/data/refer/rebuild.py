"""Making `instances.json` of a data set whose own copy is lost, from COCO's annotations."""

from __future__ import annotations

import json
from pathlib import Path

from pyutils.errors import InputError
from pyutils.formats import safe_pickle
from pyutils.formats.atomic import PathLike, write_json


def rebuild_instances(refs: PathLike, coco: PathLike, destination: PathLike) -> int:
    """Write the part of `coco` (instances_train2014.json) that the references of `refs` need; return its images.

    It holds every image that a reference names, with all objects of these images and all categories, as the published
    files do. Raises InputError when `coco` lacks an image or an object that a reference points to, or is no COCO file.
    """
    references = safe_pickle.load(Path(refs))
    try:
        whole = json.loads(Path(coco).read_text(encoding="utf-8"))
        wanted = {ref["image_id"] for ref in references}
        images = [image for image in whole["images"] if image["id"] in wanted]
        annotations = [annotation for annotation in whole["annotations"] if annotation["image_id"] in wanted]
        lost = {ref["ann_id"] for ref in references} - {annotation["id"] for annotation in annotations}
        categories = whole["categories"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{coco} or {refs}: not COCO annotations or not references ({error!r})") from error
    if len(images) < len(wanted) or lost:
        raise InputError(
            f"{coco}: {len(wanted) - len(images)} images and {len(lost)} objects of {refs} are not in it; "
            "expected instances_train2014.json"
        )
    extra = {key: whole[key] for key in ("info", "licenses") if key in whole}
    write_json(
        destination, {**extra, "images": images, "annotations": annotations, "categories": categories}, indent=None
    )
    return len(images)
