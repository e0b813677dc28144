"""Referring expressions (RefCOCO, RefCOCO+, RefCOCOg): `Refer` and, for older scripts, `REFER`."""

from pyutils.data.refer.api import Refer
from pyutils.data.refer.layout import SPLITTINGS
from pyutils.data.refer.lichengunc import REFER

__all__ = ["REFER", "SPLITTINGS", "Refer"]
