"""The drawn world: the same bytes for a seed, balanced texts, files that the suite's own readers take."""

from __future__ import annotations

import json
import pickle
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyutils.formats import safe_pickle
from pyutils.sample.__main__ import main
from pyutils.sample.balance import balanced
from pyutils.sample.detections import CLASSES, resize
from pyutils.sample.entailment import LABELS
from pyutils.sample.scenes import CRATE, SHAPES, compose, draw
from pyutils.sample.world import PARTS

COCO_SPLITS = ("train2014", "val2014", "test2015")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("world") / "data"
    assert main(["world", "--output", str(target), "--scenes", "80", "--seed", "5"]) == 0
    return target


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def vqa(world: Path, split: str):
    annotations = world / "VQA2/annotations"
    questions = read(annotations / f"v2_OpenEnded_mscoco_{split}_questions.json")["questions"]
    answers = {a["question_id"]: a for a in read(annotations / f"v2_mscoco_{split}_annotations.json")["annotations"]}
    return questions, answers


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main(["world", "--output", str(tmp_path / name), "--scenes", "24", "--seed", seed]) == 0
    first, second, other = (contents(tmp_path / name) for name in "abc")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    changed = "images/coco/train2014/COCO_train2014_000000000001.jpg"
    assert first[changed] != other[changed]


def test_leaving_parts_out_changes_nothing_else(tmp_path, world):
    arguments = ["--scenes", "80", "--seed", "5", "--only", "snli-ve, vqa"]
    assert main(["world", "--output", str(tmp_path / "part"), *arguments]) == 0
    part, whole = contents(tmp_path / "part"), contents(world)
    for own in ("sample.json", "vocab.txt"):
        del part[own]
    assert part
    assert all(whole[name] == content for name, content in part.items())
    assert not (tmp_path / "part/NLVR2").exists()


def test_scenes_place_things_apart_and_inside():
    rng = np.random.default_rng(0)
    for number in range(200):
        scene = compose(rng, crate=number % 2 == 0)
        assert 2 <= len(scene.things) <= 6
        kinds = [(thing.shape, thing.colour, thing.size) for thing in scene.things]
        assert len(set(kinds)) == len(kinds)
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            assert 0 <= x1 < x2 <= 128
            assert 0 <= y1 < y2 <= 128
            outline = np.array(thing.outline)
            np.testing.assert_allclose([*outline.min(axis=0), *outline.max(axis=0)], thing.box, atol=0.02)


def test_a_drawn_thing_has_its_colour_in_its_box():
    scene = compose(np.random.default_rng(1))
    pixels = draw(scene).astype(int)
    from pyutils.sample.scenes import COLOURS

    thing = scene.things[-1]
    x, y = (int(v) for v in thing.centre)
    assert np.abs(pixels[y, x] - COLOURS[thing.colour]).max() < 15


def test_balanced_keeps_as_much_as_it_can():
    rng = np.random.default_rng(0)
    items = {"a": list(range(10)), "b": list(range(6)), "c": [1]}
    picked = balanced(items, rng, most=100)
    assert Counter(answer for answer, _ in picked) == {"a": 6, "b": 6}
    assert Counter(answer for answer, _ in balanced(items, rng, most=5)) == {"a": 2, "b": 2}
    assert len(balanced(items, rng, most=100, answers=3)) == 3
    assert balanced({"a": [1, 2], "b": []}, rng, most=9) == []


@pytest.mark.parametrize("split", COCO_SPLITS)
def test_a_question_text_does_not_tell_its_answer(world, split):
    questions, answers = vqa(world, split)
    by_text = defaultdict(Counter)
    for question in questions:
        by_text[question["question"]][answers[question["question_id"]]["multiple_choice_answer"]] += 1
    assert len(by_text) > 10
    for text, counts in by_text.items():
        assert len(counts) >= 2, text
        assert len(set(counts.values())) == 1, (text, counts)


def test_a_blind_classifier_stays_near_chance(world):
    """The best answer for each text, learnt on train, is right on about half of val: chance for yes/no."""
    learnt = defaultdict(Counter)
    questions, answers = vqa(world, "train2014")
    for question in questions:
        learnt[question["question"]][answers[question["question_id"]]["multiple_choice_answer"]] += 1
    questions, answers = vqa(world, "val2014")
    right = [
        learnt[q["question"]].most_common(1)[0][0] == answers[q["question_id"]]["multiple_choice_answer"]
        for q in questions
        if learnt[q["question"]]
    ]
    assert len(right) > 40
    assert np.mean(right) < 0.52


def test_ten_answers_agree_with_the_first(world):
    _, answers = vqa(world, "train2014")
    for given in answers.values():
        texts = Counter(a["answer"] for a in given["answers"])
        assert sum(texts.values()) == 10
        assert texts[given["multiple_choice_answer"]] >= 7
    assert any(len({a["answer"] for a in given["answers"]}) > 1 for given in answers.values())
    assert {given["answer_type"] for given in answers.values()} == {"yes/no", "number", "other"}


def test_complementary_pairs_differ_in_the_answer_alone(world):
    questions, answers = vqa(world, "train2014")
    by_id = {question["question_id"]: question for question in questions}
    pairs = read(world / "VQA2/annotations/v2_mscoco_train2014_complementary_pairs.json")
    assert len(pairs) > 0.35 * len(questions)
    for first, second in pairs:
        assert by_id[first]["question"] == by_id[second]["question"]
        assert by_id[first]["image_id"] != by_id[second]["image_id"]
        assert answers[first]["multiple_choice_answer"] != answers[second]["multiple_choice_answer"]


def test_nlvr2_sentences_are_true_of_half_of_their_pairs(world):
    for split in ("train", "dev", "test1"):
        labels = defaultdict(list)
        for line in lines(world / f"NLVR2/annotations/{split}.json"):
            part, number, pair, sentence = line["identifier"].split("-")
            assert part == split
            labels[number, sentence, line["sentence"]].append(line["label"])
            for side in (0, 1):
                name = f"{split}-{number}-{pair}-img{side}.png"
                assert (world / "images/nlvr2" / split / name).is_file()
                assert (world / "X_NLVR/data/detectron_fix_144" / split / f"{name}.npz").is_file()
        assert labels
        assert all(sorted(found) == ["False", "False", "True", "True"] for found in labels.values())


def test_entailment_hypotheses_have_every_label_equally_often(world):
    for split in ("train", "dev", "test"):
        counts = defaultdict(Counter)
        for line in lines(world / f"SNLI-VE/snli_ve_{split}.jsonl"):
            counts[line["sentence2"]][line["gold_label"]] += 1
            assert (world / f"images/flickr30k/{line['Flickr30K_ID']}.jpg").is_file()
        assert counts
        for labels in counts.values():
            assert set(labels) == set(LABELS)
            assert len(set(labels.values())) == 1


def test_referred_things_have_a_rival_of_their_shape(world):
    raw = (world / "refcoco+/refs(unc).p").read_bytes()
    assert raw[:2] == b"\x80\x02"
    refs = pickle.loads(raw)
    assert {ref["split"] for ref in refs} == {"train", "val", "testA", "testB"}
    objects = {a["id"]: a for a in read(world / "refcoco+/instances.json")["annotations"]}
    sentences = [sentence["sent_id"] for ref in refs for sentence in ref["sentences"]]
    assert sentences == list(range(len(sentences)))
    for ref in refs:
        target = objects[ref["ann_id"]]
        assert (target["image_id"], target["category_id"]) == (ref["image_id"], ref["category_id"])
        rivals = [a for a in objects.values() if a["image_id"] == ref["image_id"]]
        assert sum(a["category_id"] == ref["category_id"] for a in rivals) > 1
        assert not any(word in s["tokens"] for s in ref["sentences"] for word in ("left", "right", "above", "below"))
    by_split = defaultdict(set)
    for ref in refs:
        by_split[ref["split"][:4]].add(ref["image_id"])
    assert not by_split["trai"] & (by_split["val"] | by_split["test"])


def test_an_expression_fits_one_thing_only():
    from pyutils.sample.expressions import expressions

    rng = np.random.default_rng(2)
    for _ in range(100):
        scene = compose(rng)
        owners = Counter(words for thing in scene.things for words in expressions(scene, thing))
        assert all(count == 1 for count in owners.values())


def test_vcr_choices_are_symmetric_and_their_order_random(world):
    entries = lines(world / "vcr/train.jsonl") + lines(world / "vcr/val.jsonl")
    assert Counter(entry["answer_label"] for entry in entries).keys() == {0, 1, 2, 3}
    for entry in entries:
        for kind in ("answer", "rationale"):
            texts = [json.dumps(choice) for choice in entry[f"{kind}_choices"]]
            assert len(set(texts)) == 4
        metadata = read(world / "vcr1images" / entry["metadata_fn"])
        assert metadata["names"] == entry["objects"]
        assert len(metadata["boxes"]) == len(metadata["segms"]) == len(entry["objects"])
        tags = [n for text in entry["answer_choices"] for word in text if isinstance(word, list) for n in word]
        assert max(tags) < len(entry["objects"])
    assert all("answer_label" not in entry for entry in lines(world / "vcr/test.jsonl"))


def test_boxes_and_polygons_of_instances(world):
    content = read(world / "COCO/annotations/instances_val2014.json")
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    assert [category["name"] for category in content["categories"]] == [*SHAPES, CRATE]
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        corners = np.array(annotation["segmentation"][0]).reshape(-1, 2)
        np.testing.assert_allclose(corners.min(axis=0), [x, y], atol=0.02)
        assert 0.2 * width * height < annotation["area"] <= 1.001 * width * height
        assert x + width <= sizes[annotation["image_id"]][0]
    for image in content["images"]:
        with Image.open(world / "images/coco/val2014" / image["file_name"]) as picture:
            assert picture.size == sizes[image["id"]]


def test_detections_find_the_things(world):
    """Nearly every thing has a detection with IoU above 0.5 whose most likely class is right."""
    objects = defaultdict(list)
    content = read(world / "COCO/annotations/instances_train2014.json")
    names = {category["id"]: category["name"] for category in content["categories"]}
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    found = []
    for image_id, present in objects.items():
        path = world / f"X_COCO/data/detectron_fix_100/fc6/vqa/train2014/COCO_train2014_{image_id:012d}_info.npy"
        info = safe_pickle.load_npy(path).item()
        assert info["cls_prob"].shape == (info["num_boxes"], len(CLASSES))
        np.testing.assert_allclose(info["cls_prob"].sum(axis=1), 1, atol=1e-4)
        for annotation in present:
            x, y, width, height = annotation["bbox"]
            overlaps = [iou(box, (x, y, x + width, y + height)) for box in info["bbox"]]
            best = int(np.argmax(overlaps))
            label = CLASSES[info["objects"][best]]
            found.append(overlaps[best] > 0.5 and label.endswith(names[annotation["category_id"]]))
    assert np.mean(found) > 0.9


def iou(first, second) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0) * max(height, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return float(common / (sum(areas) - common))


def test_resize_keeps_what_it_can():
    features = np.random.default_rng(0).normal(size=(5, 192)).astype(np.float32)
    wide = resize(features, 2048)
    assert wide.shape == (5, 2048)
    np.testing.assert_array_equal(wide[:, :192], features)
    assert not wide[:, 192:].any()
    assert resize(features, 64).shape == (5, 64)
    np.testing.assert_array_equal(resize(features, 192), features)
    narrow = resize(features, 191)
    np.testing.assert_allclose(narrow @ narrow.T, features @ features.T, atol=30)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "vqa,nlvr"], ["nlvr", "nlvr2"]),
        (["--scenes", "5"], ["--scenes", "24", "5"]),
        (["--dimension", "0"], ["--dimension", "0"]),
        (["--shapes", "7"], ["--shapes", "2 to 6", "7"]),
        (["--colours", "3"], ["--colours", "4 to 8", "3"]),
        (["--sentences", "0"], ["--sentences", "1 to 6", "0"]),
    ],
)
def test_bad_input_is_named(tmp_path, capsys, arguments, words):
    assert main(["world", "--output", str(tmp_path / "x"), *arguments]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words)
    assert not (tmp_path / "x").exists()


def test_a_world_of_few_concepts_draws_and_says_no_others(tmp_path, capsys):
    parts = ["--only", "vqa,coco,nlvr2,vcr,entities,snli-ve"]
    arguments = ["world", "--output", str(tmp_path / "x"), "--scenes", "48", *parts]
    few = ["--shapes", "3", "--colours", "4", "--sentences", "6"]
    assert main([*arguments, *few]) == 0
    stamp = read(tmp_path / "x/sample.json")
    assert {name: stamp["parameters"][name] for name in ("shapes", "colours", "sentences")} == {
        "shapes": 3, "colours": 4, "sentences": 6,
    }  # fmt: skip
    objects = read(tmp_path / "x/COCO/annotations/instances_train2014.json")
    assert {annotation["category_id"] for annotation in objects["annotations"]} == {1, 2, 3}
    words = set((tmp_path / "x/vocab.txt").read_text(encoding="utf-8").split())
    assert {"circle", "square", "triangle", "red", "green", "blue", "yellow"} <= words
    assert not words & {"star", "stars", "heart", "cross", "purple", "orange", "black", "cyan"}
    sets = Counter(line["identifier"].rsplit("-", 2)[0] for line in lines(tmp_path / "x/NLVR2/annotations/train.json"))
    assert max(sets.values()) > 4 * 2
    assert main([*arguments, *few]) == 0
    assert "already complete" in capsys.readouterr().out
    assert main(arguments) == 2
    assert "shapes 3 instead of unknown" in capsys.readouterr().err


def test_another_world_does_not_replace_this_one(tmp_path, capsys):
    arguments = ["world", "--output", str(tmp_path / "x"), "--scenes", "24", "--only", "concap"]
    assert main([*arguments, "--seed", "0"]) == 0
    before = contents(tmp_path / "x")
    assert main([*arguments, "--seed", "1"]) == 2
    assert "made with seed 0 instead of 1. Name another --output, or give --overwrite" in capsys.readouterr().err
    assert contents(tmp_path / "x") == before
    assert main([*arguments, "--seed", "1", "--overwrite"]) == 0
    assert contents(tmp_path / "x") != before


def test_every_part_is_written(world):
    assert read(world / "sample.json")["content"].keys() == PARTS.keys()
    assert all(all(counts.values()) for counts in read(world / "sample.json")["content"].values())


def test_preview_draws_what_is_there(world, tmp_path, capsys):
    from pyutils.sample.preview import draw_preview

    draw_preview(world, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
        assert np.asarray(sheet.convert("L")).std() > 10
    arguments = ["world", "--output", str(world), "--scenes", "80", "--seed", "5"]
    assert main([*arguments, "--preview", str(tmp_path / "again.png")]) == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()
    from pyutils.errors import InputError

    with pytest.raises(InputError, match="found no part"):
        draw_preview(tmp_path, tmp_path / "none.png")
