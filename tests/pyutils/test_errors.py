from __future__ import annotations

import pytest

from pyutils.config.command_line import run_main
from pyutils.console import markdown_table, say
from pyutils.data.features.__main__ import table
from pyutils.errors import InputError, closest, nearest


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(("typed", "meant"), [("vqa_2", "vqa2"), ("NLVR-2", "nlvr2"), ("nlrv2", "nlvr2")])
def test_nearest_names_what_was_meant(typed, meant):
    assert nearest(typed, ["vqa2", "nlvr2", "vcr"]) == f'did you mean "{meant}"?'


def test_nearest_lists_the_known_names_when_none_is_close():
    assert nearest("xyz", ["b", "a"]) == "known: a, b"
    assert nearest("xyz", []) == "none is known here"
    assert nearest("xyz", [f"name{i:02}" for i in range(20)]).endswith("name11 and 8 more")


def test_closest_is_none_for_strangers():
    assert closest("question", ["lr", "eps"]) is None


def test_names_from_files_cannot_steer_the_terminal(capsys):
    name = "a\x1b]0;title\x07\x1b[2J\x9b1A\u202eb\nvqa2: done"
    say(f"{name}")
    with pytest.raises(SystemExit):
        run_main(lambda: (_ for _ in ()).throw(InputError(f"image {name}: missing")))
    shown = capsys.readouterr().err
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "\\x1b]0;title\\x07" in shown
    assert "error: image a" in shown and "\n  vqa2: done: missing" in shown  # no line of its own


def test_a_newline_in_a_name_makes_no_row(capsys):
    name = "x |\n| forged | 1.0 |\u2028"
    for text in (markdown_table([{"image": name, "score": 1.0}]), table(("image", "damage"), [(name, "none")])):
        assert len(text.strip().splitlines()) == 3
        assert "\\n" in text
