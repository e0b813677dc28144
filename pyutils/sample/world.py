"""The drawn world: a seeded generator of every task's data in the formats of the real data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from pyutils.sample.pool import SOURCES, Pool, generator, make_pool
from pyutils.sample.questions import ask, complementary_pairs
from pyutils.sample.scenes import COLOURS, SHAPES, Concepts
from pyutils.sample.stamp import make_once
from pyutils.sample.vocabulary import write_vocabulary
from pyutils.sample.vqa_files import Question, write_answer_list, write_imdb, write_official

VERSION = 1
DEFAULT_SENTENCES = 2
_MINIVAL_SHARE = 0.25


@dataclass
class World:
    """State that the parts share; `pools`: images drawn so far, by source; `texts`: training texts so far."""

    output: Path
    scenes: int
    seed: int
    dimension: int
    concepts: Concepts
    sentences: int
    pools: dict[str, Pool] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def pool(self, source: str) -> Pool:
        """The images of a source of `pyutils.sample.pool.SOURCES`, drawn and written at the first call."""
        if source not in self.pools:
            pool = make_pool(source, self.output, self.scenes, self.seed, self.dimension, self.concepts)
            self.pools[source] = pool
            training = pool.split(SOURCES[source].splits[0])
            self.texts += [caption.text for image in training for caption in image.captions]
        return self.pools[source]


def write_world(
    output: Path,
    scenes: int = 1000,
    seed: int = 0,
    only: Optional[Sequence[str]] = None,
    dimension: int = 192,
    overwrite: bool = False,
    shapes: int = len(SHAPES),
    colours: int = len(COLOURS),
    sentences: int = DEFAULT_SENTENCES,
) -> bool:
    """Write the world below `output`, unless the same one is complete there.

    The other arguments determine the files, byte for byte (with the same versions of Pillow and NumPy).

    Args:
        output: an empty folder, a missing one, or one that this function wrote.
        scenes: images of each source (COCO, Flickr30k, NLVR2, VCR, Conceptual Captions), at least 24.
        seed: of everything random.
        only: names out of `PARTS`; all when None.
        dimension: of the region features. 192 is what the descriptor gives, more adds zeros, less projects.
        overwrite: replace a world made with other arguments, which is an error otherwise.
        shapes, colours: the number of `SHAPES` and `COLOURS` to use, from the first.
        sentences: per set of eight NLVR2 images, fewer where not enough kinds of sentences fit.

    Returns:
        True when files were written, False when the folder was complete.

    Raises:
        InputError: an unknown part, a number out of range, a folder with other files, or another world.
    """
    names = list(PARTS) if only is None else [name for name in PARTS if name in set(only)]
    for name in only or ():
        if name not in PARTS:
            raise InputError(f"--only: unknown part {name!r}: {nearest(name, PARTS)}")
    for flag, value, least, most in (
        ("--scenes", scenes, 24, None),  # every split needs images
        ("--dimension", dimension, 1, None),
        ("--shapes", shapes, 2, len(SHAPES)),
        ("--colours", colours, 4, len(COLOURS)),  # VCR's answers are four colours
        ("--sentences", sentences, 1, MOST_SENTENCES),
    ):
        if value < least or (most is not None and value > most):
            allowed = f"at least {least}" if most is None else f"{least} to {most}"
            raise InputError(f"{flag}: expected {allowed}, found {value}")
    parameters: dict[str, Any] = {"sample": "world", "version": VERSION, "scenes": scenes, "seed": seed, "only": names}
    # Defaults are not recorded: worlds made before these options existed stay complete.
    if (shapes, colours) != (len(SHAPES), len(COLOURS)):
        parameters |= {"shapes": shapes, "colours": colours}
    if sentences != DEFAULT_SENTENCES:
        parameters["sentences"] = sentences

    def make(folder: Path) -> dict[str, Any]:
        concepts = Concepts(SHAPES[:shapes], tuple(COLOURS)[:colours])
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
        asked[split] = ask(pool.split(split), generator(world.seed, f"vqa {split}"), world.concepts)
        write_official(annotations, split, asked[split], "drawn world")
        write_json(annotations / f"v2_mscoco_{split}_complementary_pairs.json", complementary_pairs(asked[split]), None)
    known = write_answer_list(world.output / "VQA2/extras/vocabs/answers_vqa.txt", asked["train2014"])
    # As in the authors' files, minival is the last part of the validation images and the imdb of val2014 the rest.
    validation = pool.split("val2014")
    held_back = {image.image_id for image in validation[-max(round(_MINIVAL_SHARE * len(validation)), 1) :]}
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
    images = world.pool("coco").split("train2014")
    refs = write_refs(world.output / "refcoco+", images, generator(world.seed, "refcoco+"))
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
        dataset: write_karpathy(folder / f"dataset_{dataset}.json", dataset, world.pool(dataset).images)
        for dataset in ("coco", "flickr30k")
    }


def _write_vcr(world: World) -> dict[str, int]:
    pool, counts = world.pool("vcr"), {}
    write_metadata(pool.folder, pool.images)
    for split in ("train", "val", "test"):
        rng = generator(world.seed, f"vcr {split}")
        path = world.output / "vcr" / f"{split}.jsonl"
        words = write_questions(path, split, pool.split(split), rng, world.concepts)
        world.texts += [word for question in words for word in question] if split == "train" else []
        counts[split] = len(words)
    return counts


def _write_entities(world: World) -> dict[str, int]:
    return {"phrases": write_entities(world.output / "Flickr30kEntities", world.pool("flickr30k").images)}


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
