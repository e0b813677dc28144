"""http and https, with ranges."""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pyutils.download.transport import CHUNK, Changed, Interrupted, Opened, Probe, SourceFailed, public_address

_AGENT = "paddle-vl-suite"
_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@contextmanager
def open_at(url: str, offset: int, validator: str, timeout: float) -> Iterator[Opened]:
    """Open `url` at byte `offset` (`sources.open_source`). A server without ranges answers from the beginning."""
    headers = {}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator and not validator.startswith("W/"):  # weak ones are not for ranges (RFC 9110, 13.1.5)
            headers["If-Range"] = validator
    with _request(url, "GET", headers, timeout) as response:
        start, total = _span(response)
        if start not in (0, offset):
            raise Changed(f"asked for byte {offset}, the server sends from {start}")
        yield Opened(start, total, _validator(response), _chunks(response))


def probe(url: str, timeout: float) -> Probe:
    """Send HEAD, or where a server refuses it, GET for the first byte."""
    try:
        with _request(url, "HEAD", {}, timeout) as response:
            ranges = response.headers.get("Accept-Ranges", "").lower() == "bytes"
            return Probe(url, _length(response), ranges)
    except (SourceFailed, Interrupted):
        pass
    try:
        with _request(url, "GET", {"Range": "bytes=0-0"}, timeout) as response:
            return Probe(url, _span(response)[1], response.status == 206)
    except (SourceFailed, Interrupted, Changed) as error:
        return Probe(url, problem=str(error))


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https, never from https to http: anyone on the way could change the file."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the next request; SourceFailed for a redirect that is not followed."""
        scheme = urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise SourceFailed(f"the server redirects to {public_address(newurl)}, which is not as secure")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SafeRedirects)


def _without_credentials(url: str) -> tuple[str, str]:
    """(the address without user name and password, the value of the header `Authorization` or "")."""
    parts = urlsplit(url)
    credentials, _, host = parts.netloc.rpartition("@")
    if not credentials:
        return url, ""
    encoded = base64.b64encode(unquote(credentials).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), f"Basic {encoded}"


@contextmanager
def _request(url: str, method: str, headers: dict[str, str], timeout: float) -> Iterator[Any]:
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
    try:
        address, credentials = _without_credentials(url)
        request = urllib.request.Request(address, headers=headers, method=method)
        if credentials:  # for this server alone, not for one that it redirects to
            request.add_unredirected_header("Authorization", credentials)
        response = _OPENER.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Interrupted(f"cannot be reached ({reason})") from error
    except ValueError as error:
        raise SourceFailed("not an address") from error
    with response:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise SourceFailed(f"the server sent the encoding {encoding}, which was not requested")
        yield response


def _refusal(error: urllib.error.HTTPError) -> Exception:
    answer = f"the server answered {error.code} {error.reason}"
    if error.code == 416:
        return Changed(answer)
    if error.code in _WORTH_ANOTHER_TRY:
        wait = error.headers.get("Retry-After", "") if error.headers else ""
        return Interrupted(answer, float(wait) if wait.isdigit() else None)
    return SourceFailed(answer)


def _span(response: Any) -> tuple[int, int | None]:
    """(first byte, bytes of the complete file) of a response."""
    if response.status != 206:
        return 0, _length(response)
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    if match is None:
        raise Changed("the server sent a part without a valid Content-Range")
    return int(match[1]), None if match[3] == "*" else int(match[3])


def _length(response: Any) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdigit() else None


def _validator(response: Any) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


def _chunks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except http.client.IncompleteRead as error:
            if error.partial:
                yield error.partial
            raise Interrupted("the connection was cut") from error
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"the connection was cut ({error})") from error
        if not chunk:
            return
        yield chunk
