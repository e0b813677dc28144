"""The command `paddle-vl`, the recipes it finds, the extras, and the report of the machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyutils
from pyutils import doctor, extras
from pyutils.__main__ import main
from pyutils.config.recipes import find_recipe, recipe_folder
from pyutils.errors import InputError
from visualbert_paddle.commands import DEFAULT_CONFIGS

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["albef", "vilbert", "visualbert"]


def python(code: str, **options) -> subprocess.CompletedProcess:
    """Run code in a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)


def test_help_names_every_command(capsys):
    for command in (["--help"], []):
        assert main(command) == 0
        shown = capsys.readouterr().out
        for name in ("train", "predict", "data", "features", "weights", "sample", "export", "doctor"):
            assert f"\n  {name} " in shown
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["paddle-vl", pyutils.__version__]


@pytest.mark.parametrize("model", MODELS)
def test_every_script_of_a_model_is_a_task(model, capsys):
    main(["train", model, "--help"])
    shown = capsys.readouterr().out
    scripts = {path.stem for path in ROOT.glob(f"{model}_paddle/run_*.py")} - {"run_predict"}
    assert {f"run_{line.split()[0]}" for line in shown.splitlines()[2:]} == scripts


def test_a_task_has_the_flags_of_its_script(capsys):
    with pytest.raises(SystemExit):
        main(["train", "visualbert", "vqa2", "--help"])
    shown = capsys.readouterr().out
    assert "paddle-vl train visualbert vqa2" in shown and "--model_name_or_path" in shown
    with pytest.raises(SystemExit):
        main(["predict", "albef", "--help"])
    assert "paddle-vl predict albef" in capsys.readouterr().out


def test_tools_get_their_arguments(capsys):
    assert main(["weights", "list"]) == 0
    assert "visualbert-vqa" in capsys.readouterr().out
    for words in (
        ["data", "download"],
        ["data", "prepare"],
        ["data", "vqa"],
        ["features"],
        ["features", "extract"],
        ["sample"],
        ["export"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        assert ended.value.code == 0 and "usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], 'unknown command.*"train"'),
        (["train"], "which model"),
        (["train", "visual-bert", "vqa2"], '"visualbert"'),
        (["train", "visualbert"], "which task of visualbert"),
        (["train", "visualbert", "vqa"], '"vqa2"'),
        (["predict", "alber"], '"albef"'),
        (["data", "downlod"], '"download"'),
    ],
)
def test_unknown_words_name_the_nearest_known_one(words, message):
    with pytest.raises(InputError, match=message):
        main(words)


def test_help_does_not_import_paddle():
    code = "import sys; from pyutils.__main__ import main; main(['train', 'vilbert', '--help'])"
    done = python(f"{code}; sys.exit('paddle' in sys.modules)", cwd=ROOT)
    assert done.returncode == 0, done.stderr


SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*_paddle/run_*.py"))
MODULES = sorted(str(path.parent.relative_to(ROOT)).replace("/", ".") for path in ROOT.glob("pyutils/**/__main__.py"))
HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
run = runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module
try:
    run(sys.argv[0], run_name="__main__")
except SystemExit as end:
    sys.exit(end.code or "paddle" in sys.modules)
sys.exit("paddle" in sys.modules)
"""


@pytest.mark.parametrize("command", [*SCRIPTS, *MODULES, "albef_paddle.sample"])
def test_help_of_every_command_starts_without_paddle(command):
    done = subprocess.run([sys.executable, "-c", HELP, command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_recipes_of_a_checkout_and_of_an_installed_package(tmp_path):
    assert recipe_folder(ROOT / "visualbert_paddle") == ROOT / "configs/visualbert" == DEFAULT_CONFIGS
    (tmp_path / "visualbert_paddle/configs").mkdir(parents=True)
    assert recipe_folder(tmp_path / "visualbert_paddle") == tmp_path / "visualbert_paddle/configs"


def test_a_recipe_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = DEFAULT_CONFIGS / "tiny/vcr.yaml"
    for name in ("tiny/vcr", "tiny/vcr.yaml", "configs/visualbert/tiny/vcr.yaml", str(recipe)):
        assert find_recipe(Path(name), DEFAULT_CONFIGS) == recipe
    Path("vqa2.yaml").touch()
    assert find_recipe(Path("vqa2.yaml"), DEFAULT_CONFIGS) == Path("vqa2.yaml")  # the user's own file comes first
    with pytest.raises(InputError, match='did you mean "tiny/vcr.yaml"'):
        find_recipe(Path("tiny/vrc.yaml"), DEFAULT_CONFIGS)


def test_another_package_named_pyutils_is_recognised(tmp_path):
    (tmp_path / "pyutils").mkdir()
    (tmp_path / "pyutils/__init__.py").touch()
    for model in MODELS:
        done = python(f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import {model}_paddle")
        assert done.returncode == 1
        assert re.search(rf"{re.escape(str(tmp_path))}.*pip uninstall pyutils", done.stderr)


def test_extras_are_those_of_the_project():
    """The table of install commands and pyproject.toml name the same packages."""
    tomllib = pytest.importorskip("tomllib")
    with (ROOT / "pyproject.toml").open("rb") as stream:
        declared = tomllib.load(stream)["project"]["optional-dependencies"]
    names = {extra: {re.match(r"[\w-]+", line)[0] for line in lines} for extra, lines in declared.items()}
    for extra, lines in extras.PACKAGES.items():
        assert {re.match(r"[\w-]+", line)[0] for line in lines} == names[extra]
    listed = (ROOT / "requirements-extras.txt").read_text(encoding="utf-8").splitlines()
    wanted = [
        line.replace("'", '"') for extra in extras.PACKAGES if extra not in ("cpu", "onnx") for line in declared[extra]
    ]
    assert [line for line in listed if not line.startswith("#")] == wanted
    dev = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").replace('"', "'").splitlines()
    assert sorted(line for line in dev if not line.startswith("#")) == sorted(declared["dev"])


def test_a_missing_extra_is_named_with_its_command(monkeypatch):
    extras.need("plots", "json", "reading")
    with pytest.raises(InputError, match='drawing needs no_such.*extra "plots": pip install matplotlib$'):
        extras.need("plots", "no_such", "drawing")
    assert '"datasets<3"' in extras.install_command("paddlenlp")  # a shell must not take < for a redirection


def test_the_doctor_reports_this_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data/coco").mkdir(parents=True)
    (tmp_path / "output/vqa/best").mkdir(parents=True)
    (tmp_path / "output/vqa/best/model.safetensors").touch()
    assert doctor.main(["--root", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert pyutils.__version__ in shown and "Paddle" in shown
    assert str(tmp_path / "data/coco") in shown and str(tmp_path / "output/vqa") in shown


def test_the_doctor_says_what_stops_every_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "paddle", None)
    monkeypatch.setattr(doctor, "_PYTHONS", ((3, 1), (3, 2)))
    assert doctor.main(["--root", str(tmp_path)]) == 1
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith(doctor.PROBLEM)]
    assert len(problems) == 2 and "pip install paddlepaddle" in problems[1]
