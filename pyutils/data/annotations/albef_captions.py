"""ALBEF's caption lists: pre-training, retrieval training, retrieval evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from pyutils.data.annotations.albef_lists import Paths, list_entries, text_of, texts_of
from pyutils.data.records import CaptionRecord
from pyutils.data.table import RecordTable
from pyutils.errors import InputError
from pyutils.text.cleaning import has_words


def read_pretrain(paths: Paths) -> RecordTable[CaptionRecord]:
    """Entries `{"image", "caption": text or list of texts}`; a task draws one caption of an entry at a time.

    `image_id` is the entry's own where it has one, else the image path. Raises InputError naming file and entry.
    """
    return RecordTable(CaptionRecord, _records(paths))


def read_retrieval_train(paths: Paths) -> RecordTable[CaptionRecord]:
    """Entries `{"image", "caption": text, "image_id"}`: one record a caption; equal `image_id`s are the same image.

    Raises InputError naming file and entry, also for an entry with several captions.
    """
    return RecordTable(CaptionRecord, _records(paths, one_caption=True))


def read_retrieval_eval(paths: Paths) -> RecordTable[CaptionRecord]:
    """Entries `{"image", "caption": list of texts}`: one record an image, with all captions that describe it.

    Raises InputError naming file and entry, also for an image that is listed twice: its captions would count as wrong.
    """
    return RecordTable(CaptionRecord, _once(paths))


def _records(paths: Paths, one_caption: bool = False) -> Iterator[CaptionRecord]:
    for where, entry in list_entries(paths, ("image", "caption", "image_id") if one_caption else ("image", "caption")):
        captions = texts_of(entry, "caption", where)
        for caption in captions:
            if not has_words(caption):
                raise InputError(
                    f'{where}: "caption" has no letter or digit: {caption!r}; fill it or take the entry out of the list'
                )
        if one_caption and len(captions) > 1:
            raise InputError(
                f"{where}: expected one caption, found {len(captions)}; this looks like an evaluation list, training "
                "lists have an entry for each caption"
            )
        image = text_of(entry, "image", where)
        identifier = entry.get("image_id", image)
        if not isinstance(identifier, (int, str)):
            raise InputError(f'{where}: expected a number or text in "image_id", found {type(identifier).__name__}')
        yield CaptionRecord(image, captions, identifier)


def _once(paths: Paths) -> Iterator[CaptionRecord]:
    seen: set[str] = set()
    for number, record in enumerate(_records(paths)):
        if record.image in seen:
            raise InputError(
                f"{paths}: entry {number}: the image {record.image} is listed twice; an evaluation list has one entry "
                "an image, with all its captions"
            )
        seen.add(record.image)
        yield record
