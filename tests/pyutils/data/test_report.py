from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pyutils.data.records import CaptionRecord, PairRecord, VQARecord
from pyutils.data.report import describe_images, describe_texts, first_unlabelled
from pyutils.data.table import RecordTable
from pyutils.data.vqa import annotations as vqa
from pyutils.data.vqa.answers import AnswerVocabulary, describe_answers
from pyutils.errors import InputError
from pyutils.text.tokenizer import WordPiece


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "dog"]))
    return WordPiece(tmp_path / "vocab.txt")


def captions(*texts, image="1.jpg"):
    return RecordTable(CaptionRecord, [CaptionRecord(image, (text,), 1) for text in texts])


def test_texts_of_another_language_are_refused(tokenizer):
    with pytest.raises(InputError, match=r"'train'.*vocab\.txt.*一只狗"):
        describe_texts(captions("一只狗", "红色"), tokenizer, lambda text, pieces: False, "train")


def test_shares_of_unknown_words_and_of_cut_texts(tokenizer):
    (line,) = describe_texts(captions("a red dog a", "a cat"), tokenizer, lambda text, pieces: pieces > 3, "val")
    assert line.startswith("warning: split 'val'") and "16.7%" in line and "50.0%" in line
    (line,) = describe_texts(captions("a dog", "dog"), tokenizer, lambda text, pieces: False, "val")
    assert line.startswith("split 'val': 0.0%") and "0.0% of the texts" in line and "2 texts" in line


def test_many_texts_are_sampled_evenly(tokenizer):
    (line,) = describe_texts(captions(*["dog"] * 25000), tokenizer, lambda text, pieces: False, "train")
    assert "10000 texts" in line


def test_images_and_shared_ids():
    table = RecordTable(CaptionRecord, [CaptionRecord(f"{n}.jpg", ("a",), 1 + n // 3) for n in range(6)])
    count, shared = describe_images(table, "train")
    assert "6 records, 6 distinct images" in count and "6 images share 2 image_ids" in shared
    (one,) = describe_images(captions("a", "dog"), "train")
    assert one.startswith("warning") and "1 distinct" in one
    pairs = RecordTable(PairRecord, [PairRecord(str(n), "1", str(n), "a", True) for n in range(3)])
    assert describe_images(pairs, "train") == ["split 'train': 3 records, 3 distinct images"]


def test_the_first_record_without_label_is_named():
    pairs = [PairRecord(f"p{n}", "1", "2", "a", None if n in (2, 4) else True) for n in range(5)]
    assert first_unlabelled(pairs) == "example p2 (2 of 5)" and first_unlabelled(pairs[:2]) == ""


def questions(*answers):
    return [VQARecord(number, "1", "a?", given) for number, given in enumerate(answers)]


def test_coverage_of_the_answer_list():
    vocabulary = AnswerVocabulary(["<unk>", "red", "2"])
    full = questions(("red",) * 10, ("two",) * 10, ("blue",) * 10, ())
    assert describe_answers(full, vocabulary, "answers.txt", "train") == [
        "split 'train': 66.7% of 3 questions have a human answer in the list answers.txt"
    ]
    low, others = describe_answers(questions(("red",), ("x",), ("y",) * 3), vocabulary, "answers.txt", "val")
    assert low.startswith("warning: split 'val': 33.3%") and "3 questions have other than 10" in others
    assert describe_answers(questions((), ()), vocabulary, "answers.txt", "val") == []


def test_an_answer_list_of_other_data_is_refused():
    with pytest.raises(InputError, match=r"foreign\.txt.*2 questions.*'train'.*'red'"):
        describe_answers(questions(("red",), ("no",)), AnswerVocabulary(["thing0"]), "foreign.txt", "train")


@pytest.mark.parametrize("fields", [("all_answers",), ("answers",), ("valid_answers",), ("all_answers", "answers")])
def test_every_answer_field_of_an_imdb_is_read(tmp_path, fields):
    entry = {"question_id": 1, "image_name": "COCO_val2014_000000000043", "question_str": "Are there stars?"}
    entry.update(dict.fromkeys(fields, ["no"] * 9 + ["yes"]))
    if len(fields) > 1:
        entry["answers"] = ["yes"]
    path = tmp_path / "imdb.npy"
    np.save(path, np.array([{"version": 1}, entry], dtype=object), allow_pickle=True)
    (record,) = vqa.read_imdb(path)
    assert record.answers == ("no",) * 9 + ("yes",)
    assert not replace(record, answers=()).labelled
