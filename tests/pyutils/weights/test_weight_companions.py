"""Where `python -m pyutils.weights convert` writes, and the files that come along."""

from __future__ import annotations

import errno
import shutil

import pytest

from pyutils.errors import InputError
from pyutils.weights import converting
from pyutils.weights.__main__ import main
from tests.support import golden
from visualbert_paddle.config import VisualBertConfig
from visualbert_paddle.network.heads import VisualBertForQuestionAnswering

AUTHORS = str(golden("visualbert/checkpoint_names/vqa").folder / "authors.safetensors")
HEADS = 2  # no size of a tensor tells it


def convert(source, destination, *options) -> int:
    return main(["convert", str(source), str(destination), "--model", "visualbert", *options])


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint folder with all that a run leaves in it."""
    config = VisualBertConfig(
        vocab_size=11, hidden_size=8, num_layers=1, num_heads=HEADS, intermediate_size=8, max_positions=6, visual_dim=5
    )
    vocabulary = tmp_path / "bert/vocab.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_text("[PAD]\n")
    folder = tmp_path / "run/best"
    VisualBertForQuestionAnswering(config, 3).save_pretrained(folder, vocabulary)
    for name in ("answers_vqa.txt", "state.json", "state.safetensors"):
        (folder / name).write_text("x")
    return folder


def test_configuration_and_vocabulary_come_along_into_a_folder(tmp_path, checkpoint, capsys):
    for number, source in enumerate((tmp_path / "run", checkpoint, checkpoint / "model.safetensors")):
        folder = tmp_path / f"new.{number}"
        assert convert(source, folder, "--dtype", "bfloat16") == 0
        assert "with answers_vqa.txt, config.yaml, vocab.txt" in capsys.readouterr().out
        found = sorted(item.name for item in folder.iterdir())
        assert found == ["answers_vqa.txt", "config.yaml", "model.safetensors", "vocab.txt"]
        assert VisualBertForQuestionAnswering.from_pretrained(folder).config.num_heads == HEADS
    assert convert(checkpoint, checkpoint) == 0
    assert VisualBertForQuestionAnswering.from_pretrained(checkpoint).config.num_heads == HEADS


def test_a_single_file_says_what_stayed_behind(tmp_path, checkpoint, capsys):
    assert convert(checkpoint, tmp_path / "x.safetensors") == 0
    told = f"answers_vqa.txt, config.yaml, vocab.txt not copied from {checkpoint}"
    assert told in capsys.readouterr().out
    shutil.copyfile(AUTHORS, tmp_path / "alone.safetensors")
    assert convert(tmp_path / "alone.safetensors", tmp_path / "y.safetensors") == 0
    assert "not copied" not in capsys.readouterr().out


def test_beside_weights_of_others_only_known_names_come_along(tmp_path):
    source = tmp_path / "downloads"
    source.mkdir()
    for name in ("config.json", "vocab.txt", "letter.txt"):
        (source / name).write_text("{}")
    assert [path.name for path in converting.companions(source / "pytorch_model.bin")] == ["config.json", "vocab.txt"]


def test_folders_may_have_a_dot_in_their_name(tmp_path):
    assert convert(AUTHORS, tmp_path / "o/new.folder") == 0
    assert (tmp_path / "o/new.folder/model.safetensors").is_file()


@pytest.mark.parametrize("name", ["x.pth", "x.onnx", "x.safetensor", "x.SAFETENSORS", "x.pdparam"])
def test_names_of_other_files_are_no_folders(tmp_path, name):
    with pytest.raises(InputError, match=r"weights are written as \.safetensors"):
        convert(AUTHORS, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_not_called_full(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: is a file"):
        convert(AUTHORS, tmp_path / "file")
    with pytest.raises(InputError, match="nothing was left there. Choose another place"):
        convert(AUTHORS, tmp_path / "file/x.safetensors")
    assert (tmp_path / "file").read_text() == "mine"

    def full(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(converting, "write_safetensors", full)
    with pytest.raises(InputError, match="Make room or choose another place"):
        convert(AUTHORS, tmp_path / "x.safetensors")
