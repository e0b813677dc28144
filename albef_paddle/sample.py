"""Write ALBEF's lists for the sample data:

    python -m albef_paddle.sample --world sample_data/world
    python -m albef_paddle.sample --easy-vqa sample_data/easy_vqa

For the generated world: link its files under the official names in `WORLD/albef_data`, and write all lists to
`WORLD/albef_data/albef`; the VQA test list includes the answers. For easy-VQA, write `vqa_{train,val,test}.json`,
`answer_list.json`, and for pre-training `captions_{train,val}.json` to `FOLDER/albef`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pyutils.config.command_line import run_main
from pyutils.data.prepare.__main__ import main as prepare
from pyutils.data.prepare.lists import Lists
from pyutils.data.records import VQARecord
from pyutils.data.vqa import annotations as official
from pyutils.errors import InputError

# path in the data directory: path in the world
LINKS = {
    "coco": "images/coco",
    "flickr30k": "images/flickr30k",
    "karpathy": "karpathy",
    "nlvr2/images": "images/nlvr2",
    "nlvr2/train.json": "NLVR2/annotations/train.json",
    "nlvr2/dev.json": "NLVR2/annotations/dev.json",
    "nlvr2/test1.json": "NLVR2/annotations/test1.json",
    "snli_ve": "SNLI-VE",
    "refcoco/refcoco+": "refcoco+",
    "vqa": "VQA2/annotations",
}
FOLDER = "albef_data"
KINDS = {
    "shape": ("circle", "rectangle", "triangle"),
    "colour": ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"),
}
# list of easy-VQA: split of its official files
EASY_VQA = {"vqa_train.json": "train2014", "vqa_val.json": "val2014", "vqa_test.json": "test2015"}


def make_lists(world: Path) -> Path:
    """Link the files and write the lists; returns the data directory. Raises InputError for an incomplete world."""
    folder = world / FOLDER
    missing = [target for target in LINKS.values() if not (world / target).exists()]
    if missing:
        raise InputError(
            f"{world}: lacks {missing[0]}; write the world with python -m pyutils.sample world --output {world}"
        )
    for name, target in LINKS.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((world / target).resolve())
    prepare(["--root", str(folder)])
    tested = answered_questions(folder / "vqa", "test2015")
    if tested:
        Lists(folder / "albef").write("vqa_test.json", entries_of(tested, "test2015", ".jpg"), folder / "coco")
    return folder


def make_easy_vqa_lists(data: Path) -> Path:
    """Write the lists of easy-VQA in `data`; returns their directory. The test list has answers, too.

    The answer list has all training answers, the most frequent first. Captions of training and validation images are
    made from their questions. Raises InputError if `data` lacks files.
    """
    lists = Lists(data / "albef")
    for name, split in EASY_VQA.items():
        records = answered_questions(data / "VQA2" / "annotations", split)
        if not records:
            raise InputError(f"{data}: lacks {split}; write it with python -m pyutils.sample easy-vqa --output {data}")
        lists.write(name, entries_of(records, split, ".png"), data / "images")
        if split != "test2015":
            lists.write(name.replace("vqa", "captions"), captions_of(records, split, ".png"), data / "images")
        if split == "train2014":
            counts = Counter(record.answers[0] for record in records)
            lists.write_value("answer_list.json", [answer for answer, _ in counts.most_common()], len(counts))
    return lists.folder


def answered_questions(folder: Path, split: str) -> Sequence[VQARecord]:
    """Read the questions and answers of `split` from the official files in `folder`; () if one is missing."""
    questions = folder / f"v2_OpenEnded_mscoco_{split}_questions.json"
    answers = folder / f"v2_mscoco_{split}_annotations.json"
    return official.read(questions, answers) if questions.exists() and answers.exists() else ()


def entries_of(records: Sequence[VQARecord], split: str, suffix: str) -> Iterator[dict[str, Any]]:
    """Convert the records to entries of ALBEF's list, with images `split`/KEY`suffix`."""
    for record in records:
        yield {
            "question_id": record.question_id,
            "question": record.question,
            "image": f"{split}/{record.image}{suffix}",
            "dataset": "vqa",
            "answer": list(record.answers),
        }


def captions_of(records: Sequence[VQARecord], split: str, suffix: str) -> Iterator[dict[str, Any]]:
    """Make one caption per image, "a blue circle is in the image", from what its questions and answers tell."""
    by_image: dict[str, dict[str, str]] = {}
    for record in records:
        by_image.setdefault(record.image, {}).update(told_by(record.question, record.answers[0]))
    for image, known in by_image.items():
        words = [known[kind] for kind in ("colour", "shape") if kind in known]
        caption = f"a {' '.join(words if 'shape' in known else [*words, 'shape'])} is in the image"
        yield {"image": f"{split}/{image}{suffix}", "caption": caption}


def told_by(question: str, answer: str) -> dict[str, str]:
    """Return the `shape` and `colour` of the image's only object as far as one question and its answer tell them.

    A question about a shape's colour names the shape that is there, one about a colour's shape the colour. Of yes and
    no, the one that says that the named shape or colour is present tells it: "no" to "is there not a circle?".
    """
    words = question.rstrip("?").split()
    named = {kind: [word for word in words if word in known] for kind, known in KINDS.items()}
    told = {kind: found[0] for kind, found in named.items() if len(found) == 1}
    if answer in ("yes", "no"):
        return told if (answer == "no") == bool({"not", "no"} & set(words)) else {}
    return {**told, **{kind: answer for kind, known in KINDS.items() if answer in known}}


def main() -> None:
    """Parse the command line and write the lists."""
    parser = argparse.ArgumentParser(
        prog="python -m albef_paddle.sample", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sets = parser.add_mutually_exclusive_group()
    sets.add_argument("--world", type=Path, default=Path("sample_data/world"), help="directory of the world")
    sets.add_argument("--easy-vqa", type=Path, help="directory of easy-VQA")
    options = parser.parse_args()
    folder = make_easy_vqa_lists(options.easy_vqa) if options.easy_vqa else make_lists(options.world) / "albef"
    print(f"lists are in {folder}")


if __name__ == "__main__":
    run_main(main)
