"""ALBEF's lists from the official distributions: `python -m pyutils.data.prepare [SET …]`.

The lists that the authors of ALBEF made can no longer be downloaded; every one of them follows from files that can.
"""
