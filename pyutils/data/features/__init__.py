"""Region features of images: what they are, readers for the formats they come in, and the packed store.

`open_regions(path)` gives a `RegionSource` for whatever lies at a path; `PackedWriter` makes a packed store;
`keep_available` compares records with a source. `python -m pyutils.data.features` converts, inspects and compares.
"""

from pyutils.data.features.detect import FORMATS, keep_available, open_regions
from pyutils.data.features.packed import PackedWriter
from pyutils.data.features.source import RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionBatch, RegionFeatures, normalise_boxes

__all__ = [
    "FORMATS",
    "FeatureSpec",
    "PackedWriter",
    "RegionBatch",
    "RegionFeatures",
    "RegionSource",
    "keep_available",
    "normalise_boxes",
    "open_regions",
]
