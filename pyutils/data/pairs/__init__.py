"""Image-text pairs for pre-training, in sets of any size.

`open_pairs` gives a sequence of `Pair` over JSON lists (small sets), tar shards (WebDataset's convention) or Arrow
files. Shards stay on disk: an index that is mapped from a file says where each pair lies, so that memory does not grow
with the set, a batch may be made of any pairs by any data worker, and a run goes on at any place without reading what
came before. `PairStream` reads shards in their order where jumping about is slow.
"""

from pyutils.data.pairs.opening import Captions, open_pairs
from pyutils.data.pairs.pair import Pair, PairSource, PairStream
from pyutils.data.pairs.tar_shards import write_tar_shards

__all__ = ["Captions", "Pair", "PairSource", "PairStream", "open_pairs", "write_tar_shards"]
