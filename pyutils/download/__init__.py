"""Downloads that go on where they stopped and are checked before they get their name.

`fetch` brings one file, `join_pieces` and `unpack` see to archives, `python -m pyutils.download` brings data sets.
"""

from pyutils.download.archives import join_pieces, unpack
from pyutils.download.problems import DownloadError
from pyutils.download.sources import Probe, probe
from pyutils.download.transfer import Patience, fetch

__all__ = ["DownloadError", "Patience", "Probe", "fetch", "join_pieces", "probe", "unpack"]
