from __future__ import annotations

import numpy as np
import pytest

from pyutils.data.annotations import nlvr2
from pyutils.data.table import concat
from pyutils.data.vqa import annotations as vqa
from pyutils.errors import InputError
from pyutils.text.sequences import batch, pad, pair, question, single, truncate_pair
from pyutils.text.tokenizer import WordPiece
from tests.support import golden

FORMATS = golden("visualbert/data_formats")
IMDBS = FORMATS.folder / "datasets/VQA2/annotations"
TOKENIZER = WordPiece(FORMATS.folder / "vocab.txt")


@pytest.mark.parametrize(
    ("name", "files"), [("train", ["train2014", "val2014"]), ("minival", ["minival2014"]), ("test", ["test2015"])]
)
def test_vqa_fine_tuning_batches(name, files):
    records = concat([vqa.read(IMDBS / f"imdb_{file}.npy") for file in files])
    expected = FORMATS.arrays(f"expected/vqa_finetune_{name}_batch.npz")
    samples = FORMATS.json(f"expected/vqa_finetune_{name}.json")["samples"]
    arrays = batch([question(TOKENIZER, record.question, 128) for record in records], TOKENIZER.pad)
    assert [sample["question_id"] for sample in samples] == records.column("question_id").tolist()
    for ours, theirs in (("input_ids", "ids"), ("text_mask", "mask"), ("token_type_ids", "type_ids")):
        np.testing.assert_array_equal(arrays[ours], expected[f"bert_input_{theirs}"])
        assert arrays[ours].dtype == np.int64
    before_end = arrays["text_mask"].sum(1) - 2
    assert (arrays["input_ids"][np.arange(len(records)), before_end] == TOKENIZER.mask).all()


@pytest.mark.parametrize("split", ["train", "dev", "test1"])
def test_nlvr2_fine_tuning_ids(split):
    sentences = {
        record.identifier: record.sentence
        for record in nlvr2.read(FORMATS.folder / f"datasets/NLVR2/annotations/{split}.json")
    }
    for sample in FORMATS.json(f"expected/nlvr_finetune_{split}.json")["samples"]:
        sequence = single(TOKENIZER, TOKENIZER.encode(sentences[sample["identifier"]]), 128)
        assert sequence.ids == sample["bert_input_ids"] and sequence.types == sample["bert_input_type_ids"]


def test_a_long_question_keeps_its_end():
    sequence = question(TOKENIZER, "is the dog " * 20, 12)
    assert len(sequence.ids) == 12
    assert TOKENIZER.tokens(sequence.ids[-3:]) == ["?", "[MASK]", "[SEP]"]
    with pytest.raises(InputError, match="maximum text length of 4"):
        question(TOKENIZER, "is it", 4)


def test_an_answer_is_a_word_and_not_letters():
    sequence = question(TOKENIZER, "what, is it?", 128, answer="dog")
    assert TOKENIZER.tokens(sequence.ids) == ["[CLS]", "what", "is", "it", "?", "dog", "[SEP]"]
    assert sequence.words == [False, True, True, True, True, True, False]


def test_pairs_and_padding():
    sequences = [pair(TOKENIZER, [5, 6], [7], 16), single(TOKENIZER, [8], 16)]
    arrays = batch(sequences, pad_id=0, multiple=8)
    assert arrays["input_ids"].tolist() == [[101, 5, 6, 102, 7, 102, 0, 0], [101, 8, 102, 0, 0, 0, 0, 0]]
    assert arrays["text_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]]
    assert arrays["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0, 0], [0] * 8]
    assert sequences[0].words == [False, True, True, False, True, False]
    assert single(TOKENIZER, [5, 6, 7], 4).ids == [101, 5, 6, 102]
    assert pad([], 0).shape == (0, 0)


@pytest.mark.parametrize("case", [c for c in FORMATS.json("expected/truncate.json") if c["len_b"] is None])
def test_single_texts_are_cut_as_the_authors_do(case):
    kept = single(TOKENIZER, range(case["len_a"]), case["max_seq_length"]).ids[1:-1]
    assert [f"a{number}" for number in kept] == case["text_a"]


def one_by_one(first, second, room):
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second


@pytest.mark.parametrize("room", [1, 2, 5, 8, 9, 13])
def test_pairs_lose_words_from_the_longer_end(room):
    for first in range(12):
        for second in range(12):
            a, b = list(range(first)), list(range(100, 100 + second))
            assert truncate_pair(a, b, room + 3) == one_by_one(a, b, room), (first, second)


def test_a_length_without_words_is_named():
    with pytest.raises(InputError, match="text length of 2"):
        single(TOKENIZER, [1, 2], 2)
    with pytest.raises(InputError, match="text length of 3"):
        truncate_pair([1], [2], 3)
