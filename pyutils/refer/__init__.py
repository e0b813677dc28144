"""Referring expressions (RefCOCO, RefCOCO+, RefCOCOg): `Refer` and, for older scripts, `REFER`."""

from pyutils.refer.api import Refer
from pyutils.refer.layout import SPLITTINGS
from pyutils.refer.original import REFER

__all__ = ["REFER", "SPLITTINGS", "Refer"]
