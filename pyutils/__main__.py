"""The command `paddle-vl`: train, predict, and the tools that come with the models.

usage: paddle-vl COMMAND [ARGUMENTS]     (also: python -m pyutils COMMAND …)

  train MODEL TASK      train or evaluate, e.g. paddle-vl train visualbert vqa2 --output_dir output/vqa2
  predict MODEL         predict with a trained model, e.g. paddle-vl predict albef --checkpoint output/VQA --split test
  data COMMAND          data sets: download, prepare (ALBEF's lists), crawl (web tables), vqa (scores, answer lists)
  features COMMAND      region features: extract, convert, subset, export, inspect, verify, compare
  weights COMMAND       weight files: convert, inspect, diff, list, download
  sample COMMAND        generated data sets: easy-vqa, world
  export                write an inference program of a trained model
  doctor                check versions, devices, threads, memory, disk, data and checkpoints of this machine

--help after a command lists its arguments; --version prints the version.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Optional

import pyutils
from pyutils.config.command_line import run_main
from pyutils.errors import InputError, nearest
from pyutils.packages import COMMANDS, announced

Arguments = list[str]
_HELP = ("-h", "--help")


def main(arguments: Optional[Sequence[str]] = None) -> Optional[int]:
    """Run one command; return its exit status. Raises InputError for an unknown command, model or task."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in _HELP:
        print((__doc__ or "").strip())
        return 0
    if given[0] == "--version":
        print(f"paddle-vl {pyutils.__version__}")
        return 0
    name, rest = _first(given, _TABLE, "command")
    return _TABLE[name](rest)


def run() -> NoReturn:
    """Run the program's own arguments and exit."""
    run_main(main)


def _first(arguments: Arguments, known: Mapping[str, Any], what: str) -> tuple[str, Arguments]:
    """Split off the first argument, which must be one of `known`."""
    if not arguments:
        raise InputError(f"which {what}? Give one of {', '.join(known)}")
    if arguments[0] not in known:
        raise InputError(f"unknown {what} {arguments[0]!r}: {nearest(arguments[0], known)}")
    return arguments[0], arguments[1:]


def _train(arguments: Arguments) -> None:
    """`train MODEL TASK …`, where TASK is the name of a script without run_ and .py."""
    models = announced(COMMANDS)
    if arguments[:1] and arguments[0] in _HELP:
        print(f"usage: paddle-vl train MODEL TASK [FLAGS]\n\nmodels: {', '.join(models)}")
        return
    model, rest = _first(arguments, models, "model")
    package = models[model].load()
    tasks = {command.script[len("run_") : -len(".py")]: command for command in package.commands}
    if rest[:1] and rest[0] in _HELP:
        print(f"usage: paddle-vl train {model} TASK [FLAGS]\n")
        print("\n".join(f"  {name:<15} {command.about}" for name, command in tasks.items()))
        return
    task, rest = _first(rest, tasks, f"task of {model}")
    package.run_training(tasks[task], rest, f"paddle-vl train {model} {task}")


def _predict(arguments: Arguments) -> None:
    models = announced(COMMANDS)
    if arguments[:1] and arguments[0] in _HELP:
        print(f"usage: paddle-vl predict MODEL --checkpoint CHECKPOINT [FLAGS]\n\nmodels: {', '.join(models)}")
        return
    model, rest = _first(arguments, models, "model")
    models[model].load().run_prediction(rest, f"paddle-vl predict {model}")


def _data(arguments: Arguments) -> Optional[int]:
    if arguments[:1] and arguments[0] in _HELP:
        print(f"usage: paddle-vl data COMMAND [ARGUMENTS]\n\ncommands: {', '.join(_DATA)}")
        return 0
    name, rest = _first(arguments, _DATA, "command of data")
    return _DATA[name](rest)


# A command imports only its own modules: the help must not wait for the others'.
def _download(arguments: Arguments) -> Optional[int]:
    from pyutils.download.__main__ import main as command

    return command(arguments)


def _prepare(arguments: Arguments) -> Optional[int]:
    from pyutils.data.prepare.__main__ import main as command

    return command(arguments)


def _crawl(arguments: Arguments) -> Optional[int]:
    from pyutils.data.prepare.crawl import main as command

    return command(arguments)


def _vqa(arguments: Arguments) -> Optional[int]:
    from pyutils.data.vqa.__main__ import main as command

    return command(arguments)


def _features(arguments: Arguments) -> Optional[int]:
    if arguments[:1] == ["extract"]:
        from pyutils.regions.__main__ import run as extract

        extract(arguments[1:])
        return None
    from pyutils.data.features.__main__ import main as command

    return command(arguments)


def _weights(arguments: Arguments) -> Optional[int]:
    from pyutils.weights.__main__ import main as command

    return command(arguments)


def _sample(arguments: Arguments) -> Optional[int]:
    from pyutils.sample.__main__ import main as command

    return command(arguments)


def _export(arguments: Arguments) -> Optional[int]:
    from pyutils.export.__main__ import main as command

    return command(arguments)


def _doctor(arguments: Arguments) -> Optional[int]:
    from pyutils.doctor import main as command

    return command(arguments)


_DATA: Mapping[str, Callable[[Arguments], Optional[int]]] = {
    "download": _download,
    "prepare": _prepare,
    "crawl": _crawl,
    "vqa": _vqa,
}
_TABLE: Mapping[str, Callable[[Arguments], Optional[int]]] = {
    "train": _train,
    "predict": _predict,
    "data": _data,
    "features": _features,
    "weights": _weights,
    "sample": _sample,
    "export": _export,
    "doctor": _doctor,
}

if __name__ == "__main__":
    run()
