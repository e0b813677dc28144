"""Earlier names of configuration keys, in files, in base files and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest

from albef_paddle.tasks.base import AlbefRunConfig
from pyutils.config import load_config, setting
from pyutils.config.loading import parse_config
from pyutils.config.renamed import Renamed
from pyutils.errors import InputError
from vilbert_paddle.tasks.vcr import VCRRunConfig
from visualbert_paddle.tasks.vcr import VisualBertVCRConfig


@dataclass(frozen=True)
class Section:
    size: int = setting(1, "Size.")


@dataclass(frozen=True)
class Config:
    renamed_keys: ClassVar[Mapping[str, Renamed]] = {
        "section.old": Renamed("new", {True: "yes"}),
        "mode": Renamed("mode", {"a": "answer"}),
    }
    section: Section = setting(Section, "A section.")
    new: str = setting("no", "A value.")
    mode: str = setting("answer", "A mode.")


def test_an_earlier_name_is_read_in_a_file_and_said(tmp_path, capsys):
    (tmp_path / "base.yaml").write_text("section: {old: true}\n")
    (tmp_path / "own.yaml").write_text("base: base.yaml\nmode: a\n")
    config = load_config(Config, tmp_path / "own.yaml")
    assert (config.new, config.mode, config.section.size) == ("yes", "answer", 1)
    said = capsys.readouterr().err
    assert "section.old" in said and "new" in said and "base.yaml" in said


def test_a_typed_earlier_name_overrides_a_file_with_the_present_one(tmp_path):
    (tmp_path / "own.yaml").write_text("new: file\nsection: {size: 3}\n")
    config = load_config(Config, tmp_path / "own.yaml", ["section.old=typed"])
    assert (config.new, config.section.size) == ("typed", 3)


def test_both_names_in_one_file_are_refused():
    with pytest.raises(InputError, match="mine.yaml.*section.old.*new"):
        parse_config(Config, "new: x\nsection: {old: y}", "mine.yaml")


def test_each_replacement_is_said_once(capsys):
    for _ in range(2):
        parse_config(Config, "mode: a", "twice.yaml")
    assert capsys.readouterr().err.count("twice.yaml") == 1


@pytest.mark.parametrize(
    ("config_class", "typed", "key", "value"),
    [
        (AlbefRunConfig, "data.blind=true", "image_input", "withheld"),
        (AlbefRunConfig, "data.blind=false", "image_input", "shown"),
        (VisualBertVCRConfig, "regions.picture=shuffled", "image_input", "shuffled"),
        (VCRRunConfig, "regions.picture=withheld", "image_input", "withheld"),
        (VisualBertVCRConfig, "mode=qa_r", "mode", "rationale"),
        (VCRRunConfig, "vcr.asked=rationale", "mode", "rationale"),
    ],
)
def test_earlier_names_of_the_models(config_class, typed, key, value):
    assert getattr(load_config(config_class, None, [typed]), key) == value


def test_a_misspelt_value_of_an_earlier_name_is_named():
    with pytest.raises(InputError, match="image_input.*shown"):
        load_config(AlbefRunConfig, None, ["data.blind=maybe"])
