"""`python -m pyutils.data.prepare [SET …] [--root data] [--output data/albef] [--check-images]`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyutils.config.command_line import run_main
from pyutils.data.prepare import captions, genome, nlvr2, questions, refcoco, snli_ve, vqa
from pyutils.data.prepare.lists import Lists, Need, Tree, Written
from pyutils.errors import InputError, nearest

ALL = "all"
_MOST_NAMED = 5


@dataclass(frozen=True)
class Recipe:
    """The files that the lists of one set need, and the function that makes the lists."""

    needs: tuple[Need, ...]
    build: Callable[[Tree, Lists], None]


def recipes(options: argparse.Namespace) -> dict[str, Recipe]:
    """Return the recipe of each set by name, with the options of the command line."""
    found = {
        "coco": Recipe((captions.COCO,), captions.build_coco),
        "flickr30k": Recipe((captions.FLICKR,), captions.build_flickr30k),
        "flickr8k": Recipe(captions.FLICKR8K_NEEDS, captions.build_flickr8k),
        "vg": Recipe(genome.NEEDS, genome.build),
        "vqa": Recipe(vqa.NEEDS, partial(vqa.build, all_answers=options.all_vg_answers)),
        "nlvr2": Recipe(nlvr2.NEEDS, nlvr2.build),
        "snli_ve": Recipe(snli_ve.NEEDS, snli_ve.build),
    }
    for year in captions.COCO_YEARS:
        found[f"coco{year}"] = Recipe(captions.coco_needs(year), partial(captions.build_coco_captions, year=year))
    for name, known in questions.SETS.items():
        found[name] = Recipe(known.needs, partial(questions.build, name=name))
    for dataset in refcoco.DATASETS:
        splittings = refcoco.SPLITTINGS[dataset]
        splitting = options.splitting if options.splitting in splittings else splittings[0]
        build = partial(refcoco.build, dataset=dataset, splitting=splitting, detections=options.detections)
        found[dataset] = Recipe(refcoco.needs(dataset, splitting), build)
    return found


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyutils.data.prepare",
        description="Make ALBEF's lists from the official annotation files; without SET, all whose files exist.",
        allow_abbrev=False,
    )
    captions_of = "coco coco2014 coco2017 flickr30k flickr8k vg"
    others = "vqa gqa okvqa vizwiz nlvr2 snli_ve refcoco refcoco+ refcocog all"
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"{captions_of} {others}")
    parser.add_argument("--root", type=Path, default=Path("data"), help="the data folder (default: data)")
    parser.add_argument("--output", type=Path, help="directory of the lists (default: ROOT/albef)")
    parser.add_argument("--check-images", action="store_true", help="check that every image exists and use its path")
    parser.add_argument("--detections", type=Path, help="detections for dets.json (default: the annotated boxes)")
    parser.add_argument(
        "--splitting",
        choices=("unc", "umd", "google"),
        help="split scheme of RefCOCO sets that have it",
    )
    parser.add_argument(
        "--all-vg-answers",
        action="store_true",
        help="keep Visual Genome's answers that are not on the answer list",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Build all sets and report, continuing after a damaged one.

    Raises InputError at the end when a requested set is incomplete, a file is damaged, or images are missing.
    """
    options = command_line().parse_args(arguments)
    known = recipes(options)
    for name in options.sets:
        if name not in (*known, ALL):
            raise InputError(f"unknown set {name!r}: {nearest(name, (*known, ALL))}")
    everything = not options.sets or ALL in options.sets
    tree = Tree(options.root.expanduser())
    lists = Lists(options.output or tree.root / "albef", options.check_images)
    problems = []
    for name in known if everything else dict.fromkeys(options.sets):
        problems += _make(name, known[name], tree, lists, partly=everything)
    for note in lists.notes:
        print(f"note: {note}")
    problems += _missing_images(lists)
    if not lists.written and not problems:
        problems.append(
            f"nothing was made: no set is complete below {tree.root}; the report above lists the expected paths, "
            "docs/data_albef.md the sources"
        )
    if problems:
        raise InputError("\n".join(problems))
    return 0


def _make(name: str, recipe: Recipe, tree: Tree, lists: Lists, partly: bool) -> list[str]:
    """Build one set and print the files found and written; return the problems. `partly` allows missing files."""
    missing = _report_files(name, recipe, tree)
    done = len(lists.written)
    problems = []
    try:
        recipe.build(tree, lists)
    except InputError as error:
        problems.append(str(error))
    for written in lists.written[done:]:
        print(f"  wrote    {_described(written)}")
    if missing and not partly:
        problems.append(f"{name} is incomplete: add the missing files listed in the report above")
    return problems


def _report_files(name: str, recipe: Recipe, tree: Tree) -> list[Need]:
    """Print which files of a set exist; return the required ones that are missing."""
    print(name)
    missing = []
    for need in recipe.needs:
        path = tree.find(need)
        if path is not None:
            print(f"  found    {path}")
            continue
        print(f"  {'optional' if need.optional else 'missing '} {tree.root / need.paths[0]} ({need.purpose})")
        if not need.optional:
            missing.append(need)
    return missing


def _described(written: Written) -> str:
    text = f"{written.path}: {written.entries:,} entries"
    if written.root is not None:
        text += f", {written.images:,} images below {written.root}"
    if written.missing:
        text += f", {len(written.missing):,} of them missing"
    return text


def _missing_images(lists: Lists) -> list[str]:
    """Return a problem for each list with missing images."""
    problems = []
    for written in lists.written:
        if written.missing:
            named = ", ".join(written.missing[:_MOST_NAMED])
            more = " …" if len(written.missing) > _MOST_NAMED else ""
            problems.append(
                f"{written.path}: {len(written.missing):,} of {written.images:,} images are not below {written.root}: "
                f"{named}{more}; unpack them there, or link their folder"
            )
    return problems


if __name__ == "__main__":
    run_main(main)
