"""easy-VQA written as VQA v2 files and a detectron folder."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from pyutils.errors import InputError
from pyutils.sample.__main__ import main
from pyutils.sample.stamp import make_once
from pyutils.sample.vqa_files import Question, write_answer_list, write_imdb, write_official

easy_vqa = pytest.importorskip("easy_vqa")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The package cut to 40 training and 12 test pictures, converted."""
    target = tmp_path_factory.mktemp("easy") / "data"
    with pytest.MonkeyPatch.context() as patch:
        for part, count in (("train", 40), ("test", 12)):
            paths = getattr(easy_vqa, f"get_{part}_image_paths")()
            rows = getattr(easy_vqa, f"get_{part}_questions")()
            kept = [row for row in zip(*rows) if row[2] < count]
            patch.setattr(easy_vqa, f"get_{part}_image_paths", lambda p=paths, c=count: {i: p[i] for i in range(c)})
            patch.setattr(easy_vqa, f"get_{part}_questions", lambda k=kept: tuple(zip(*k)))
        assert main(["easy-vqa", "--output", str(target)]) == 0
    return target


def official(folder, split):
    annotations = folder / "VQA2/annotations"
    questions = json.loads((annotations / f"v2_OpenEnded_mscoco_{split}_questions.json").read_text())
    answers = json.loads((annotations / f"v2_mscoco_{split}_annotations.json").read_text())
    return questions, answers


def test_splits_keep_pictures_apart(folder):
    pictures = {
        s: {p.stem for p in (folder / "images" / s).glob("*.png")} for s in ("train2014", "val2014", "test2015")
    }
    assert {split: len(names) for split, names in pictures.items()} == {"train2014": 36, "val2014": 4, "test2015": 12}
    ids = [int(name[-12:]) for names in pictures.values() for name in names]
    assert len(set(ids)) == 52


@pytest.mark.parametrize("split", ["train2014", "val2014", "test2015"])
def test_official_files_have_the_official_keys(folder, split):
    questions, answers = official(folder, split)
    assert set(questions) == {"info", "task_type", "data_type", "data_subtype", "license", "questions"}
    assert questions["data_subtype"] == answers["data_subtype"] == split
    assert questions["task_type"] == "Open-Ended"
    by_id = {a["question_id"]: a for a in answers["annotations"]}
    assert len(by_id) == len(questions["questions"]) == len(answers["annotations"])
    for asked in questions["questions"]:
        given = by_id[asked["question_id"]]
        assert set(asked) == {"image_id", "question", "question_id"}
        assert given["image_id"] == asked["image_id"] == asked["question_id"] // 1000
        assert [a["answer_id"] for a in given["answers"]] == list(range(1, 11))
        assert {a["answer"] for a in given["answers"]} == {given["multiple_choice_answer"]}
        assert given["answer_type"] == ("yes/no" if given["multiple_choice_answer"] in ("yes", "no") else "other")
        assert asked["question"].startswith(given["question_type"])


def test_no_question_is_lost_or_changed(folder):
    source = Counter()
    for part, count in (("train", 40), ("test", 12)):
        source.update((t, a) for t, a, i in zip(*getattr(easy_vqa, f"get_{part}_questions")()) if i < count)
    written = Counter()
    for split in ("train2014", "val2014", "test2015"):
        questions, answers = official(folder, split)
        truth = {a["question_id"]: a["multiple_choice_answer"] for a in answers["annotations"]}
        written.update((q["question"], truth[q["question_id"]]) for q in questions["questions"])
    assert written == source


def test_pictures_go_with_their_questions(folder):
    """The answer "what color is …" agrees with the most saturated colour of the file under the question's name."""
    names = {"red": (255, 0, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "black": (0, 0, 0)}
    checked = 0
    for split in ("train2014", "val2014", "test2015"):
        questions, answers = official(folder, split)
        truth = {a["question_id"]: a["multiple_choice_answer"] for a in answers["annotations"]}
        for asked in questions["questions"]:
            answer = truth[asked["question_id"]]
            if answer in names:
                from PIL import Image

                path = folder / "images" / split / f"COCO_{split}_{asked['image_id']:012d}.png"
                pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
                assert (pixels == names[answer]).all(axis=1).sum() > 20
                checked += 1
    assert checked > 10


def test_answer_list_vocabulary_and_imdb(folder):
    answers = (folder / "VQA2/extras/vocabs/answers_vqa.txt").read_text().split("\n")[:-1]
    assert answers[0] == "<unk>"
    assert set(answers[1:]) <= set(easy_vqa.get_answers())
    vocabulary = (folder / "vocab.txt").read_text().split("\n")[:-1]
    assert [vocabulary.index(p) for p in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 100, 101, 102, 103]
    assert len(set(vocabulary)) == len(vocabulary)
    assert {"triangle", "color", "?", "##z", "7"} <= set(vocabulary)
    imdb = np.load(folder / "VQA2/annotations/imdb_val2014.npy", allow_pickle=True)
    assert imdb.dtype == object
    assert imdb[0]["has_answer"] is True
    assert len(imdb) - 1 == len(official(folder, "val2014")[0]["questions"])
    assert imdb[1]["feature_path"] == imdb[1]["image_name"] + ".npy"
    assert "all_answers" not in np.load(folder / "VQA2/annotations/imdb_test2015.npy", allow_pickle=True)[1]


def test_region_files(folder):
    features = folder / "X_COCO/data/detectron_fix_100/fc6/vqa/val2014"
    files = sorted(p for p in features.glob("*.npy") if not p.stem.endswith("_info"))
    assert len(files) == 4
    array = np.load(files[0])
    info = np.load(files[0].with_name(f"{files[0].stem}_info.npy"), allow_pickle=True).item()
    assert array.shape == (35, 192)
    assert array.dtype == np.float32
    assert info["bbox"].shape == (35, 4)
    assert (info["num_boxes"], info["image_width"], info["image_height"]) == (35, 64, 64)


def test_features_separate_colours(folder):
    """Pictures that share the answer to "what color is the shape?" have near features of the mask's colour."""
    colours = defaultdict(list)
    questions, answers = official(folder, "train2014")
    truth = {a["question_id"]: a["multiple_choice_answer"] for a in answers["annotations"]}
    for asked in questions["questions"]:
        if asked["question"] == "what color is the shape?":
            name = f"COCO_train2014_{asked['image_id']:012d}.npy"
            array = np.load(folder / "X_COCO/data/detectron_fix_100/fc6/vqa/train2014" / name)
            colours[truth[asked["question_id"]]].append(array[-1, 15:18])
    assert len(colours) > 2
    for rows in colours.values():
        assert np.ptp(np.array(rows), axis=0).max() < 0.5


def test_second_run_writes_nothing(folder, capsys):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert main(["easy-vqa", "--output", str(folder)]) == 0
    assert "already complete" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_another_seed_does_not_replace_the_folder(folder, capsys):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert main(["easy-vqa", "--output", str(folder), "--seed", "1"]) == 2
    assert "made with seed 0 instead of 1. Name another --output, or give --overwrite" in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["easy-vqa", "--output", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert str(tmp_path) in message
    assert "--output" in message
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["{broken", "[1]", "{}"])
def test_a_foreign_stamp_is_refused(tmp_path, content):
    (tmp_path / "sample.json").write_text(content)
    with pytest.raises(InputError, match=r"sample\.json"):
        make_once(tmp_path, {}, lambda folder: {})


def test_an_interrupted_run_is_done_again(tmp_path):
    target = tmp_path / "data"

    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_once(target, {"seed": 1}, fail)
    assert make_once(target, {"seed": 1}, lambda folder: {"files": 0})
    assert not (target / "half").exists()
    assert not make_once(target, {"seed": 1}, fail)


def test_a_complete_folder_of_other_arguments_is_kept(tmp_path):
    target = tmp_path / "data"

    def make(folder):
        (folder / "file").write_text("old")
        return {}

    make_once(target, {"seed": 0, "only": ["vqa", "coco"], "scenes": 24}, make)
    wanted = {"seed": 1, "only": ["vqa"], "scenes": 24, "dimension": 192}
    with pytest.raises(InputError) as caught:
        make_once(target, wanted, lambda folder: {})
    assert "data: complete already, but made with seed 0 instead of 1, only vqa,coco instead of vqa, " in str(
        caught.value
    )
    assert "dimension unknown instead of 192. Name another --output, or give --overwrite" in str(caught.value)
    assert not make_once(target, {"seed": 0, "only": ["coco"], "scenes": 24}, make)
    with pytest.raises(InputError, match="made with only vqa,coco instead of coco,nlvr2"):
        make_once(target, {"seed": 0, "only": ["coco", "nlvr2"], "scenes": 24}, make)
    assert (target / "file").read_text() == "old"
    assert make_once(target, wanted, lambda folder: {}, overwrite=True)
    assert not (target / "file").exists()


def test_missing_package_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "easy_vqa", None)
    assert main(["easy-vqa", "--output", str(tmp_path / "x")]) == 2
    assert "pip install easy-vqa" in capsys.readouterr().err


def test_writers_handle_disagreeing_answers(tmp_path):
    answers = ("2",) * 6 + ("two",) * 4
    question = Question(1000, 1, "COCO_val2014_000000000001", "how many?", "how many", answers)
    write_official(tmp_path, "val2014", [question], "test")
    entry = json.loads((tmp_path / "v2_mscoco_val2014_annotations.json").read_text())["annotations"][0]
    assert (entry["multiple_choice_answer"], entry["answer_type"]) == ("2", "number")
    assert write_answer_list(tmp_path / "answers.txt", [question]) == ["<unk>", "2"]
    write_imdb(tmp_path / "imdb.npy", [question], ["two"])
    assert np.load(tmp_path / "imdb.npy", allow_pickle=True)[1]["valid_answers"] == ["two"] * 4
    write_imdb(tmp_path / "imdb.npy", [question], [])
    assert np.load(tmp_path / "imdb.npy", allow_pickle=True)[1]["valid_answers"] == ["<unk>"]
