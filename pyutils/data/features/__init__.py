"""Region features of images: what they are, readers for the formats they come in, and the packed store.

`open_regions(path)` gives a `RegionSource` for whatever lies at a path.
"""

from pyutils.data.features.source import RegionSource
from pyutils.data.features.spec import FeatureSpec, RegionBatch, RegionFeatures, normalise_boxes

__all__ = ["FeatureSpec", "RegionBatch", "RegionFeatures", "RegionSource", "normalise_boxes"]
