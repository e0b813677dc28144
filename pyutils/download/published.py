"""Where published files are downloaded from: mirrors first, and nothing remote when the user works offline."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

OFFLINE, MIRRORS, HUB = "PYUTILS_OFFLINE", "PYUTILS_MIRRORS", "HF_ENDPOINT"
HUB_ADDRESS = "https://huggingface.co"


def is_offline() -> bool:
    """Return True when PYUTILS_OFFLINE forbids downloads."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def addresses(url: str, name: str) -> list[str]:
    """Return the addresses of the file at `url`, which a mirror has as `<name>/<file>`, in the order to try them.

    PYUTILS_MIRRORS holds URLs or directories; HF_ENDPOINT replaces the URL of the Hugging Face hub. With
    PYUTILS_OFFLINE only local mirrors remain.
    """
    file = urlsplit(url).path.rpartition("/")[2]
    mirrors = [f"{mirror.rstrip('/')}/{name}/{file}" for mirror in os.environ.get(MIRRORS, "").split()]
    if url.startswith(HUB_ADDRESS) and os.environ.get(HUB):
        url = os.environ[HUB].rstrip("/") + url[len(HUB_ADDRESS) :]
    return [address for address in (*mirrors, url) if not is_offline() or _is_local(address)]


def _is_local(address: str) -> bool:
    return urlsplit(address).scheme.lower() in ("", "file")
