"""Image-text pairs for pre-training, in sets of any size.

`open_pairs` returns a sequence of `Pair` over JSON lists (small sets), tar shards (WebDataset's convention) or Arrow
files. Shards stay on disk and a memory-mapped index gives the position of every pair. So memory does not grow with the
set, any data worker can read any pair, and a resumed run reads nothing twice.
"""

from pyutils.data.pairs.opening import Captions, open_pairs
from pyutils.data.pairs.pair import Pair, PairSource
from pyutils.data.pairs.tar_shards import write_tar_shards

__all__ = ["Captions", "Pair", "PairSource", "open_pairs", "write_tar_shards"]
