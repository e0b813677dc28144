"""BERT's WordPiece over any `vocab.txt`, through the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Union

from pyutils.download.transport import DownloadError
from pyutils.errors import InputError
from pyutils.extras import missing
from pyutils.text.vocabularies import VOCABULARIES, download_vocabulary, vocabulary_file

_SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_LONGEST_WORD = 100


class WordPiece:
    """Text to WordPiece ids as BERT cuts it (Devlin et al. 2019): cleaned, Chinese characters apart, split at spaces
    and punctuation, longest known piece first; a word that cannot be cut, or has over 100 letters, is [UNK].

    `vocab` is a file with one piece a line, its line number being its id. `lower_case` also strips accents.
    `special_in_text` reads "[MASK]", "[SEP]" … written in a text as these tokens (ALBEF's tokenizer does); otherwise
    they are brackets and words, as VisualBERT's and ViLBERT's do, so that no user text can end a sentence.

    `pad`, `unk`, `cls`, `sep`, `mask` are ids. Objects pickle as (path, options) and build their Rust part on first
    use, once a process. Raises InputError when the file is missing, is not UTF-8, repeats a piece or lacks a special
    token.
    """

    def __init__(self, vocab: Union[str, Path], lower_case: bool = True, special_in_text: bool = False) -> None:
        self.path = Path(vocab)
        self.lower_case = lower_case
        self.special_in_text = special_in_text
        self._pieces = _read_vocabulary(self.path)
        self._ids = {piece: number for number, piece in enumerate(self._pieces)}
        self._check()
        self.pad, self.unk, self.cls, self.sep, self.mask = (self._ids[token] for token in _SPECIALS.values())

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        state.pop("_engine", None)
        return state

    @property
    def vocab_size(self) -> int:
        """Pieces in the vocabulary, special tokens included."""
        return len(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str, max_words: int | None = None) -> list[int]:
        """Ids of `text` without [CLS] and [SEP], at most the first `max_words` of them."""
        return self._engine.encode(text, add_special_tokens=False).ids[:max_words]

    def encode_batch(self, texts: Iterable[str], max_words: int | None = None) -> list[list[int]]:
        """`encode` of many texts in one call."""
        encodings = self._engine.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids[:max_words] for encoding in encodings]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The pieces that `ids` stand for. IndexError for an id outside the vocabulary."""
        return [self._pieces[number] for number in ids]

    def id_of(self, piece: str) -> int:
        """The id of one piece, that of [UNK] when the vocabulary lacks it."""
        return self._ids.get(piece, self.unk)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """`ids` as text: pieces of a word joined, words apart by one space, special tokens left out if asked."""
        special = set(_SPECIALS.values()) if skip_special else set()
        words: list[str] = []
        for piece in self.tokens(ids):
            if piece in special:
                continue
            if piece.startswith("##") and words:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        return " ".join(words)

    @cached_property
    def _engine(self):
        from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

        model = models.WordPiece(self._ids, unk_token=_SPECIALS["unk"], max_input_chars_per_word=_LONGEST_WORD)
        engine = Tokenizer(model)
        engine.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=self.lower_case, lowercase=self.lower_case
        )
        engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        if self.special_in_text:
            engine.add_special_tokens([AddedToken(token, normalized=False) for token in _SPECIALS.values()])
        return engine

    def _check(self) -> None:
        if len(self._ids) != len(self._pieces):
            seen: set[str] = set()
            twice = next(piece for piece in self._pieces if piece in seen or seen.add(piece))  # type: ignore[func-returns-value]
            raise InputError(
                f"{self.path}: the piece {twice!r} stands on two lines, so ids are ambiguous; take the vocab.txt that "
                "came with the checkpoint"
            )
        missing = [token for token in _SPECIALS.values() if token not in self._ids]
        if missing:
            raise InputError(
                f"{self.path}: {len(self._pieces)} lines, but not {', '.join(missing)}; expected a BERT vocab.txt with "
                "one piece a line"
            )


def load_tokenizer(name_or_path: Union[str, Path], **options: bool) -> WordPiece:
    """The WordPiece of a `vocab.txt`, of a folder that holds one, or of a name such as "bert-base-uncased".

    A name goes through paddlenlp, which downloads the vocabulary once and keeps it under `~/.paddlenlp/models`;
    `options` are those of `WordPiece` (a cased name switches lower case off by itself). Raises InputError when nothing
    is found, offline included, saying where to put the file.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        if not (path / "vocab.txt").is_file():
            raise InputError(f"{path}: the folder holds no vocab.txt; copy the checkpoint's vocabulary there")
        return WordPiece(path / "vocab.txt", **options)
    if path.is_file():
        return WordPiece(path, **options)
    name = str(name_or_path)
    if path.suffix == ".txt" or name.startswith((".", "/", "~")):
        raise InputError(f"{path}: no such vocabulary file or folder")
    options.setdefault("lower_case", "uncased" in name or "-cased" not in name)
    return WordPiece(_downloaded_vocabulary(name), **options)


def _read_vocabulary(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot read the vocabulary: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text at byte {error.start}; expected a vocab.txt") from error
    # Only "\n" ends a line: other separators that str.splitlines knows are pieces of real vocabularies.
    pieces = [line.rstrip("\r") for line in text.split("\n")]
    while pieces and not pieces[-1]:
        pieces.pop()
    return pieces


def _downloaded_vocabulary(name: str) -> Path:
    """Return the vocabulary file of a named model: from the cache, else downloaded, by paddlenlp where installed."""
    where = vocabulary_file(name)
    if where.is_file():
        return where
    remedy = f"put its vocab.txt at {where}, or give the path of a vocab.txt instead of a name"
    try:
        from paddlenlp.transformers import BertTokenizer
    except ImportError as error:
        if name not in VOCABULARIES:
            why = missing("paddlenlp", "paddlenlp", f"the vocabulary {name}")
            raise InputError(f"{why}, or {remedy} ({error})") from error
        try:
            return download_vocabulary(name)
        except DownloadError as failure:
            raise InputError(f'tokenizer "{name}": not in the cache and not downloaded ({failure}); {remedy}') from None
    try:
        return Path(BertTokenizer.from_pretrained(name).vocab_file)
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f'tokenizer "{name}": not in the cache and not downloaded ({error}); {remedy}') from error
