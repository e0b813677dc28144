from __future__ import annotations

import json

import numpy as np
import pytest

from pyutils.data.table import concat
from pyutils.data.vqa import annotations as vqa
from pyutils.data.vqa.__main__ import main
from pyutils.data.vqa.answers import UNKNOWN, AnswerVocabulary, count_answers
from pyutils.errors import InputError
from pyutils.metrics.vqa import best_answers
from tests.support import golden

FORMATS = golden("visualbert/data_formats")
DATA = FORMATS.folder / "datasets/VQA2"


@pytest.fixture(scope="module")
def vocabulary() -> AnswerVocabulary:
    return AnswerVocabulary.load(DATA / "extras/vocabs/answers_vqa.txt")


def dense(scores: dict[str, float], size: int) -> np.ndarray:
    row = np.zeros(size, dtype=np.float32)
    for number, score in scores.items():
        row[int(number)] = score
    return row


def test_the_list_of_the_authors(vocabulary):
    lines = (DATA / "extras/vocabs/answers_vqa.txt").read_text().splitlines()
    cat = lines.index("cat")
    assert len(vocabulary) == len(lines) and vocabulary.unknown == 0 and vocabulary.real_answers == len(lines) - 1
    assert vocabulary[cat] == "cat" and vocabulary.class_of("cat") == cat
    assert vocabulary.class_of("none") == vocabulary.answers.index("none") != vocabulary.class_of("0")
    assert vocabulary.class_of("The Cat!") == cat
    assert vocabulary.class_of(UNKNOWN) is None and vocabulary.class_of("zeppelin") is None


def test_lists_of_either_spelling_find_an_answer():
    assert AnswerVocabulary(["man 's", "yes"]).class_of("The man's") == 0
    assert AnswerVocabulary(["man's", "yes"]).class_of("The man's") == 0


@pytest.mark.parametrize("rule", ["authors", "mmf"])
def test_soft_scores_equal_the_recorded_ones(vocabulary, rule):
    for case in golden("visualbert/vqa_answers").json("targets.json"):
        found = vocabulary.fill([case["valid_answers"]], rule)[0]
        np.testing.assert_allclose(found, dense(case[rule], len(vocabulary)), rtol=0, atol=1e-6)


def test_the_official_rule_is_the_mean_over_the_other_humans():
    for case in golden("visualbert/vqa_answers").json("soft_scores.json"):
        answers = list(case["leave_one_out"])
        vocabulary = AnswerVocabulary([UNKNOWN, *answers])
        classes, scores = vocabulary.soft_scores(case["answers"], "official")
        assert [vocabulary[number] for number in classes] == answers or set(classes) == set(range(1, len(answers) + 1))
        expected = [case["leave_one_out"][vocabulary[number]] for number in classes]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("split", ["train", "minival"])
def test_labels_of_the_authors_loader(vocabulary, split):
    folder = DATA / "annotations"
    if split == "train":
        records = concat([vqa.read(folder / "imdb_train2014.npy"), vqa.read(folder / "imdb_val2014.npy")])
    else:
        records = vqa.read(folder / "imdb_minival2014.npy")
    expected = FORMATS.arrays(f"expected/vqa_finetune_{split}_batch.npz")["label"]
    labels = vocabulary.fill([record.answers for record in records], "authors")
    np.testing.assert_allclose(labels, expected, rtol=0, atol=1e-6)


def test_a_question_without_answers_scores_nothing(vocabulary):
    scores = vocabulary.fill([["cat"] * 10, []], "official")
    assert scores[0, vocabulary.class_of("cat")] == 1 and scores.sum() == 1


def test_valid_answers_are_those_of_the_imdb(vocabulary):
    for entry in FORMATS.json("expected/imdb_train2014.json")[1:]:
        assert vocabulary.valid(entry["all_answers"]) == entry["valid_answers"]


def test_unknown_is_submitted_only_on_request(vocabulary):
    logits = FORMATS.arrays("expected/vqa_test_logits.npz")["logits"]
    expected = [entry["answer"] for entry in FORMATS.json("expected/vqa_test_result.json")]
    assert UNKNOWN in expected
    assert [vocabulary[number] for number in best_answers(logits)] == expected
    ours = [vocabulary[number] for number in best_answers(logits, vocabulary.unknown)]
    assert UNKNOWN not in ours
    assert [a for a, b in zip(ours, expected) if b != UNKNOWN] == [b for b in expected if b != UNKNOWN]


def annotation_file(path, counts):
    entries = [answer for answer, count in counts.items() for _ in range(count)]
    content = {"annotations": [{"question_id": i, "multiple_choice_answer": a} for i, a in enumerate(entries)]}
    path.write_text(json.dumps(content))
    return path


def test_build_keeps_what_is_frequent_after_normalising(tmp_path, capsys):
    first = annotation_file(tmp_path / "a.json", {"yes": 6, "Two": 9, "rare": 8})
    second = annotation_file(tmp_path / "b.json", {"Yes.": 3, "the dog": 20})
    output = tmp_path / "answers_vqa.txt"
    assert main(["answers", "build", "--annotations", str(first), str(second), "--output", str(output)]) == 0
    assert output.read_text() == "<unk>\n2\ndog\nyes\n"
    printed = capsys.readouterr().out
    assert "questions                      46" in printed and "at least   9 times       3" in printed
    assert AnswerVocabulary.load(output).answers == ("<unk>", "2", "dog", "yes")
    bare = main(
        [
            "answers",
            "build",
            "--annotations",
            str(first),
            "--output",
            str(output),
            "--without-unknown",
            "--minimum",
            "6",
        ]
    )
    assert bare == 0 and output.read_text() == "2\nrare\nyes\n"


def test_an_imdb_counts_by_its_most_frequent_answer():
    counts = count_answers([DATA / "annotations/imdb_train2014.npy"])
    assert max(counts.values()) >= 1 and sum(counts.values()) == len(vqa.read(DATA / "annotations/imdb_train2014.npy"))


def test_label2ans_lists_and_objects(tmp_path):
    path = tmp_path / "label2ans.json"
    path.write_text(json.dumps(["no", "yes"]))
    assert AnswerVocabulary.load(path).answers == ("no", "yes")
    assert AnswerVocabulary.load(path).unknown is None
    path.write_text(json.dumps({"1": "yes", "0": "no"}))
    assert AnswerVocabulary.load(path).answers == ("no", "yes")


def test_bad_lists(tmp_path):
    path = tmp_path / "label2ans.json"
    path.write_text(json.dumps({"answers": 3}))
    with pytest.raises(InputError, match="label2ans.json: .*an object of class number"):
        AnswerVocabulary.load(path)
    path.write_text(json.dumps([1, 2]))
    with pytest.raises(InputError, match="expected a list of answers"):
        AnswerVocabulary.load(path)
    text = tmp_path / "answers.txt"
    with pytest.raises(InputError, match=r"answers\.txt: cannot read .* build"):
        AnswerVocabulary.load(text)
    text.write_text("yes\nno\nyes\n")
    with pytest.raises(InputError, match="'yes' occurs twice"):
        AnswerVocabulary.load(text)
    text.write_text("")
    with pytest.raises(InputError, match="holds no answer"):
        AnswerVocabulary.load(text)
    text.write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match="answers.txt: .*UTF-8"):
        AnswerVocabulary.load(text)


def test_bad_build(tmp_path):
    with pytest.raises(InputError, match="lower the minimum"):
        AnswerVocabulary.build({"yes": 3})
    missing = str(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"none\.json"):
        main(["answers", "build", "--annotations", missing, "--output", str(tmp_path / "o.txt")])
