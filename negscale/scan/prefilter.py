"""The vectorised first tier: which captions of a column may hold a negation, and how many words there are.

Plain ASCII captions, nearly all of a collection, go through the compiled automaton of `kernel`; the others through one regular
expression of RE2 that says the same. Both are made from the cue list, and they pass every caption in which `analysis` finds
anything: the tests hold them to that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.language.cues import CUES
from negscale.scan.analysis import EXPLICIT, WORD_LIST
from negscale.scan.kernel import BEYOND_ASCII, HELD, Phrases, sift

# Wider than the tokeniser's classes on purpose: Unicode classes and \b make an automaton that RE2 gives up on, and to RE2
# "_no_" and "no1" are words, which to the tokeniser they are not.
_SPACE = "[^!-~]+"  # anything but visible ASCII
_QUOTE, _HYPHEN = "['\u2019\u2018\u02bc\u00b4`]", "[-\u2010\u2011]"
_START, _END = "(?:^|[^a-z])", "(?:$|[^a-z])"
# the same words, but for letters that one of the two Unicode tables is too old for
_WORDS_RE = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_WORDS_RE2 = r"[\pL\pN]+(?:['\x{2019}-][\pL\pN]+)*"
_MANY = 2000  # from here on RE2 is faster: it takes milliseconds to be compiled, at every call
# below, captions are spelled in ASCII: look-alikes of its marks, and the two letters that RE2 folds to its own; the rest are gaps
_SPELLED = (
    dict.fromkeys("\u2019\u2018\u02bc\u00b4", "'") | dict.fromkeys("\u2010\u2011", "-") | {"\u017f": "s", "\u212a": "k"}
)
_BEYOND_RE = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Prefilter:
    """One filter, spelled for any text (RE2, letters of either case), and as an automaton for plain ASCII.

    On ASCII the automaton passes what `text` matches; of affixes it may pass a few more.
    """

    text: str
    phrases: Phrases


def _phrase(words: tuple[str, ...]) -> str:
    return _SPACE.join(word.replace("-", _HYPHEN) for word in words)


def _pattern(words: set[tuple[str, ...]], more: tuple[str, ...]) -> str:
    whole = "|".join(_phrase(phrase) for phrase in sorted(words))
    return "|".join((f"{_START}(?:{whole}){_END}", *more))


def _of(words: set[tuple[str, ...]], more: tuple[str, ...]) -> Prefilter:
    return Prefilter(_pattern(words, more), Phrases.of(words, extras=len(more) > 1))


def _explicit_words(allowed: frozenset[str]) -> set[tuple[str, ...]]:
    return {(word,) for word in allowed if word not in ("n't", "w")} | {("cannot",)}


_NOT = f"n{_QUOTE}t{_END}"
_WITHOUT = rf"{_START}w\s*/\s*o{_END}"
_AFFIXES = (rf"{_START}un\S{{4}}", rf"\S{{3}}less{_END}", rf"\S{_HYPHEN}free{_END}")
_IMPLICIT = {cue.words for cue in CUES if cue.words[0] not in EXPLICIT}

LISTED: Final = _of(_explicit_words(WORD_LIST), (_NOT,))
"""Any word of the literature's list."""
CUED: Final = _of(_explicit_words(EXPLICIT) | _IMPLICIT, (_NOT, _WITHOUT, *_AFFIXES))
"""Anything that may be a cue, explicit or implicit."""


def candidates(captions: pa.Array, wanted: Prefilter) -> tuple[int, np.ndarray]:
    """(words in all captions, int[] the captions that match, ascending) for string[N] without nulls.

    Words are runs of letters and digits with ' and - inside: "isn't" is one word.
    """
    words, found = sift(captions, wanted.phrases)
    others = np.flatnonzero(found == BEYOND_ASCII)
    if len(others) > _MANY:
        texts = captions.take(pa.array(others))
        words += int(pc.sum(pc.count_substring_regex(texts, _WORDS_RE2)).as_py())
        mask = pc.match_substring_regex(texts, pattern=wanted.text, ignore_case=True)
        found[others] = np.where(mask.to_numpy(zero_copy_only=False), HELD, 0)
    elif len(others):
        texts = captions.take(pa.array(others)).to_pylist()
        words += sum(len(_WORDS_RE.findall(text)) for text in texts)
        found[others] = sift(pa.array([_BEYOND_RE.sub(_plain, text) for text in texts], pa.string()), wanted.phrases)[1]
    return words, np.flatnonzero(found)


def _plain(letter: re.Match[str]) -> str:
    return _SPELLED.get(letter[0], "\x01")
