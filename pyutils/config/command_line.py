"""Command line of every `run_<task>.py`: a configuration file, values on top of it, and the flags of the originals.

    flags = [Flag("--learning_rate", "train.optimizer.lr", type=float)]
    parser = standard_parser("run_vqa2.py", "configs/visualbert/vqa2.yaml", flags, VQAConfig)
    run = parser.parse()
    config = run.load(VQAConfig)

A flag of the originals sets configuration keys; of several flags for a key the last one wins. Flags cannot be
abbreviated; an unknown one ends the program with status 2 and the name of the nearest known one.
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
from pyutils.errors import InputError, nearest, printable

T = TypeVar("T")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@dataclass(frozen=True)
class Flag:
    """A flag of the originals and the configuration keys it sets.

    names: "--learning_rate", or several spellings: ("--text_encoder", "--textencoder").
    key: the dotted configuration key; or a function from the value to {key: value} for several; or None for a value of
        the script itself, which is in `Run.extra` under the first name.
    type: text → value. `bool` reads true/false/yes/no/1/0, and a bare flag is true.
    choices: the allowed values, None for all.
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
    """A parsed command line. `resume` is "auto" or a checkpoint path. None: not given."""

    config_path: Optional[Path]
    overrides: tuple[Override, ...] = ()
    output_dir: Optional[str] = None
    resume: Optional[str] = None
    evaluate: bool = False
    print_config: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def load(self, config_class: type[T]) -> T:
        """Load the configuration file with the command-line values on top (`pyutils.config.load_config`)."""
        return load_config(config_class, self.config_path, self.overrides)


def parse_bool(text: str) -> bool:
    """Parse true, yes, on, 1 or false, no, off, 0, in any case. Raises ArgumentTypeError for another word."""
    word = text.strip().lower()
    if word not in (*_TRUE, *_FALSE):
        raise argparse.ArgumentTypeError(f"expected true or false, found {text!r}")
    return word in _TRUE


def positive(text: str) -> int:
    """Parse a whole number of at least 1, for `Flag.type`. Raises ArgumentTypeError."""
    if not text.strip().isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


class CommandLine(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations; its errors are one line with the nearest flag.

    `default_config`: the configuration without `--config`, unless `--evaluate` finds a run in the output directory.
    """

    default_config: Optional[Path] = None

    def parse(self, arguments: Optional[Sequence[str]] = None) -> Run:
        """Parse `arguments` (default: those of the program); exit with status 2 if they are wrong."""
        found, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].partition("=")[0]
            known = [name for name in self._option_string_actions if name.startswith("--")]
            what = f"unknown flag {flag}: {nearest(flag, known)}" if flag.startswith("-") else f"unexpected {flag!r}"
            self.error(what)
        saved = Path(found.output_dir or "") / "config.yaml"  # of the run in the output directory
        evaluated = saved if found.evaluate and found.output_dir and saved.is_file() else None
        return Run(
            config_path=found.config or evaluated or self.default_config,
            overrides=tuple(found.overrides),
            output_dir=found.output_dir,
            resume=found.resume,
            evaluate=found.evaluate,
            print_config=found.print_config,
            extra=found.extra,
        )

    def error(self, message: str) -> NoReturn:
        """Print `message` without the long usage and exit with status 2."""
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
        try:
            value = self._value(parser, values, option_string)
            settings = self.flag.key(value) if callable(self.flag.key) else {self.flag.key: value}
        except (InputError, argparse.ArgumentTypeError) as error:
            parser.error(f"{option_string}: {error}")
        if self.flag.key is None:
            name = self.flag.spellings[0].lstrip("-").replace("-", "_")
            namespace.extra = {**namespace.extra, name: value}
            return
        added = [Override(key, item, option_string) for key, item in settings.items()]
        namespace.overrides = [*namespace.overrides, *added]

    def _value(self, parser, text, option_string):
        if text is True:
            return True
        try:
            value = parse_bool(text) if self.flag.type is bool else self.flag.type(text)
        except InputError:
            raise
        except ValueError:
            parser.error(f"{option_string}: expected {getattr(self.flag.type, '__name__', 'a value')}, found {text!r}")
        if self.flag.choices is not None and value not in self.flag.choices:
            parser.error(f"{option_string}: unknown value {text!r}: {nearest(text, map(str, self.flag.choices))}")
        return value


class _Common(argparse.Action):
    """A common flag that sets the configuration key `key`, in the order typed."""

    def __init__(self, *args: Any, key: str, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.key = key

    def __call__(self, parser, namespace, values, option_string=None):
        """Add one override, and keep the value under the flag's name."""
        setattr(namespace, self.dest, values)
        namespace.overrides = [*namespace.overrides, Override(self.key, values, option_string)]


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
    """Return the parser of a script: the common flags, `flags`, and `--help-config` if `config_class` is given.

    `flags` may redefine a common flag, e.g. `--seed` with a configuration key; that field of `Run` is then None.
    `without` names common flags that the script does not have.
    """
    parser = CommandLine(
        prog=prog,
        description=description or None,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # examples keep their lines
    )
    parser.set_defaults(overrides=[], extra={}, output_dir=None, resume=None, evaluate=False, print_config=False)
    own = {name for flag in flags for name in flag.spellings}
    parser.default_config = default = Path(default_config) if default_config is not None else None
    common: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("--config",), {"type": Path, "metavar": "FILE", "help": f"YAML file, default {default}"}),
        (("--set",), {"action": _Set, "metavar": "KEY=VALUE", "dest": "set_", "help": "set one configuration key"}),
        (
            ("--output_dir",),
            {"action": _Common, "key": "output_dir", "help": "directory for checkpoints, logs and results"},
        ),
        (("--seed",), {"action": _Common, "key": "train.seed", "type": int, "help": "random seed"}),
        (("--resume",), {"nargs": "?", "const": "auto", "metavar": "PATH", "help": "resume from the last checkpoint"}),
        (("--evaluate",), {"nargs": "?", "const": True, "type": parse_bool, "help": "evaluate, do not train"}),
        (("--print_config",), {"action": "store_true", "help": "print the resolved configuration before the run"}),
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
    """Format the keys of a configuration class, one per paragraph: key, type, default, documentation."""
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    lines = []
    for row in describe(config_class):
        lines.append(f"{row.key}  ({row.type}, default {row.default})".replace("default required", "required"))
        lines += textwrap.wrap(row.doc, width, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def print_config(config: Any) -> None:
    """Print the resolved configuration as YAML, in the first process only."""
    if os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
        print("# resolved configuration\n" + to_yaml(config), flush=True)


def run_main(main: Callable[[], Optional[int]]) -> NoReturn:
    """Call `main` and exit with its status (None: 0).

    InputError and a full or read-only disk are printed without a traceback: status 2. Ctrl-C: status 130, also during
    imports. A closed standard output (`head`): status 141 without a message, as for SIGPIPE in a shell.
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
    """Run `main`, print the errors that users can fix, and return the exit status."""
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
        if error.errno not in _DISK_ERRORS:
            raise
        file = f"{error.filename}: " if error.filename else ""
        return _fail(f"error: {file}{error.strerror}; free some space or use another folder; saved files are intact")


def _fail(message: str) -> int:
    # A name with a newline must not begin a line that looks like a result.
    print(printable(message).replace("\n", "\n  "), file=sys.stderr, flush=True)
    return 2


def _interrupt(number: int, frame: Optional[FrameType]) -> None:
    """Raise KeyboardInterrupt on Ctrl-C; during an import, exit at once."""
    # An import may swallow the exception or turn it into another one, and has nothing to clean up.
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"interrupted\n")
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


def _reader_is_gone() -> bool:
    """Return True if standard output is a pipe without a reader, and discard further output then."""
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
