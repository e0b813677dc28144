"""Where the recipes of a model package are, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from pyutils.errors import InputError, nearest


def recipe_folder(package: Path) -> Path:
    """Return the folder of the recipes of the model package in the directory `package`.

    A wheel has them in `visualbert_paddle/configs`, a checkout in `configs/visualbert`.
    """
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs" / package.name.partition("_")[0]


def find_recipe(path: Path, folder: Path) -> Path:
    """Return the configuration file that `path` names: a file, else the recipe of that name in `folder`.

    A recipe is named relative to `folder`, with or without its ending (`tiny/vqa`), or by its path in the repository
    (`configs/visualbert/tiny/vqa.yaml`). A missing file in an existing directory is returned as it is.

    Raises:
        InputError: neither the directory of `path` nor a recipe of that name exists.
    """
    path = path.expanduser()
    if path.is_file() or path.is_absolute():
        return path
    relative = Path(*path.parts[2:]) if path.parts[:1] == ("configs",) else path
    named = folder / relative
    found = [file for file in (named, named.with_name(f"{named.name}.yaml")) if file.is_file()]
    if not found and not path.parent.is_dir():
        recipes = [file.relative_to(folder).as_posix() for file in folder.rglob("*.yaml")]
        raise InputError(f"no configuration file {path}, and no recipe of that name: {nearest(str(relative), recipes)}")
    return found[0] if found else path
