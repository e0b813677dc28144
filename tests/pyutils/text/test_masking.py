from __future__ import annotations

import numpy as np
import pytest

from pyutils.text.masking import IGNORED, MaskDraws, draw, mask_words
from pyutils.text.sequences import pair, question, single
from pyutils.text.tokenizer import WordPiece
from tests.support import golden

FORMATS = golden("visualbert/data_formats")
TOKENIZER = WordPiece(FORMATS.folder / "vocab.txt")
MAX_LENGTH = 128
COCO = [f"coco_pretrain_{name}" for name in ("fix100_train", "fix100_validation", "fix144_train", "single_train")]
COCO.append("coco_pretrain_falsecaption_train")


def replay(records: list[dict], count: int) -> MaskDraws:
    """Draws as the original made them: a word is drawn right after the chance that asks for it."""
    chance, words = [], []
    for record in records:
        if record["call"] == "random.random":
            chance.append(record["result"])
            words.append(0)
        elif record["call"] == "random.choice":
            words[-1] = record["result"]["id"]
    return MaskDraws(np.array(chance[len(chance) - count :]), np.array(words[len(words) - count :], dtype=np.int64))


def check(sequence, sample, kind):
    draws = replay(sample["draws"], sum(sequence.words))
    ids, labels = mask_words(np.asarray(sequence.ids), np.asarray(sequence.words), draws, TOKENIZER.mask)
    assert ids.tolist() == sample["bert_input_ids"], kind
    assert np.where(labels == IGNORED, -1, labels).tolist() == sample["masked_lm_labels"], kind
    assert sequence.types == sample["bert_input_type_ids"], kind


def unmasked(sample: dict) -> list[int]:
    return [i if label == -1 else label for i, label in zip(sample["bert_input_ids"], sample["masked_lm_labels"])]


@pytest.mark.parametrize("name", [*COCO, "nlvr_pretrain_train", "nlvr_pretrain_mlm_train"])
def test_masking_of_captions_equals_the_authors(name):
    samples = FORMATS.json(f"expected/{name}.json")["samples"]
    assert samples
    for sample in samples:
        ids = unmasked(sample)
        texts, start = [], 1
        for position, number in enumerate(ids):
            if number == TOKENIZER.sep:
                texts.append(ids[start:position])
                start = position + 1
        build = single(TOKENIZER, texts[0], MAX_LENGTH) if len(texts) == 1 else pair(TOKENIZER, *texts, MAX_LENGTH)
        check(build, sample, name)


def test_masking_of_nlvr2_sentences_from_their_text():
    for sample in FORMATS.json("expected/nlvr_pretrain_train.json")["samples"]:
        check(single(TOKENIZER, TOKENIZER.encode(sample["sentence"]), MAX_LENGTH), sample, sample["identifier"])


def test_vqa_pretraining_from_question_and_answer():
    entries = FORMATS.json("expected/imdb_train2014.json")[1:] + FORMATS.json("expected/imdb_val2014.json")[1:]
    questions = {entry["question_id"]: entry["question_str"] for entry in entries}
    samples = FORMATS.json("expected/vqa_pretrain_train.json")["samples"]
    for sample in samples:
        # The original spells the drawn answer letter by letter.
        answer = " ".join(next(d["result"] for d in sample["draws"] if d["call"] == "numpy.random.choice"))
        check(question(TOKENIZER, questions[sample["question_id"]], MAX_LENGTH, answer), sample, "vqa_pretrain")


def test_batches_use_draws_in_row_major_order():
    ids = np.array([[101, 5, 6, 102, 0], [101, 7, 8, 9, 102]])
    candidates = np.array([[0, 1, 1, 0, 0], [0, 1, 1, 1, 0]], dtype=bool)
    draws = MaskDraws(np.array([0.0, 0.9, 0.149, 0.13, 0.5]), np.array([50, 51, 52, 53, 54]))
    masked, labels = mask_words(ids, candidates, draws, mask_id=103)
    assert masked.tolist() == [[101, 103, 6, 102, 0], [101, 7, 53, 9, 102]]
    assert labels.tolist() == [[-100, 5, -100, -100, -100], [-100, 7, 8, -100, -100]]
    assert ids[0, 1] == 5


def test_shares_of_a_long_draw():
    count = 200_000
    ids = np.full(count, 500)
    draws = draw(np.random.default_rng(0), count, 1000)
    masked, labels = mask_words(ids, np.ones(count, bool), draws, mask_id=103)
    chosen = labels != -100
    assert abs(chosen.mean() - 0.15) < 0.005
    assert abs((masked[chosen] == 103).mean() - 0.8) < 0.01
    assert abs((masked[chosen] == 500).mean() - 0.1) < 0.01
    assert (masked[~chosen] == 500).all()


def test_draws_follow_the_generator_and_the_allowed_words():
    first, second = (draw(np.random.default_rng(3), 50, 1000) for _ in range(2))
    assert (first.chance == second.chance).all() and (first.words == second.words).all()
    allowed = draw(np.random.default_rng(3), 500, 1000, allowed=np.array([7, 900]))
    assert set(allowed.words.tolist()) == {7, 900} and allowed.words.dtype == np.int64
