"""The older command `python -m pyutils.vqa evaluate`, forwarded to `python -m pyutils.data.vqa`."""

from pyutils.config.command_line import run_main
from pyutils.data.vqa.__main__ import main

if __name__ == "__main__":
    run_main(main)
