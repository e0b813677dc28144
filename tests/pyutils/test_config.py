from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyutils.config.checks import at_least, multiple_of
from pyutils.config.loading import (
    REQUIRED,
    Override,
    describe,
    load_config,
    parse_config,
    setting,
    to_dict,
    to_yaml,
)
from pyutils.errors import InputError
from pyutils.formats.yaml_text import dump_yaml, parse_yaml


@dataclass(frozen=True)
class Optimizer:
    lr: float = setting(2e-5, "Peak learning rate.")
    betas: tuple[float, float] = setting((0.9, 0.999), "Decay rates of the moments.")
    no_decay: list[str] = setting(["bias"], "Regular expressions.")
    name: Literal["adamw", "sgd"] = setting("adamw", "The rule.")


@dataclass(frozen=True)
class Train:
    epochs: int = setting(10, "Passes over the data.")
    resume: Optional[str] = setting(None, "Checkpoint.")
    optimizer: Optimizer = setting(Optimizer, "The optimizer.")

    def __post_init__(self):
        at_least(self, 1, "epochs")


@dataclass(frozen=True)
class Config:
    train: Train = setting(Train, "Training.")
    teacher: Optional[Optimizer] = setting(None, "Second optimizer.")
    multipliers: dict[str, float] = setting({}, "Rate multipliers.")
    sizes: tuple[int, ...] = setting((), "Sizes.")
    limit: Union[int, float, str] = setting("all", "How many.")
    folder: Path = setting(Path("out"), "Where.")
    flag: bool = setting(False, "A switch.")
    extra: dict[str, Any] = setting({}, "Anything.")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_and_nested_values(tmp_path):
    assert load_config(Config, None) == Config()
    path = write(
        tmp_path / "c.yaml",
        "train:\n  optimizer: {lr: 1e-4, betas: [0.9, 1]}\nsizes: [1, 2, 3]\nfolder: a/b\nmultipliers: {head: 5}\n",
    )
    config = load_config(Config, path)
    assert config.train.optimizer.lr == 1e-4
    assert config.train.optimizer.betas == (0.9, 1.0)
    assert config.sizes == (1, 2, 3)
    assert config.folder == Path("a/b")
    assert config.multipliers == {"head": 5.0}
    assert isinstance(config.multipliers["head"], float)


def test_mutable_defaults_are_not_shared():
    assert Optimizer().no_decay is not Optimizer().no_decay


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "1.0e-5", "0.00001", "+1e-5", ".00001", "1.e-5"])
def test_every_spelling_of_a_number_is_one(text):
    assert parse_config(Optimizer, f"lr: {text}").lr == 1e-5


def test_whole_numbers_may_be_written_with_an_exponent():
    assert parse_config(Train, "epochs: 1e1").epochs == 10
    with pytest.raises(InputError, match=r"epochs: expected a whole number, found 1.5 \(float\)"):
        parse_config(Train, "epochs: 1.5")


def test_base_files_are_merged_deeply_and_relative_to_the_file(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "base.yaml", "train: {epochs: 3, optimizer: {lr: 1e-3, name: sgd}}\nsizes: [1, 2]\n")
    write(tmp_path / "second.yaml", "train: {epochs: 4}\n")
    path = write(
        tmp_path / "sub" / "c.yaml",
        "base: [../base.yaml, ../second.yaml]\ntrain: {optimizer: {lr: 1e-4}}\nsizes: [5]\n",
    )
    config = load_config(Config, path, ["train.optimizer.name=adamw"])
    assert (config.train.epochs, config.train.optimizer.lr, config.train.optimizer.name) == (4, 1e-4, "adamw")
    assert config.sizes == (5,)


def test_an_error_names_the_base_file_that_holds_the_value(tmp_path):
    base = write(tmp_path / "base.yaml", "train: {optimizer: {lr: fast}}\n")
    path = write(tmp_path / "c.yaml", "base: base.yaml\ntrain: {epochs: 2}\n")
    with pytest.raises(InputError) as caught:
        load_config(Config, path)
    assert str(caught.value) == f"{base}: train.optimizer.lr: expected a number, found 'fast' (str)"


def test_base_that_includes_itself(tmp_path):
    write(tmp_path / "a.yaml", "base: b.yaml\n")
    write(tmp_path / "b.yaml", "base: a.yaml\n")
    with pytest.raises(InputError, match=r"a.yaml: `base` includes itself: .*a.yaml -> .*b.yaml -> .*a.yaml"):
        load_config(Config, tmp_path / "a.yaml")


def test_base_that_is_no_path(tmp_path):
    with pytest.raises(InputError, match=r"c.yaml: base: expected a path or a list of paths, found 3"):
        load_config(Config, write(tmp_path / "c.yaml", "base: 3\n"))


def test_missing_files_name_the_nearest(tmp_path):
    write(tmp_path / "vqa2.yaml", "")
    with pytest.raises(InputError, match='no configuration file .*vqa.yaml; did you mean "vqa2.yaml"'):
        load_config(Config, tmp_path / "vqa.yaml")
    with pytest.raises(InputError, match=r"c.yaml: base: no configuration file .*vqa3.yaml; did you mean"):
        load_config(Config, write(tmp_path / "c.yaml", "base: vqa3.yaml\n"))
    with pytest.raises(InputError, match="holds no YAML file"):
        load_config(Config, tmp_path / "none" / "vqa.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {}", 'c.yaml: unknown key "trian": did you mean "train"?'),
        (
            "train: {optimizer: {lrr: 1}}",
            'c.yaml: unknown key "train.optimizer.lrr": did you mean "train.optimizer.lr"?',
        ),
        ("lr: 1", 'c.yaml: unknown key "lr": did you mean "train.optimizer.lr"?'),
        ("zzz: 1", 'c.yaml: unknown key "zzz": known: extra, flag, folder'),
        ("train: [1]", "c.yaml: train: expected a mapping of settings, found [1] (list)"),
        ("train: {epochs: true}", "c.yaml: train.epochs: expected a whole number, found True (bool)"),
        ("train: {epochs: 0}", "c.yaml: train.epochs: expected at least 1, found 0"),
        ("train: {resume: 3}", 'c.yaml: train.resume: expected text, found 3 (int); put it in quotes: "3"'),
        (
            "train: {optimizer: {betas: [1]}}",
            "train.optimizer.betas: expected tuple[float, float], found [1] (list): 2 entries",
        ),
        ("train: {optimizer: {betas: [1, a]}}", "train.optimizer.betas.1: expected a number, found 'a' (str)"),
        ("train: {optimizer: {no_decay: bias}}", "train.optimizer.no_decay: expected list[str], found 'bias' (str)"),
        (
            "train: {optimizer: {name: adam}}",
            'name: expected "adamw" | "sgd", found \'adam\' (str); did you mean "adamw"?',
        ),
        ("multipliers: {head: [1]}", "multipliers.head: expected a number, found [1] (list)"),
        ("multipliers: 3", "multipliers: expected dict[str, float], found 3 (int)"),
        ("limit: [1]", "limit: expected int | float | str, found [1] (list)"),
        ("flag: yes", "flag: expected true or false, found 'yes' (str)"),
        ("flag: 1", "flag: expected true or false, found 1 (int)"),
        ("folder: null", "folder: expected a path, found None (NoneType)"),
        ("- 1", "c.yaml: expected a mapping of keys to values, found list"),
        ("flag: true\nflag: false", "c.yaml, line 2, column 1: not valid YAML: key 'flag' is written twice"),
        ("flag: [", "c.yaml, line 1, column 8: not valid YAML"),
    ],
)
def test_bad_files_are_named_with_key_and_value(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        load_config(Config, write(tmp_path / "c.yaml", text))
    assert message in str(caught.value)
    assert "c.yaml" in str(caught.value)


def test_required_settings(tmp_path):
    @dataclass(frozen=True)
    class Needs:
        data: str = setting(REQUIRED, "Folder of the data.")

    globals()["Needs"] = Needs
    with pytest.raises(InputError, match=r"c.yaml: data: missing, give str: Folder of the data."):
        load_config(Needs, write(tmp_path / "c.yaml", ""))
    assert load_config(Needs, None, ["data=x"]).data == "x"
    assert describe(Needs)[0].default == "required"


def test_overrides_are_yaml_and_errors_name_the_flag():
    config = load_config(
        Config, None, ["train.optimizer.lr=1e-3", "sizes=[4, 5]", "flag=true", "limit=", "extra.a.b=1"][:3]
    )
    assert (config.train.optimizer.lr, config.sizes, config.flag) == (1e-3, (4, 5), True)
    assert load_config(Config, None, ["teacher.lr=1"]).teacher == Optimizer(lr=1.0)
    assert load_config(Config, None, ["extra.a.b=1"]).extra == {"a": {"b": 1}}
    assert load_config(Config, None, [Override("train.epochs", 3, "--num_train_epochs")]).train.epochs == 3
    for text, message in {
        "train.lr=1": '--set train.lr=1: unknown key "train.lr"',
        "flag=3": "--set flag=3: flag: expected true or false, found 3",
        "flag": "--set flag: expected key=value",
        "=3": "--set =3: expected key=value",
        "sizes=[": "--set sizes=[, line 1, column",
        "train.epochs.x=3": "--set train.epochs.x=3: train.epochs: expected a whole number",
    }.items():
        with pytest.raises(InputError) as caught:
            load_config(Config, None, [text])
        assert message in str(caught.value)


def test_a_union_keeps_the_kind_of_the_value():
    for text, value in {"3": 3, "3.0": 3.0, "many": "many"}.items():
        found = parse_config(Config, f"limit: {text}").limit
        assert found == value
        assert type(found) is type(value)


def test_documentation_of_every_key():
    docs = {row.key: row.doc for row in describe(Config)}
    assert docs["train.optimizer.lr"] == "Peak learning rate."
    assert docs["teacher.lr"] == "Peak learning rate."
    rows = {row.key: row for row in describe(Config)}
    assert rows["train.optimizer.lr"][1:3] == ("float", "2.0e-05")
    assert rows["train.optimizer.betas"][1:3] == ("tuple[float, float]", "[0.9, 0.999]")
    assert rows["train.resume"][1:3] == ("str | null", "null")
    assert rows["train.optimizer.name"].type == '"adamw" | "sgd"'
    assert "train" not in rows
    assert all(row.doc for row in rows.values())


texts = st.text(st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\n\t"), max_size=8)
awkward = st.sampled_from(
    ["1e-5", "no", "on", "null", "~", "2020-01-01", "1:30", "0x1F", "1_000", "<<", "=", "", " a", "#"]
)
finite = st.floats(allow_nan=False)
optimizers = st.builds(
    Optimizer,
    lr=finite,
    betas=st.tuples(finite, finite),
    no_decay=st.lists(texts | awkward),
    name=st.sampled_from(["adamw", "sgd"]),
)
configs = st.builds(
    Config,
    train=st.builds(Train, epochs=st.integers(1), resume=st.none() | texts | awkward, optimizer=optimizers),
    teacher=st.none() | optimizers,
    multipliers=st.dictionaries(texts | awkward, finite),
    sizes=st.lists(st.integers()).map(tuple),
    limit=st.integers() | finite | texts | awkward,
    folder=st.sampled_from([Path("a"), Path("1e-5")]),
    flag=st.booleans(),
    extra=st.dictionaries(texts, st.none() | st.booleans() | finite | awkward),
)


@settings(max_examples=150, deadline=None)
@given(configs)
def test_written_configurations_read_back_equal(config):
    again = parse_config(Config, to_yaml(config))
    assert again == config
    assert type(again.limit) is type(config.limit)


def test_to_dict_holds_every_field():
    assert list(to_dict(Config())) == [item.name for item in fields(Config)]


def test_yaml_words_stay_words():
    tree = parse_yaml("a: no\nb: 2020-01-01\nc: 1:30\nd: .inf\ne: -.INF\nf: 0x1F\ng:\nh: 010\n", "t")
    assert tree == {
        "a": "no",
        "b": "2020-01-01",
        "c": "1:30",
        "d": float("inf"),
        "e": -float("inf"),
        "f": 31,
        "g": None,
        "h": "010",
    }
    assert dump_yaml({"a": "no"}) == "a: 'no'\n"


@dataclass(frozen=True)
class Pair:
    wide: int = setting(8, "Width.")
    parts: int = setting(2, "Parts of it.")

    def __post_init__(self):
        multiple_of(self, "wide", "parts")


@dataclass(frozen=True)
class Nested:
    pair: Pair = setting(Pair, "Two that must fit.")
    train: Train = setting(Train, "Training.")


def test_a_refused_value_is_blamed_on_what_set_it_not_on_what_came_last(tmp_path):
    path = write(tmp_path / "c.yaml", "train: {resume: x}\npair: {wide: 8}\n")
    overrides = [Override("train.epochs", 0, "--epochs"), Override("train.resume", "y", "--resume")]
    with pytest.raises(InputError, match="^--epochs: train.epochs: expected at least 1, found 0$"):
        load_config(Nested, path, overrides)
    path = write(tmp_path / "d.yaml", "train: {epochs: 0}\n")
    with pytest.raises(InputError) as caught:
        load_config(Nested, path, overrides[1:])
    assert str(caught.value) == f"{path}: train.epochs: expected at least 1, found 0"


@pytest.mark.parametrize(
    ("text", "overrides", "blamed"),
    [
        ("pair: {wide: 8}", ["pair.parts=3"], "FILE, --set pair.parts=3"),
        ("pair: {wide: 8, parts: 3}", ["train.resume=x"], "FILE"),
        ("{}", ["pair.parts=3", "train.resume=x"], "--set pair.parts=3"),
    ],
)
def test_settings_that_do_not_fit_together_name_everything_that_set_them(tmp_path, text, overrides, blamed):
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(InputError) as caught:
        load_config(Nested, path, overrides)
    expected = "pair.wide: expected a multiple of parts (3), found 8"
    assert str(caught.value) == f"{blamed.replace('FILE', str(path))}: {expected}"


def _repeated(first: str, row: str) -> str:
    """Nine times the line before, nine times over: nine lines that stand for 9 to the power of 8 values."""
    rows = [row.format(name=new, items=", ".join([f"*{old}"] * 9)) for old, new in zip("abcdefgh", "bcdefghi")]
    return "\n".join([f"a: &a {first}", *rows])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 30_000, "nested too deeply"),
        (_repeated("[1, 2]", "{name}: &{name} [{items}]"), "once its aliases"),
        (_repeated("{x: 1}", "{name}: &{name} {{<<: [{items}]}}"), "once its aliases"),
        ("a: &a [*a]", "once its aliases"),
        ("a: !!int x", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("? [a]\n: b", "not valid YAML"),
    ],
)
def test_yaml_that_would_hurt_is_refused(text, problem):
    with pytest.raises(InputError, match=problem):
        parse_yaml(text, "a.yaml")
