from __future__ import annotations

import pytest

from pyutils.engine.match import check_match, warn_match
from pyutils.errors import InputError
from tests.pyutils.engine.toy import ToyTask

CONFIG = """
tokenizer: somewhere/words
vqa: {answers: old/list.txt}
model: {image_size: 256, dropout: 0.1, queue_size: 8, text: {num_heads: 2, vocab_size: 0}}
"""


@pytest.fixture
def saved(tmp_path):
    """A checkpoint folder with its files, and a task that uses copies of them under other names."""
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "vocab.txt").write_text("a\nb\n")
    (folder / "list.txt").write_text("no\nyes\n")
    (tmp_path / "words.txt").write_text("a\r\nb\r\n")
    (tmp_path / "answers.txt").write_text("no\nyes\n")
    task = ToyTask()
    task.files = [tmp_path / "words.txt", tmp_path / "answers.txt"]
    task.file_keys = ("tokenizer", "vqa.answers")
    task.config_text = (
        CONFIG.replace("0.1", "0.0").replace("queue_size: 8", "queue_size: 9").replace("size: 0", "size: 2")
    )
    return folder, task


def test_equal_files_and_settings_of_training_alone_pass(saved):
    folder, task = saved
    check_match(task, folder)
    check_match(task, folder.parent)  # a folder without such files


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("answers.txt", "yes\nno\n", r"answers\.txt.*best/list\.txt"),
        ("words.txt", "b\na\n", r"words\.txt.*best/vocab\.txt"),
    ],
)
def test_a_file_in_another_order_is_refused(saved, capsys, file, content, named):
    folder, task = saved
    (folder.parent / file).write_text(content)
    with pytest.raises(InputError, match=named):
        check_match(task, folder)
    warn_match(task, folder)
    assert f"warning: {folder}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [("256", "384", "model.image_size: 256 there, 384 now"), ("num_heads: 2", "num_heads: 4", "model.text.num_heads")],
)
def test_settings_that_no_shape_shows_are_refused(saved, old, new, named):
    folder, task = saved
    task.config_text = task.config_text.replace(old, new)
    with pytest.raises(InputError, match=named):
        check_match(task, folder)
