"""YAML as people write it in configurations: `1e-5` is a number, `no` is a word, a repeated key is an error.

PyYAML follows YAML 1.1, which reads `1e-5` as text, `no` as false, `1:30` as 90 and `2020-01-01` as a date. The loader
here follows the YAML 1.2 core schema. The dumper quotes text that either version would read as something else, so that
its output loads unchanged everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from pyutils.errors import InputError

_SCALARS = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)


_MOST_VALUES = 1_000_000


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write a repeated value out again: people edit these files."""
        return True

    def represent_list(self, data: Iterable[Any]) -> yaml.SequenceNode:
        """Write lists of scalars on one line."""
        flat = not any(isinstance(item, (list, dict)) for item in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat or None)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen = set()
    for key_node, _ in node.value:
        key = (key_node.tag, str(key_node.value))
        if key in seen:
            problem = f"key {key_node.value!r} is written twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=inf|nan)", "", node.value.lower()))


_Dumper.add_representer(list, _Dumper.represent_list)
for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), [*_first.replace("\0", ""), ""])
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse_yaml(text: str, name: str) -> Any:
    """Return the value of the YAML document `text`; InputError naming `name`, line and column when it is not YAML."""
    try:
        loader = _Loader(text)  # refuses control characters at once
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, name)
        return loader.construct_document(node)
    except RecursionError:
        raise InputError(f"{name}: nested too deeply; a configuration nests a few levels") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{name}{position}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not valid YAML: {error}") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # PyYAML on tags that do not fit their value
        raise InputError(f"{name}: not valid YAML: {type(error).__name__}: {error}") from error


def _check_size(root: yaml.Node, name: str) -> None:
    """Raise InputError for aliases that repeat each other: a few lines of them stand for gigabytes, or never end."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = _MOST_VALUES + 1  # what an alias inside itself stands for
            children = node.value if isinstance(node.value, list) else []
            sizes[id(node)] = 1 + sum(size(item) for child in children for item in _parts(child))
        return sizes[id(node)]

    if size(root) > _MOST_VALUES:
        raise InputError(f"{name}: more than {_MOST_VALUES:,} values once its aliases (*name) are replaced")


def _parts(child: Any) -> tuple[yaml.Node, ...]:
    return child if isinstance(child, tuple) else (child,)


def dump_yaml(value: Any) -> str:
    """Return `value` (dict, list, text, numbers, None) as YAML text, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)


def scalar_text(value: Any) -> str:
    """Return `value` as YAML on one line, as after a key."""
    text = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.strip()[1:-1]
