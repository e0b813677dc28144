"""From the tables of a data set to one record a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from pyutils.data.records import ReferRecord
from pyutils.data.refer.tables import ReferTables
from pyutils.data.table import RecordTable


def refer_records(tables: ReferTables, rows: np.ndarray, boxes: np.ndarray) -> RecordTable[ReferRecord]:
    """One record for each sentence of the references in `rows` ([n] int64), in their order.

    `boxes` [n, 4] float64 are the references' boxes, x, y, width, height in pixels.
    """
    return RecordTable(ReferRecord, _records(tables, rows, boxes))


def _records(tables: ReferTables, rows: np.ndarray, boxes: np.ndarray) -> Iterator[ReferRecord]:
    names = zip(tables.images["id"].to_pylist(), tables.images["file_name"].to_pylist())
    keys = {image_id: PurePosixPath(name).stem for image_id, name in names}
    counts = tables.refs["sentences"].to_numpy()
    ends = np.cumsum(counts)
    refs = tables.refs.take(pa.array(rows))
    columns = [refs[name].to_pylist() for name in ("ref_id", "image_id", "ann_id", "category_id")]
    sent_ids, raw = tables.sentences["sent_id"].to_pylist(), tables.sentences["raw"].to_pylist()
    for row, box, ref_id, image_id, ann_id, category_id in zip(rows, boxes.tolist(), *columns):
        for place in range(ends[row] - counts[row], ends[row]):
            yield ReferRecord(
                ref_id=ref_id,
                sentence_id=sent_ids[place],
                image=keys[image_id],
                image_id=image_id,
                expression=raw[place],
                box=tuple(box),
                ann_id=ann_id,
                category_id=category_id,
            )
