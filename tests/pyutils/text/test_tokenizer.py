from __future__ import annotations

import hashlib
import pickle
import sys

import pytest

from pyutils.download import published
from pyutils.errors import InputError
from pyutils.text.tokenizer import WordPiece, load_tokenizer
from pyutils.text.vocabularies import VOCABULARIES, Vocabulary
from tests.support import golden

FORMATS = golden("visualbert/data_formats")
VOCAB = FORMATS.folder / "vocab.txt"
ALBEF = golden("albef/tokenizer")


@pytest.fixture(scope="module")
def tokenizer() -> WordPiece:
    return WordPiece(VOCAB)


def test_pieces_equal_the_authors(tokenizer):
    cases = FORMATS.json("expected/tokenizer.json")
    for case in cases:
        assert tokenizer.encode(case["text"]) == case["ids"], case["text"]
        assert tokenizer.tokens(case["ids"]) == case["tokens"]
    assert tokenizer.encode_batch([case["text"] for case in cases]) == [case["ids"] for case in cases]


def test_albef_reads_special_tokens_in_texts():
    tokenizer = WordPiece(ALBEF.folder / "vocab.txt", special_in_text=True)
    assert [tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask] == list(
        ALBEF.config["tokenizer"].values()
    )
    for text, tokens in ALBEF.json("tokens.json").items():
        assert tokenizer.tokens(tokenizer.encode(text)) == tokens, text


def test_albef_sequences_are_cls_and_words_without_sep():
    tokenizer = WordPiece(ALBEF.folder / "vocab.txt", special_in_text=True)
    inputs, outputs = ALBEF.json("inputs.json"), ALBEF.json("outputs.json")
    assert outputs
    for name, call in outputs.items():
        texts = inputs["answers"] if name == "vqa_answers" else inputs["texts"]
        limit = call["args"]["max_length"] - 1 if call["args"].get("truncation") else None
        rows = [[tokenizer.cls, *ids] for ids in tokenizer.encode_batch(texts, max_words=limit)]
        for row, ids, mask in zip(rows, call["input_ids"], call["attention_mask"]):
            assert [i for i, kept in zip(ids, mask) if kept] == row, name


def test_texts_cannot_smuggle_in_special_tokens(tokenizer):
    assert tokenizer.sep not in tokenizer.encode("yes [SEP] no")
    assert tokenizer.sep in WordPiece(VOCAB, special_in_text=True).encode("yes [SEP] no")


def test_limits_ids_and_decoding(tokenizer):
    ids = tokenizer.encode("Two motorcyclists sitting on the snowboarders")
    assert tokenizer.decode([tokenizer.cls, *ids, tokenizer.sep]) == "two motorcyclists sitting on the snowboarders"
    assert tokenizer.encode("Two motorcyclists", max_words=2) == ids[:2]
    assert tokenizer.encode("Two", max_words=0) == []
    assert tokenizer.vocab_size == len(VOCAB.read_text(encoding="utf-8").splitlines())
    assert tokenizer.id_of("[MASK]") == tokenizer.mask == 103 and tokenizer.id_of("zeppelin") == tokenizer.unk
    assert (tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep) == (0, 100, 101, 102)
    with pytest.raises(IndexError):
        tokenizer.tokens([tokenizer.vocab_size])


def test_case_can_be_kept(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Café", "cafe"]) + "\n", encoding="utf-8")
    assert WordPiece(path, lower_case=False).encode("Café") == [5]
    assert WordPiece(path).encode("Café") == [6]


def test_it_pickles_with_and_without_its_engine(tokenizer):
    expected = tokenizer.encode("a dog")
    assert pickle.loads(pickle.dumps(tokenizer)).encode("a dog") == expected
    assert len(pickle.dumps(tokenizer)) < 60_000


def test_line_separators_inside_pieces_keep_ids(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\n\u2028\r\ndog\r\n".encode())
    assert WordPiece(path).encode("dog") == [6]


def test_load_tokenizer_takes_a_file_a_folder_and_says_what_is_missing(tmp_path):
    assert load_tokenizer(VOCAB).encode("dog") == load_tokenizer(VOCAB.parent).encode("dog")
    with pytest.raises(InputError, match=r"vocab\.txt: cannot read"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match=r"nowhere\.txt: cannot read"):
        load_tokenizer(tmp_path / "nowhere.txt")


def test_a_named_vocabulary_comes_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".paddlenlp/models/bert-base-cased"
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text(VOCAB.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_tokenizer("bert-base-cased").lower_case is False
    assert load_tokenizer("bert-base-cased", lower_case=True).lower_case is True


def test_a_name_without_paddlenlp_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "paddlenlp.transformers", None)
    monkeypatch.setenv(published.OFFLINE, "1")
    with pytest.raises(InputError, match=r"bert-base-uncased/vocab\.txt, or give the path"):
        load_tokenizer("bert-base-uncased")
    with pytest.raises(InputError, match=r"pip install paddlenlp.*bert-base-other/vocab\.txt, or give the path"):
        load_tokenizer("bert-base-other")


def test_a_name_without_paddlenlp_is_downloaded_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "paddlenlp.transformers", None)
    mirror = tmp_path / "mirror/bert-base-uncased/vocab.txt"
    mirror.parent.mkdir(parents=True)
    mirror.write_bytes(VOCAB.read_bytes())
    monkeypatch.setenv(published.OFFLINE, "1")
    monkeypatch.setenv(published.MIRRORS, str(tmp_path / "mirror"))
    with pytest.raises(InputError, match="not downloaded"):
        load_tokenizer("bert-base-uncased")
    digest = hashlib.sha256(mirror.read_bytes()).hexdigest()
    known = Vocabulary("https://example.invalid/vocab.txt", mirror.stat().st_size, digest)
    monkeypatch.setitem(VOCABULARIES, "bert-base-uncased", known)
    assert load_tokenizer("bert-base-uncased").path == tmp_path / ".paddlenlp/models/bert-base-uncased/vocab.txt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\ndog\n", r"5 lines, .*\[MASK\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ndog\ndog\n", "'dog' is on two lines"),
        (b"[PAD]\n\xff\n", "not UTF-8 text at byte 6"),
    ],
)
def test_bad_vocabularies(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        WordPiece(path)
    with pytest.raises(InputError, match="cannot read the vocabulary"):
        WordPiece(tmp_path / "other.txt")
