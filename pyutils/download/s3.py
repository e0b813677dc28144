"""s3://bucket/key through boto3, which is imported when the first such source is used.

Credentials, region and another endpoint (`AWS_ENDPOINT_URL`) come from the usual AWS settings; without credentials, or
where the store refuses them (expired keys), requests are sent unsigned, as public buckets allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from pyutils.download.transport import (
    CHUNK,
    Changed,
    DownloadError,
    Interrupted,
    Opened,
    Probe,
    SourceFailed,
    public_address,
)
from pyutils.extras import missing

_CHANGED = {"412", "PreconditionFailed", "416", "InvalidRange"}
_BAD_CREDENTIALS = {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


class _Denied(SourceFailed):
    """The store refuses these credentials."""


@contextmanager
def open_at(url: str, offset: int, validator: str, timeout: float) -> Iterator[Opened]:
    """Open the object at byte `offset` (`sources.open_source`)."""
    bucket, key = _address(url)
    wanted: dict[str, Any] = {"Bucket": bucket, "Key": key}
    if offset:
        wanted["Range"] = f"bytes={offset}-"
        if validator:
            wanted["IfMatch"] = validator
    answer = _ask("get_object", wanted, timeout)
    # "bytes 5-9/10": a whole object has no such line.
    total = int(answer["ContentRange"].rpartition("/")[2]) if answer.get("ContentRange") else answer["ContentLength"]
    start = offset if answer.get("ContentRange") else 0
    try:
        yield Opened(start, total, answer.get("ETag", ""), _chunks(answer["Body"]))
    finally:
        answer["Body"].close()


def probe(url: str, timeout: float) -> Probe:
    """Ask for the object's size, without its content."""
    bucket, key = _address(url)
    try:
        answer = _ask("head_object", {"Bucket": bucket, "Key": key}, timeout)
    except (SourceFailed, Interrupted, Changed) as error:
        return Probe(url, problem=str(error))
    return Probe(url, answer["ContentLength"], resumable=True)


def _address(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    key = unquote(parts.path.lstrip("/"))
    if not parts.netloc or not key:
        raise DownloadError(f"{public_address(url)}: expected s3://bucket/key")
    return parts.netloc, key


def _ask(method: str, wanted: dict[str, Any], timeout: float) -> Any:
    """Call `method`, signed where there are credentials, and unsigned where these are refused."""
    client = _client(timeout)
    if client is None:
        return _call(_client(timeout, signed=False), method, wanted)
    try:
        return _call(client, method, wanted)
    except _Denied as denied:
        try:
            return _call(_client(timeout, signed=False), method, wanted)
        except _Denied:
            raise denied from None


def _client(timeout: float, signed: bool = True) -> Any:
    """A client; None for a signed one without usable credentials."""
    try:
        import boto3
        import botocore
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise DownloadError(missing("s3", "boto3", "reading s3://")) from error
    session = boto3.session.Session()
    settings = {"connect_timeout": timeout, "read_timeout": timeout, "retries": {"max_attempts": 2}}
    if not signed:
        settings["signature_version"] = botocore.UNSIGNED
    else:
        try:
            if session.get_credentials() is None:
                return None
        except BotoCoreError:  # a half-written profile
            return None
    region = session.region_name or "us-east-1"
    return session.client("s3", region_name=region, config=Config(**settings))


def _call(client: Any, method: str, wanted: dict[str, Any]) -> Any:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        CredentialRetrievalError,
        NoCredentialsError,
        PartialCredentialsError,
        TokenRetrievalError,
    )

    try:
        return getattr(client, method)(**wanted)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        answer = f"the store answered {code or status}"
        if code in _CHANGED:
            raise Changed(answer) from error
        if status >= 500 or code in ("SlowDown", "Throttling"):
            raise Interrupted(answer) from error
        if code in _BAD_CREDENTIALS or status in (401, 403):
            raise _Denied(answer) from error
        raise SourceFailed(answer) from error
    except (CredentialRetrievalError, NoCredentialsError, PartialCredentialsError, TokenRetrievalError) as error:
        raise _Denied("the credentials cannot be used") from error
    except BotoCoreError as error:
        raise Interrupted(f"cannot be reached ({error})") from error


def _chunks(body: Any) -> Iterator[bytes]:
    from botocore.exceptions import BotoCoreError

    while True:
        try:
            chunk = body.read(CHUNK)
        except (BotoCoreError, OSError) as error:
            raise Interrupted(f"the connection was cut ({error})") from error
        if not chunk:
            return
        yield chunk
