"""Finish a checkpoint folder to be shipped: settings for images of the user, measured metrics, and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyutils.config import Override
from pyutils.config.loading import parse_mapping
from pyutils.errors import InputError
from pyutils.formats.atomic import atomic_write, write_json
from pyutils.formats.json_files import read_json
from pyutils.formats.tensor_files import read_safetensors
from pyutils.formats.yaml_text import dump_yaml
from pyutils.weights.registry import find

MOST_BYTES = 2_000_000
CARD = "README.md"
_WEIGHTS, _CONFIG, _METRICS, _RUN = "model.safetensors", "config.yaml", "metrics.json", "run.json"
# Where training started and wrote, which is nothing to a user of the weights.
_CLEARED = {"init": "", "output_dir": "output"}


def finish_bundle(folder: Path, name: str, metrics: Path, settings: list[str], data: str, command: str) -> None:
    """Write `config.yaml`, `metrics.json` and the model card of the checkpoint in `folder`.

    Args:
        folder: converted weights with their configuration and files. name: entry of the registry.
        metrics: `metrics_<split>.json` of an evaluation of exactly these weights.
        settings: `key=value` to replace in the configuration. data, command: for the card.

    Raises:
        InputError: missing files, metrics of other weights, or weights of more than MOST_BYTES.
    """
    entry = find(name)
    for needed in (folder / _WEIGHTS, folder / _CONFIG, metrics):
        if not needed.is_file():
            raise InputError(f"{needed} is missing: convert the weights to {folder} and evaluate them first")
    measured = read_json(metrics)
    evaluated = Path(str(measured.get("checkpoint"))).resolve()
    if folder.resolve() not in (evaluated, *evaluated.parents):
        raise InputError(f"{metrics}: metrics of {measured.get('checkpoint')}, not of {folder}; evaluate the latter")
    size = (folder / _WEIGHTS).stat().st_size
    if size > MOST_BYTES:
        raise InputError(f"{folder / _WEIGHTS}: {size} bytes, more than {MOST_BYTES}; train a smaller network")
    tree = parse_mapping((folder / _CONFIG).read_text(encoding="utf-8"), str(folder / _CONFIG))
    given = {override.key: override.value for override in map(Override.parse, settings)}
    for key, value in {**_CLEARED, **given}.items():
        _replace(tree, key.split("."), value)
    (folder / _RUN).unlink(missing_ok=True)  # the run's own name, which means nothing away from its folder
    kept = {key: value for key, value in measured.items() if key != "checkpoint"}
    with atomic_write(folder / _CONFIG) as stream:
        stream.write(dump_yaml(tree))
    write_json(folder / _METRICS, kept)
    with atomic_write(folder / CARD) as stream:
        stream.write(_card(entry, kept, read_safetensors(folder / _WEIGHTS), size, data, command))


def _replace(tree: dict[str, Any], path: list[str], value: Any) -> None:
    *sections, key = path
    for section in sections:
        tree = tree.get(section, {})
    if key not in tree:
        raise InputError(f"{'.'.join(path)}: the checkpoint's configuration has no such key")
    tree[key] = value


def _card(
    entry: Any, metrics: Mapping[str, Any], weights: Mapping[str, Any], size: int, data: str, command: str
) -> str:
    numbers = "\n".join(f"| {key} | {value:.2f} |" for key, value in metrics.items() if isinstance(value, float))
    parameters = sum(array.size for array in weights.values())
    return f"""# {entry.name}

{entry.about[0].upper()}{entry.about[1:]}.
For trying the suite and for tests, not for use: it knows the words and answers of its training data only.

- **Task**: `{metrics["task"]}`, model `{entry.model}`; {parameters:,} parameters, {size:,} bytes (float16).
- **Data**: {data}
- **Licence**: {entry.licence}

| split `{metrics["split"]}` | |
|---|---:|
{numbers}

The figures are of these float16 weights, on data that was not used to train or to select them. Made by

    {command}
"""
