"""Downloads that go on where they stopped and are checked before they get their name.

`fetch` brings one file, `join_pieces` and `unpack` see to archives, `python -m pyutils.download` brings data sets.
"""

from pyutils.download.archives import join_pieces, unpack
from pyutils.download.sources import probe
from pyutils.download.transfer import Patience, fetch
from pyutils.download.transport import DownloadError, Probe

__all__ = ["DownloadError", "Patience", "Probe", "fetch", "join_pieces", "probe", "unpack"]
