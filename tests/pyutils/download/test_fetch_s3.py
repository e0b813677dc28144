"""s3:// sources against a local store."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pyutils.download import DownloadError, Patience, fetch, probe, s3
from pyutils.download.partial import Partial

boto3 = pytest.importorskip("boto3")
botocore = pytest.importorskip("botocore")
ClientError = pytest.importorskip("botocore.exceptions").ClientError
moto_server = pytest.importorskip("moto.server")

QUICK = Patience(attempts=2, wait=0.01, timeout=5)
CONTENT = np.random.default_rng(1).bytes(2_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def store():
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "testing")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("no_proxy", "*")
    client = boto3.client("s3")
    client.create_bucket(Bucket="sets")
    client.put_object(Bucket="sets", Key="folder/a b.bin", Body=CONTENT)
    client.put_object(Bucket="sets", Key="public", Body=CONTENT, ACL="public-read")
    yield client
    server.stop()
    patch.undo()


def bring(tmp_path, *urls: str, **facts):
    return fetch(urls, tmp_path / "file.bin", patience=QUICK, **facts)


def test_whole_object(store, tmp_path):
    assert bring(tmp_path, "s3://sets/folder/a b.bin", size=len(CONTENT), sha256=SHA256).read_bytes() == CONTENT


def test_resumes_the_same_object(store, tmp_path, monkeypatch):
    tag = store.head_object(Bucket="sets", Key="folder/a b.bin")["ETag"]
    partial = Partial(tmp_path / "file.bin")
    partial.note("s3://sets/folder/a%20b.bin", tag, len(CONTENT))
    partial.path.write_bytes(CONTENT[:1_000_000])
    asked = []
    usual = boto3.session.Session.client

    def recording(session, *args, **kwargs):
        client = usual(session, *args, **kwargs)
        client.meta.events.register("before-call.s3.GetObject", lambda params, **_: asked.append(params["headers"]))
        return client

    monkeypatch.setattr(boto3.session.Session, "client", recording)
    assert bring(tmp_path, "s3://sets/folder/a%20b.bin").read_bytes() == CONTENT
    assert asked[0]["Range"] == "bytes=1000000-"
    assert asked[0]["If-Match"] == tag


def test_an_object_that_changed_begins_again(store, tmp_path):
    store.put_object(Bucket="sets", Key="new", Body=CONTENT)
    partial = Partial(tmp_path / "file.bin")
    partial.note("s3://sets/new", '"another"', len(CONTENT))
    partial.path.write_bytes(b"x" * 1_000_000)
    assert bring(tmp_path, "s3://sets/new").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["s3://sets/nowhere", "s3://no-such-bucket-here/a"])
def test_what_is_not_there(store, tmp_path, url):
    with pytest.raises(DownloadError, match="the store answered NoSuch"):
        bring(tmp_path, url)
    assert "NoSuch" in probe(url).problem or "404" in probe(url).problem


def test_an_object_after_a_dead_mirror(store, tmp_path):
    assert bring(tmp_path, "s3://sets/nowhere", "s3://sets/folder/a b.bin").read_bytes() == CONTENT


def test_probe_downloads_nothing(store):
    found = probe("s3://sets/folder/a b.bin")
    assert (found.size, found.resumable, found.problem) == (len(CONTENT), True, "")


def test_without_credentials_requests_are_unsigned(store, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bring(tmp_path, "s3://sets/public").read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="the store answered (403|AccessDenied)"):
        fetch("s3://sets/folder/a b.bin", tmp_path / "private", patience=QUICK)


def test_addresses_that_are_not_whole(tmp_path):
    with pytest.raises(DownloadError, match="expected s3://bucket/key"):
        bring(tmp_path, "s3://bucket")


def test_without_boto3(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(DownloadError, match="needs boto3.*pip install boto3"):
        bring(tmp_path, "s3://sets/a")


def test_stale_keys_fall_back_to_anonymous(store, tmp_path, monkeypatch):
    """moto accepts every key, so signed requests are refused here as S3 refuses deleted ones."""
    call, signed = s3._call, []

    def refusing(client, method, wanted):
        if client.meta.config.signature_version != botocore.UNSIGNED:
            signed.append(method)
            raise s3._Denied("the store answered InvalidAccessKeyId")
        return call(client, method, wanted)

    monkeypatch.setattr(s3, "_call", refusing)
    assert bring(tmp_path, "s3://sets/public").read_bytes() == CONTENT
    assert signed == ["get_object"]
    with pytest.raises(DownloadError, match="InvalidAccessKeyId"):
        fetch("s3://sets/folder/a b.bin", tmp_path / "private", patience=QUICK)


def test_refused_keys_are_recognised(store):
    class Refusing:
        def get_object(self, **_):
            raise ClientError(
                {"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "GetObject"
            )

    with pytest.raises(s3._Denied, match="ExpiredToken"):
        s3._call(Refusing(), "get_object", {})
