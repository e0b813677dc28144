"""Make ALBEF's lists from the official distributions: `python -m pyutils.data.prepare [SET …]`.

The authors' own lists can no longer be downloaded; the official files, from which all of them can be made, still can.
"""
