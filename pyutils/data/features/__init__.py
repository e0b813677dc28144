"""Region features of images: readers for the published formats, and the packed store.

`open_regions(path)` returns a `RegionSource` for any format; `PackedWriter` makes a packed store; `keep_available`
finds the records whose images have features. `python -m pyutils.data.features` converts, inspects and compares.
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
