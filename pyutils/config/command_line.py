"""The command line that every `run_<task>.py` has: a configuration file, values over it, and the originals' own flags.

    flags = [Flag("--learning_rate", "train.optimizer.lr", type=float)]
    parser = standard_parser("run_vqa2.py", "configs/visualbert/vqa2.yaml", flags, VQAConfig)
    run = parser.parse()
    config = run.load(VQAConfig)

A flag of the originals writes into the configuration, in the order typed, so that what comes later on the line wins.
Flags are never abbreviated; an unknown one ends the program with status 2 and the name of the nearest known one.
"""

from __future__ import annotations

import argparse
import errno
import os
import select
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Optional, TypeVar, Union

from pyutils.config.loading import Override, describe, load_config, to_yaml
from pyutils.errors import InputError, nearest

T = TypeVar("T")
_DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@dataclass(frozen=True)
class Flag:
    """One flag that users of the originals type, and what it sets.

    names: "--learning_rate", or several spellings: ("--text_encoder", "--textencoder").
    key: the dotted configuration key; or a function from the value to {key: value} for a flag that sets several; or
        None for a value that belongs to the script alone: it arrives in `Run.extra` under the first name.
    type: text → value. `bool` reads true/false/yes/no/1/0, and a bare flag is true.
    choices: the values allowed, None for all.
    """

    names: Union[str, tuple[str, ...]]
    key: Union[str, Callable[[Any], Mapping[str, Any]], None]
    type: Callable[[str], Any] = str
    help: str = ""
    choices: Optional[Sequence[Any]] = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """All names of the flag, with their dashes."""
        return (self.names,) if isinstance(self.names, str) else tuple(self.names)


@dataclass(frozen=True)
class Run:
    """A parsed command line. `resume` is None, "auto" or a checkpoint path; None elsewhere means: not given."""

    config_path: Optional[Path]
    overrides: tuple[Override, ...] = ()
    output_dir: Optional[str] = None
    seed: Optional[int] = None
    resume: Optional[str] = None
    evaluate: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def load(self, config_class: type[T]) -> T:
        """The configuration file with the command line's values over it (`pyutils.config.load_config`)."""
        typed = {"output_dir": self.output_dir, "train.seed": self.seed}
        common = [Override(key, value, f"--{key.split('.')[-1]}") for key, value in typed.items() if value is not None]
        return load_config(config_class, self.config_path, (*self.overrides, *common))


def parse_bool(text: str) -> bool:
    """True for true, yes, on, 1; False for false, no, off, 0, in any case; else ValueError."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.strip().lower() not in words:
        raise ValueError("expected true or false")
    return words[text.strip().lower()]


def positive(text: str) -> int:
    """A whole number of at least 1, for `Flag.type`. Raises InputError."""
    if not text.strip().isdecimal() or not int(text):
        raise InputError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


class CommandLine(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations whose errors are one line and name the nearest flag.

    `default_config`: the configuration where none is typed and `--evaluate` finds no run in the output folder.
    """

    default_config: Optional[Path] = None

    def parse(self, arguments: Optional[Sequence[str]] = None) -> Run:
        """Parse `arguments` (default: the program's own); ends the program with status 2 where they are wrong."""
        found, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].partition("=")[0]
            known = [name for name in self._option_string_actions if name.startswith("--")]
            what = f"unknown flag {flag}: {nearest(flag, known)}" if flag.startswith("-") else f"unexpected {flag!r}"
            self.error(what)
        return Run(
            config_path=found.config or self._config_of_run(found) or self.default_config,
            overrides=tuple(found.overrides),
            output_dir=found.output_dir,
            seed=found.seed,
            resume=found.resume,
            evaluate=found.evaluate,
            extra=found.extra,
        )

    def _config_of_run(self, found: argparse.Namespace) -> Optional[Path]:
        """With `--evaluate` and `--output_dir`, the configuration that the run there saved."""
        saved = Path(found.output_dir) / "config.yaml" if found.evaluate and found.output_dir else None
        return saved if saved and saved.is_file() else None

    def error(self, message: str) -> NoReturn:
        """Print `message` and where help is, without the long usage, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n{self.prog} --help lists the flags\n")


class _Set(argparse.Action):
    """`--set key=value`."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Add one override, in the order typed."""
        try:
            namespace.overrides = [*namespace.overrides, Override.parse(values)]
        except InputError as error:
            parser.error(str(error))


class _FlagAction(argparse.Action):
    """A flag from a table: adds its overrides, in the order typed, or its value to `extra`."""

    def __init__(self, *args: Any, flag: Flag, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.flag = flag

    def __call__(self, parser, namespace, values, option_string=None):
        """Convert the text, check it, and store it."""
        value = self._value(parser, values, option_string)
        if self.flag.key is None:
            name = self.flag.spellings[0].lstrip("-").replace("-", "_")
            namespace.extra = {**namespace.extra, name: value}
            return
        settings = {self.flag.key: value} if isinstance(self.flag.key, str) else self._expand(parser, value)
        added = [Override(key, item, option_string) for key, item in settings.items()]
        namespace.overrides = [*namespace.overrides, *added]

    def _value(self, parser, text, option_string):
        if text is True:
            return True
        convert = parse_bool if self.flag.type is bool else self.flag.type
        try:
            value = convert(text)
        except InputError as error:
            parser.error(f"{option_string}: {error}")
        except ValueError:
            expected = "true or false" if self.flag.type is bool else getattr(self.flag.type, "__name__", "a value")
            parser.error(f"{option_string}: expected {expected}, found {text!r}")
        if self.flag.choices is not None and value not in self.flag.choices:
            parser.error(f"{option_string}: unknown value {text!r}: {nearest(text, map(str, self.flag.choices))}")
        return value

    def _expand(self, parser, value):
        try:
            return self.flag.key(value)
        except InputError as error:
            return parser.error(f"{self.option_strings[0]}: {error}")


class _DescribeConfig(argparse.Action):
    """`--help-config`: print the table of configuration keys and exit."""

    def __init__(self, *args: Any, config_class: Callable[[], type], **kwargs: Any):
        kwargs["nargs"] = 0
        super().__init__(*args, **kwargs)
        self.config_class = config_class

    def __call__(self, parser, namespace, values, option_string=None):
        """Print and exit with status 0."""
        print(config_table(self.config_class()))
        parser.exit(0)


def standard_parser(
    prog: str,
    default_config: Union[str, Path, None],
    flags: Sequence[Flag] = (),
    config_class: Optional[Callable[[], type]] = None,
    description: str = "",
    without: Sequence[str] = (),
) -> CommandLine:
    """The parser of a script: the common flags, `flags`, and `--help-config` where `config_class` is given.

    A table may define a common flag anew, e.g. `--seed` or `--output_dir` with a configuration key: the table wins, and
    that field of `Run` stays None. `without` names common flags that the script does not have.
    """
    parser = CommandLine(
        prog=prog,
        description=description or None,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # examples keep their lines
    )
    parser.set_defaults(overrides=[], extra={}, output_dir=None, seed=None, resume=None, evaluate=False)
    own = {name for flag in flags for name in flag.spellings}
    parser.default_config = default = Path(default_config) if default_config is not None else None
    common: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("--config",), {"type": Path, "metavar": "FILE", "help": f"YAML file, default {default}"}),
        (("--set",), {"action": _Set, "metavar": "KEY=VALUE", "dest": "set_", "help": "set one configuration key"}),
        (("--output_dir",), {"help": "folder for checkpoints, logs and results"}),
        (("--seed",), {"type": int, "help": "seed of every random choice"}),
        (("--resume",), {"nargs": "?", "const": "auto", "metavar": "PATH", "help": "go on from the last checkpoint"}),
        (("--evaluate",), {"nargs": "?", "const": True, "type": _bool_argument, "help": "evaluate, do not train"}),
    ]
    for names, options in common:
        if not own.intersection(names) and not set(without).intersection(names):
            parser.add_argument(*names, **options)
    if config_class is not None:
        help_text = "list the configuration keys and exit"
        parser.add_argument("--help-config", action=_DescribeConfig, config_class=config_class, help=help_text)
    for flag in flags:
        _add_flag(parser, flag)
    return parser


def _bool_argument(text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, found {text!r}") from None


def _add_flag(parser: CommandLine, flag: Flag) -> None:
    bare: dict[str, Any] = {"nargs": "?", "const": True} if flag.type is bool else {}
    sets = f"sets {flag.key}" if isinstance(flag.key, str) else ""
    help_text = "; ".join(part for part in (flag.help, sets) if part).replace("%", "%%")
    metavar = flag.spellings[0].lstrip("-").upper()
    parser.add_argument(
        *flag.spellings,
        action=_FlagAction,
        flag=flag,
        dest=f"flag_{metavar}",
        default=argparse.SUPPRESS,
        metavar=metavar,
        help=help_text,
        **bare,
    )


def config_table(config_class: type) -> str:
    """The keys of a configuration class, one a paragraph: key, type, default, documentation."""
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    lines = []
    for row in describe(config_class):
        lines.append(f"{row.key}  ({row.type}, default {row.default})".replace("default required", "required"))
        lines += textwrap.wrap(row.doc, width, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def print_config(config: Any) -> None:
    """Print the resolved configuration as YAML, on the first of several processes only."""
    if os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
        print("# resolved configuration\n" + to_yaml(config), flush=True)


def run_main(main: Callable[[], Optional[int]]) -> NoReturn:
    """Call `main` and exit with its status (None: 0).

    InputError, and an OSError that says that the disk is full or may not be written, are printed without a traceback:
    status 2. Ctrl-C: status 130, while modules are being imported too. A reader of the output that stops early (`head`)
    ends the program quietly: status 141, as the shell has it for SIGPIPE.
    """
    previous = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread() and previous is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        sys.exit(_status(main))
    finally:
        if ours:
            signal.signal(signal.SIGINT, previous)


def _status(main: Callable[[], Optional[int]]) -> int:
    """The exit status of `main`, whose errors that the user can put right are printed."""
    try:
        try:
            return main() or 0
        finally:
            sys.stdout.flush()
    except InputError as error:
        return _fail(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        return 141
    except OSError as error:
        if error.errno not in _DISK_TROUBLE:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _fail(
            f"error: {place}{error.strerror}; make room or choose another folder, what was saved before is whole"
        )


def _fail(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    return 2


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    """Ctrl-C: KeyboardInterrupt; in the middle of an import, which may swallow that or call it another error, the end.

    Nothing that needs clearing up is under way there.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"interrupted\n")
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads; what is left to print is then dropped."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # replaced by an object in memory
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True
