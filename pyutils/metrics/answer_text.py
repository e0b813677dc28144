"""Normalise answers by the rules of the official VQA evaluation, with the defects that scores depend on.

Known defects, kept because published numbers were computed with them:
* the full-stop rule removes at most 32 full stops of a string (a flag is passed where a count is expected), and its
  "not after a digit" half never takes effect, so only a full stop before a digit survives;
* a comma between two digits anywhere ("1,000 t-shirts") makes every other mark vanish instead of becoming a space;
* words are lower-cased before contractions are looked up, so entries with "I" ("Im", "Ive") never apply;
* "somebody'd" loses its apostrophe.
"""

from __future__ import annotations

import re
from functools import lru_cache

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MOST_FULL_STOPS = 32
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
_NUMBERS.update({"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"})

# Words in which the evaluation restores one missing apostrophe.
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


_CONTRACTIONS = {
    word[:index] + word[index + 1 :]: word
    for word in _CONTRACTED.split()
    for index, letter in enumerate(word)
    if letter == "'"
}
_CONTRACTIONS["somebody'd"] = "somebodyd"


def strip_punctuation(text: str) -> str:
    """Remove marks of which one touches a space and full stops; turn other marks into spaces (the punctuation step)."""
    result = text
    keeps_no_space = _DIGIT_COMMA.search(text) is not None
    for mark in _MARKS:
        if mark in text:
            touches_space = f"{mark} " in text or f" {mark}" in text
            result = result.replace(mark, "" if touches_space or keeps_no_space else " ")
    return _FULL_STOP.sub("", result, count=_MOST_FULL_STOPS)


def normalise_words(text: str) -> str:
    """Run the evaluation's word step: lower case, number words as digits, no articles, contractions with apostrophe."""
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def clean_space(text: str) -> str:
    """Turn line breaks and tabs into spaces and strip the ends, of human answers and predictions alike."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=1 << 16)
def strip_human_answer(answer: str) -> str:
    """Return `strip_punctuation` of a human answer, cached; the evaluation applies it when the ten disagree."""
    return strip_punctuation(answer)


@lru_cache(maxsize=1 << 16)
def normalise_prediction(answer: str) -> str:
    """Normalise a predicted answer as the official evaluation does before comparing it."""
    return normalise_words(strip_punctuation(clean_space(answer)))


@lru_cache(maxsize=1 << 16)
def normalise_answer(answer: str) -> str:
    """Spell an answer as answer vocabularies do (the EvalAI form of MMF's lists: commas and question marks go first).

    "The man's hat, red." becomes "man 's hat red".
    """
    words = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return normalise_words(strip_punctuation(clean_space(words)))
