"""The drawn world: one seeded generator that writes every task's data in the formats of the real data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

from pyutils.errors import InputError, nearest
from pyutils.formats.atomic import write_json
from pyutils.sample.coco_files import write_caption_pool, write_captions, write_instances, write_karpathy
from pyutils.sample.commonsense import write_metadata, write_questions
from pyutils.sample.detections import CLASSES
from pyutils.sample.entailment import write_entailment
from pyutils.sample.entities import write_entities
from pyutils.sample.expressions import write_refs
from pyutils.sample.pairs import MOST_SENTENCES, write_pairs
from pyutils.sample.pool import SOURCES, Picture, Pool, generator, make_pool
from pyutils.sample.questions import Placed, ask, complementary_pairs
from pyutils.sample.scenes import EVERYTHING, Concepts
from pyutils.sample.stamp import make_once
from pyutils.sample.vocabulary import write_vocabulary
from pyutils.sample.vqa_files import Question, write_answer_list, write_imdb, write_official

VERSION = 1
DEFAULT_DIMENSION = 192
DEFAULT_SENTENCES = 2
FEWEST_SCENES = 24
_MINIVAL_SHARE = 0.25


class World:
    """What the parts share: where to write, the pictures made so far, the training texts met so far."""

    def __init__(
        self, output: Path, scenes: int, seed: int, dimension: int, concepts: Concepts, sentences: int
    ) -> None:
        self.output = output
        self.seed = seed
        self.concepts = concepts
        self.sentences = sentences
        self.texts: list[str] = []
        self._scenes = scenes
        self._dimension = dimension
        self._pools: dict[str, Pool] = {}

    def pool(self, source: str) -> Pool:
        """The pictures of a source of `pyutils.sample.pool.SOURCES`, drawn and written at the first call."""
        if source not in self._pools:
            made = make_pool(source, self.output, self._scenes, self.seed, self._dimension, self.concepts)
            self._pools[source] = made
            first = SOURCES[source][1][0]
            self.texts += [caption.text for picture in made.split(first) for caption in picture.captions]
        return self._pools[source]


def write_world(
    output: Path,
    scenes: int = 1000,
    seed: int = 0,
    only: Optional[Sequence[str]] = None,
    dimension: int = DEFAULT_DIMENSION,
    overwrite: bool = False,
    concepts: Concepts = EVERYTHING,
    sentences: int = DEFAULT_SENTENCES,
) -> bool:
    """Write the world below `output`; nothing is done when the same one is there already.

    The files depend on the other arguments alone, byte for byte (with the same versions of Pillow and NumPy).

    Args:
        output: an empty folder, a missing one, or one that this function wrote.
        scenes: pictures of each source (COCO, Flickr30k, NLVR2, VCR, Conceptual Captions), at least 24.
        seed: of everything random.
        only: names out of `PARTS`; all when None.
        dimension: of the region features. 192 is what the descriptor gives, more adds zeros, less projects.
        overwrite: replace a world that other arguments made, which is an error otherwise.
        concepts: the shapes and colours to draw and to talk about.
        sentences: of every set of eight NLVR2 pictures, 1 to 6, as far as that many kinds of sentences fit it.

    Returns:
        True when files were written, False when they were there.

    Raises:
        InputError: an unknown part, too few scenes, a dimension below 1, sentences out of range, a foreign folder, or
            another world.
    """
    names = list(PARTS) if only is None else [name for name in PARTS if name in set(only)]
    for name in only or ():
        if name not in PARTS:
            raise InputError(f"--only: unknown part {name!r}: {nearest(name, PARTS)}")
    if scenes < FEWEST_SCENES:
        raise InputError(f"--scenes: expected at least {FEWEST_SCENES} (every split needs pictures), found {scenes}")
    if dimension < 1:
        raise InputError(f"--dimension: expected at least 1, found {dimension}")
    if not 1 <= sentences <= MOST_SENTENCES:
        raise InputError(f"--sentences: expected 1 to {MOST_SENTENCES}, found {sentences}")
    parameters: dict[str, Any] = {"sample": "world", "version": VERSION, "scenes": scenes, "seed": seed, "only": names}
    # What has its default is not recorded, so that a world whose stamp does not know of it stays complete.
    if concepts != EVERYTHING:
        parameters |= {"shapes": len(concepts.shapes), "colours": len(concepts.colours)}
    if sentences != DEFAULT_SENTENCES:
        parameters["sentences"] = sentences

    def make(folder: Path) -> dict[str, Any]:
        world = World(folder, scenes, seed, dimension, concepts, sentences)
        content = {name: PARTS[name](world) for name in names}
        write_vocabulary(folder / "vocab.txt", world.texts)
        write_json(folder / "objects_vocab.json", list(CLASSES))
        return content

    return make_once(Path(output), {**parameters, "dimension": dimension}, make, overwrite)


def _write_vqa(world: World) -> dict[str, int]:
    pool, annotations = world.pool("coco"), world.output / "VQA2/annotations"
    asked: dict[str, list[Question]] = {}
    for split in ("train2014", "val2014", "test2015"):
        placed = [Placed(picture.image_id, picture.name, picture.scene) for picture in pool.split(split)]
        asked[split] = ask(placed, generator(world.seed, f"vqa {split}"), world.concepts)
        write_official(annotations, split, asked[split], "drawn world")
        write_json(annotations / f"v2_mscoco_{split}_complementary_pairs.json", complementary_pairs(asked[split]), None)
    known = write_answer_list(world.output / "VQA2/extras/vocabs/answers_vqa.txt", asked["train2014"])
    # As in the authors' files, minival is the last part of the validation pictures and the imdb of val2014 the rest.
    held_back = {
        p.image_id for p in pool.split("val2014")[-max(round(_MINIVAL_SHARE * len(pool.split("val2014"))), 1) :]
    }
    parts = {split: asked[split] for split in ("train2014", "test2015")}
    parts["val2014"] = [q for q in asked["val2014"] if q.image_id not in held_back]
    parts["minival2014"] = [q for q in asked["val2014"] if q.image_id in held_back]
    for split, questions in parts.items():
        write_imdb(annotations / f"imdb_{split}.npy", questions, known, has_answer=split != "test2015")
    world.texts += [text for question in asked["train2014"] for text in (question.text, question.answer)]
    return {split: len(questions) for split, questions in asked.items()}


def _write_coco(world: World) -> dict[str, int]:
    pool, folder = world.pool("coco"), world.output / "COCO/annotations"
    counts = {}
    for split in ("train2014", "val2014"):
        counts[f"{split} captions"] = write_captions(folder / f"captions_{split}.json", pool.split(split))
        counts[f"{split} objects"] = write_instances(folder / f"instances_{split}.json", pool.split(split))
    return counts


def _write_nlvr2(world: World) -> dict[str, int]:
    pool, counts = world.pool("nlvr2"), {}
    for split in ("train", "dev", "test1"):
        path = world.output / "NLVR2/annotations" / f"{split}.json"
        rng = generator(world.seed, f"nlvr2 {split}")
        sentences = write_pairs(path, split, pool.split(split), rng, world.sentences)
        world.texts += sentences if split == "train" else []
        counts[split] = 4 * len(sentences)
    return counts


def _write_refcoco(world: World) -> dict[str, int]:
    pictures = world.pool("coco").split("train2014")
    refs = write_refs(world.output / "refcoco+", pictures, generator(world.seed, "refcoco+"))
    trained = [ref for ref in refs if ref["split"] == "train"]
    world.texts += [sentence["sent"] for ref in trained for sentence in ref["sentences"]]
    return {split: sum(ref["split"] == split for ref in refs) for split in ("train", "val", "testA", "testB")}


def _write_snli_ve(world: World) -> dict[str, int]:
    pool, counts = world.pool("flickr30k"), {}
    for source, name in (("train", "train"), ("val", "dev"), ("test", "test")):
        path = world.output / "SNLI-VE" / f"snli_ve_{name}.jsonl"
        rng = generator(world.seed, f"snli_ve {source}")
        hypotheses = write_entailment(path, pool.split(source), rng, world.concepts)
        world.texts += hypotheses if source == "train" else []
        counts[name] = len(hypotheses)
    return counts


def _write_retrieval(world: World) -> dict[str, int]:
    folder = world.output / "karpathy"
    return {
        dataset: write_karpathy(folder / f"dataset_{dataset}.json", dataset, world.pool(dataset).pictures)
        for dataset in ("coco", "flickr30k")
    }


def _write_vcr(world: World) -> dict[str, int]:
    pool, counts = world.pool("vcr"), {}
    write_metadata(pool.folder, pool.pictures)
    for split in ("train", "val", "test"):
        rng = generator(world.seed, f"vcr {split}")
        path = world.output / "vcr" / f"{split}.jsonl"
        words = write_questions(path, split, pool.split(split), rng, world.concepts)
        world.texts += [word for question in words for word in question] if split == "train" else []
        counts[split] = len(words)
    return counts


def _write_entities(world: World) -> dict[str, int]:
    pictures: list[Picture] = world.pool("flickr30k").pictures
    return {"phrases": write_entities(world.output / "Flickr30kEntities", pictures)}


def _write_concap(world: World) -> dict[str, int]:
    pool = world.pool("concap")
    return {
        split: write_caption_pool(world.output / "conceptual" / f"caption_{split}.json", pool.split(split))
        for split in ("train", "valid")
    }


PARTS: dict[str, Callable[[World], dict[str, int]]] = {
    "vqa": _write_vqa,
    "coco": _write_coco,
    "nlvr2": _write_nlvr2,
    "refcoco+": _write_refcoco,
    "snli-ve": _write_snli_ve,
    "retrieval": _write_retrieval,
    "vcr": _write_vcr,
    "entities": _write_entities,
    "concap": _write_concap,
}
