"""BERT's WordPiece over any `vocab.txt`, through the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable
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
    """BERT's WordPiece (Devlin et al. 2019): clean the text, separate Chinese characters, split at spaces and
    punctuation, then take the longest known piece first; a word that cannot be split, or has over 100 letters, is
    [UNK].

    `vocab` is a file with one piece per line; its line number, from 0, is its id. `lower_case` also strips accents.
    `special_in_text` reads "[MASK]", "[SEP]" … in a text as these tokens, as ALBEF's tokenizer does; otherwise they are
    brackets and words, so that no user text can end a sentence.

    `pad`, `unk`, `cls`, `sep`, `mask` are ids. The Rust tokenizer is not pickled, but built on first use in each
    process.

    Raises:
        InputError: the file is missing, is not UTF-8, repeats a piece or lacks a special token.
    """

    def __init__(self, vocab: Union[str, Path], lower_case: bool = True, special_in_text: bool = False) -> None:
        self.path = Path(vocab)
        self.lower_case = lower_case
        self.special_in_text = special_in_text
        self._pieces = _read_vocabulary(self.path)
        self._ids = {piece: number for number, piece in enumerate(self._pieces)}
        repeated = [piece for number, piece in enumerate(self._pieces) if self._ids[piece] != number]
        missing = [token for token in _SPECIALS.values() if token not in self._ids]
        if repeated or missing:
            problem = f"{repeated[0]!r} is on two lines" if repeated else f"lacks {', '.join(missing)}"
            raise InputError(
                f"{self.path}: {len(self._pieces)} lines, {problem}; expected the checkpoint's BERT vocab.txt, with "
                "one piece per line"
            )
        self.pad, self.unk, self.cls, self.sep, self.mask = (self._ids[token] for token in _SPECIALS.values())

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        state.pop("_engine", None)
        return state

    @property
    def vocab_size(self) -> int:
        """Pieces in the vocabulary, special tokens included."""
        return len(self._pieces)

    def encode(self, text: str, max_words: int | None = None) -> list[int]:
        """Ids of `text` without [CLS] and [SEP], at most the first `max_words` of them."""
        return self._engine.encode(text, add_special_tokens=False).ids[:max_words]

    def encode_batch(self, texts: Iterable[str], max_words: int | None = None) -> list[list[int]]:
        """`encode` of many texts in one call."""
        encodings = self._engine.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids[:max_words] for encoding in encodings]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The pieces of `ids`. IndexError for an id outside the vocabulary."""
        return [self._pieces[number] for number in ids]

    def id_of(self, piece: str) -> int:
        """The id of one piece, that of [UNK] when the vocabulary lacks it."""
        return self._ids.get(piece, self.unk)

    def decode(self, ids: Iterable[int]) -> str:
        """`ids` as text without special tokens: pieces of a word joined, words separated by one space."""
        text = " ".join(piece for piece in self.tokens(ids) if piece not in _SPECIALS.values())
        return text.replace(" ##", "")

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


def load_tokenizer(name_or_path: Union[str, Path], **options: bool) -> WordPiece:
    """Load the WordPiece of a `vocab.txt`, of a folder with one, or of a name such as "bert-base-uncased".

    A name is resolved by paddlenlp, which downloads the vocabulary once to `~/.paddlenlp/models`; `options` are those
    of `WordPiece` (`lower_case` defaults to False for a cased name). InputError when nothing is found, or a download
    fails; it names the path to put the file at.
    """
    path, name = Path(name_or_path).expanduser(), str(name_or_path)
    if path.exists() or path.suffix == ".txt" or name.startswith((".", "/", "~")):
        return WordPiece(path / "vocab.txt" if path.is_dir() else path, **options)
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
