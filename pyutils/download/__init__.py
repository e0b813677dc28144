"""Downloads that resume, and are checked before the file gets its name.

`fetch` downloads one file, `join_pieces` and `unpack` handle archives, `python -m pyutils.download` data sets.
"""

from pyutils.download.archives import join_pieces, unpack
from pyutils.download.sources import probe
from pyutils.download.transfer import Patience, fetch
from pyutils.download.transport import DownloadError, Probe

__all__ = ["DownloadError", "Patience", "Probe", "fetch", "join_pieces", "probe", "unpack"]
