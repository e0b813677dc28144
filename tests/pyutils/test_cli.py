from __future__ import annotations

import argparse
import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pyutils.config import setting
from pyutils.config.command_line import (
    Flag,
    config_table,
    parse_bool,
    positive,
    print_config,
    run_main,
    standard_parser,
)
from pyutils.config.loading import parse_config
from pyutils.errors import InputError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Optimizer:
    lr: float = setting(2e-5, "Peak learning rate, 100% of it.")


@dataclass(frozen=True)
class Config:
    optimizer: Optimizer = setting(Optimizer, "The optimizer.")
    distributed: bool = setting(True, "Several processes.")
    encoder: str = setting("bert", "Text encoder.")
    dataset: str = setting("", "Data set.")
    regions: int = setting(0, "Regions of an image.")


def data_set(name):
    if name not in {"vqa2": 100, "nlvr2": 144}:
        raise InputError(f"no data set {name}")
    return {"dataset": name, "regions": {"vqa2": 100, "nlvr2": 144}[name]}


FLAGS = (
    Flag("--learning_rate", "optimizer.lr", type=float, help="peak rate, 100%"),
    Flag("--distributed", "distributed", type=bool),
    Flag(("--text_encoder", "--textencoder"), "encoder"),
    Flag("--task_name", data_set),
    Flag("--device", "dataset", choices=("cpu", "gpu")),
    Flag("--question", None),
    Flag("--top", None, type=positive),
)


def parse(*arguments, flags=FLAGS, default=None):
    return standard_parser("run_task.py", default, flags, lambda: Config).parse(list(arguments))


def test_nothing_given():
    run = parse(default="configs/a.yaml")
    assert (run.config_path, run.overrides, run.output_dir) == (Path("configs/a.yaml"), (), None)
    assert (run.resume, run.evaluate, dict(run.extra)) == (None, False, {})


def test_common_flags(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("regions: 3\nencoder: file\n")
    run = parse(
        "--config",
        str(path),
        "--output_dir",
        "out",
        "--seed",
        "7",
        "--resume",
        "a/b",
        "--evaluate",
        "--set",
        "encoder=x",
    )
    assert (run.output_dir, run.resume, run.evaluate) == ("out", "a/b", True)
    assert [(each.key, each.value) for each in run.overrides[:2]] == [("output_dir", "out"), ("train.seed", 7)]
    run = replace(run, overrides=run.overrides[2:])
    assert run.load(Config) == Config(regions=3, encoder="x")


def test_bare_resume_is_auto_and_evaluate_takes_a_word():
    assert parse("--resume").resume == "auto"
    assert parse("--resume", "--seed", "1").resume == "auto"
    assert parse("--evaluate", "False").evaluate is False


@pytest.mark.parametrize(
    ("words", "expected"),
    [((), True), (("--distributed",), True), (("--distributed", "False"), False), (("--distributed=0",), False)],
)
def test_boolean_flags_are_parsed(words, expected):
    assert parse(*words).load(Config).distributed is expected


def test_flags_of_the_originals_set_configuration_keys():
    config = parse("--learning_rate", "1e-4", "--textencoder", "roberta", "--task_name", "nlvr2").load(Config)
    assert config == Config(Optimizer(1e-4), True, "roberta", "nlvr2", 144)


def test_what_comes_later_wins():
    assert parse("--learning_rate", "1", "--set", "optimizer.lr=2").load(Config).optimizer.lr == 2
    assert parse("--set", "optimizer.lr=2", "--learning_rate", "1").load(Config).optimizer.lr == 1


def test_values_of_the_script_itself():
    assert dict(parse("--question", "what is it?").extra) == {"question": "what is it?"}


def test_a_table_may_define_a_common_flag_anew():
    run = parse("--seed", "5", flags=[Flag("--seed", "regions", type=int)])
    assert run.load(Config).regions == 5


def test_the_last_one_typed_wins_whatever_its_spelling():
    def resolved(*arguments):
        return [(each.key, each.value) for each in parse(*arguments).overrides]

    assert resolved("--output_dir", "a", "--set", "output_dir=b")[-1] == ("output_dir", "b")
    assert resolved("--set", "output_dir=b", "--output_dir", "a")[-1] == ("output_dir", "a")
    assert resolved("--set", "train.seed=2", "--seed", "1")[-1] == ("train.seed", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_rat", "1"], 'unknown flag --learning_rat: did you mean "--learning_rate"?'),
        (["--learning-rate=1"], 'unknown flag --learning-rate: did you mean "--learning_rate"?'),
        (["--qqqq"], "unknown flag --qqqq: known: --config"),
        (["stray"], "unexpected 'stray'"),
        (["--learning_rate", "fast"], "--learning_rate: expected float, found 'fast'"),
        (["--distributed", "maybe"], "--distributed: expected true or false, found 'maybe'"),
        (["--evaluate", "maybe"], "--evaluate: expected true or false, found 'maybe'"),
        (["--task_name", "vqa9"], "--task_name: no data set vqa9"),
        (["--device", "gpus"], "--device: unknown value 'gpus': did you mean \"gpu\"?"),
        (["--set", "lr"], "--set lr: expected key=value"),
        (["--seed", "x"], "--seed: invalid int value: 'x'"),
        (["--top", "0"], "--top: expected a whole number of at least 1, found '0'"),
        (["--top", "-3"], "--top: expected a whole number of at least 1, found '-3'"),
        (["--learning_rate"], "--learning_rate: expected one argument"),
    ],
)
def test_bad_command_lines_exit_2_and_say_what_to_type(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "run_task.py --help lists the flags" in error


def test_a_value_the_configuration_refuses_names_the_flag():
    with pytest.raises(InputError, match="--text_encoder: encoder: expected text, found 3"):
        parse("--text_encoder", "3", flags=[Flag("--text_encoder", "encoder", type=int)]).load(Config)


def test_help_lists_flags_and_keys(capsys):
    for flag, expected in {
        "--help": "sets optimizer.lr",
        "--help-config": "optimizer.lr  (float, default 2.0e-05)",
    }.items():
        with pytest.raises(SystemExit) as caught:
            parse(flag)
        assert caught.value.code == 0
        assert expected in capsys.readouterr().out
    assert "Peak learning rate, 100% of it." in config_table(Config)


def test_parse_bool():
    assert [parse_bool(word) for word in ("True", "off", "1", "NO")] == [True, False, True, False]
    with pytest.raises(argparse.ArgumentTypeError, match="true or false"):
        parse_bool("2")


def test_the_resolved_configuration_is_printed_once(capsys, monkeypatch):
    print_config(Config())
    assert parse_config(Config, capsys.readouterr().out) == Config()
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    print_config(Config())
    assert capsys.readouterr().out == ""


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "status", "message"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (raising(InputError("a.json: entry 3: expected a box")), 2, "error: a.json: entry 3: expected a box\n"),
        (raising(KeyboardInterrupt()), 130, "interrupted\n"),
        (
            raising(OSError(errno.ENOSPC, "No space left on device", "out/last")),
            2,
            "error: out/last: No space left on device",
        ),
        (raising(OSError(errno.EFBIG, "File too large", "out/log.jsonl")), 2, "error: out/log.jsonl: File too large"),
    ],
)
def test_run_main_statuses(capsys, main, status, message):
    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == status
    assert capsys.readouterr().err.startswith(message)


def test_run_main_lets_defects_through():
    with pytest.raises(FileNotFoundError):
        run_main(raising(FileNotFoundError(errno.ENOENT, "gone", "x")))
    with pytest.raises(ZeroDivisionError):
        run_main(lambda: 1 // 0)
    with pytest.raises(BrokenPipeError):  # of another pipe than standard output
        run_main(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))


LAUNCH = "ROOT/shell/run_module.py paddle.distributed.launch"
FAKE_PYTHON = """#!/bin/sh
case "$*" in
*paddle.device*) echo "$FAKE_GPUS" ;;
*) echo "visible=${CUDA_VISIBLE_DEVICES-unset} args=$*" ;;
esac
"""


def launched(tmp_path, start, **environment):
    """How a recipe script with a `launch` ends, started from the folder `start`."""
    root = tmp_path / "repo root"
    (root / "shell").mkdir(parents=True, exist_ok=True)
    (root / "shell" / "launch.sh").write_bytes((ROOT / "shell" / "launch.sh").read_bytes())
    (root / "shell" / "recipe.sh").write_text('. "$(dirname "$0")/launch.sh"\nlaunch run.py --name "a b" "$@"\n')
    (root / "run.py").write_text("")
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    script = {"root": "shell/recipe.sh", "shell": "recipe.sh", "else": str(root / "shell" / "recipe.sh")}[start]
    folder = {"root": root, "shell": root / "shell", "else": tmp_path}[start]
    variables = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), **environment}
    return subprocess.run(["sh", script, "-x"], cwd=folder, env=variables, capture_output=True, text=True, check=False)


def launch(tmp_path, start, **environment):
    """What `launch` in a recipe script would run."""
    done = launched(tmp_path, start, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().replace(str(tmp_path / "repo root"), "ROOT")


@pytest.mark.parametrize("start", ["root", "shell", "else"])
def test_recipes_run_from_any_folder(tmp_path, start):
    assert launch(tmp_path, start) == "visible= args=ROOT/run.py --name a b -x"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FAKE_GPUS": "0"}, "visible=0 args=ROOT/run.py"),
        (
            {"FAKE_GPUS": "0,1"},
            f"visible=unset args={LAUNCH} --gpus 0,1 --log_dir log ROOT/run.py",
        ),
        ({"FAKE_GPUS": "0,1", "GPUS": "1"}, "visible=1 args=ROOT/run.py"),
        ({"FAKE_GPUS": "0,1", "GPUS": ""}, "visible= args=ROOT/run.py"),
        (
            {"FAKE_GPUS": "0,1,2,3", "GPUS": "2,3"},
            f"visible=unset args={LAUNCH} --gpus 2,3 --log_dir log ROOT/run.py",
        ),
        (
            {"NPROC": "2", "CUDA_VISIBLE_DEVICES": ""},
            f"visible=unset args={LAUNCH} --nproc_per_node 2 --log_dir log ROOT/run.py",
        ),
    ],
)
def test_devices_of_a_recipe(tmp_path, environment, expected):
    assert launch(tmp_path, "root", **environment) == f"{expected} --name a b -x"


@pytest.fixture
def trap(tmp_path):
    """A folder of data with modules in it that must not run."""
    for name in ("yaml", "paddle", "numpy", "tqdm", "boto3", "requests"):
        (tmp_path / f"{name}.py").write_text("print('TRAP')\nraise SystemExit(66)\n")
    return tmp_path


@pytest.mark.parametrize("number", range(4))
def test_nothing_is_imported_from_the_callers_folder(trap, number):
    python = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    command = [
        ["bash", str(ROOT / "download_dataset.sh"), "--list", "refcoco+"],
        [sys.executable, "-m", "pyutils.download", "--list", "refcoco+"],
        [sys.executable, "-m", "pyutils", "data", "vqa", "--help"],
        [sys.executable, str(ROOT / "shell/run_module.py"), "paddle.distributed.launch", "--help"],
    ][number]
    done = subprocess.run(command, cwd=trap, env=python, capture_output=True, text=True, check=False)
    assert (done.returncode, "TRAP" in done.stdout + done.stderr) == (0, False), done.stderr


def test_finding_gpus_does_not_import_from_the_callers_folder(trap):
    script = f'ROOT={ROOT}; PYTHON={sys.executable}; . "$ROOT/shell/launch.sh"; echo "found $(launch_find_gpus)"'
    done = subprocess.run(["sh", "-c", script], cwd=trap, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("found") and "TRAP" not in done.stdout, done.stderr


def test_a_package_of_the_callers_folder_may_use_this_one(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/__init__.py").write_text("import pyutils")
    (tmp_path / "own/__main__.py").write_text("import beside")
    (tmp_path / "beside.py").write_text("print('imported')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "own"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "imported\n", done.stderr


@pytest.mark.parametrize("scenes", ["x[$(touch ran)]", "0", "-1", "1e3", "a", "1;touch ran", "$(touch ran)"])
def test_a_number_of_scenes_is_never_executed(tmp_path, scenes):
    environment = {**os.environ, "PYTHON": sys.executable, "SCENES": scenes}
    for recipe, data in (("vilbert-vqa.sh", "sample"), ("albef-vqa.sh", "sample"), ("vqa-finetune.sh", "sample-world")):
        command = ["bash", str(ROOT / "shell" / recipe)]
        given = {**environment, "DATA_DIR": data}
        done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "SCENES" in done.stderr, (recipe, done.stderr)
        assert not (tmp_path / "ran").exists() and not (ROOT / "ran").exists()


@pytest.mark.parametrize("devices", ["0", "0,1"])
def test_gpus_that_are_asked_for_must_be_there(tmp_path, devices):
    done = launched(tmp_path, "root", GPUS=devices)
    assert done.returncode == 2 and not done.stdout
    assert f"GPUS={devices}, but Paddle finds no GPU here; leave GPUS out for the CPU" in done.stderr


FAILING = """
from pyutils.config.command_line import run_main
from pyutils.errors import InputError

def main():
    raise InputError("x: y")

run_main(main)
"""


def test_a_failing_program_exits_plainly():
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: x: y\n")


LISTING = """
from pyutils.config.command_line import run_main, standard_parser
from pyutils.engine.settings import TrainConfig
run_main(lambda: standard_parser("x.py", None, (), lambda: TrainConfig).parse(["{flag}"]))
"""


@pytest.mark.parametrize("flag", ["--help-config", "--help"])
def test_a_reader_that_stops_early_ends_the_listing_quietly(flag):
    reading, writing = os.pipe()
    os.close(reading)
    code = LISTING.format(flag=flag)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
    )
    os.close(writing)
    assert done.stderr == "" and done.returncode in (0, 141)  # argparse itself passes over an error in --help


# The import catches whatever is raised in it, as modules with optional parts do.
STUBBORN = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    import time
    time.sleep(5)
except BaseException as error:
    raise ImportError("optional part missing") from error
"""


def test_ctrl_c_during_an_import_ends_the_program_plainly(tmp_path):
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    code = "from pyutils.config.command_line import run_main\ndef main():\n    import stubborn\nrun_main(main)"
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_ctrl_c_elsewhere_lets_clearing_up_happen(capsys):
    cleared = []

    def main():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        finally:
            cleared.append(True)

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 130 and cleared
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
