"""The older command `python -m pyutils.vqa evaluate`, forwarded to `python -m pyutils.data.vqa`."""

from pyutils.data.vqa.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())
