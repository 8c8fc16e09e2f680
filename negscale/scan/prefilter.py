"""The vectorised second tier: which captions of a column may hold a negation.

One regular expression of RE2 over Arrow's buffers (0.1 us a caption) leaves the few per cent that need a closer look of the
tenth that the sieve leaves. Both are made from the cue list, and they pass every caption in which `analysis` finds
anything: the tests hold them to that.

Plain ASCII captions, nearly all of a collection, are matched byte by byte: an expression over bytes has a smaller automaton
than one over UTF-8, and runs a fifth faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.language.cues import CUES
from negscale.scan.analysis import EXPLICIT, WORD_LIST
from negscale.scan.column import Column
from negscale.scan.sieve import Sieve, sift

# Wider than the tokeniser's classes on purpose: Unicode classes and \b make an automaton that RE2 gives up on, and to RE2
# "_no_" and "no1" are words, which to the tokeniser they are not.
_SPACE = "[^!-~]+"  # anything but visible ASCII
_QUOTE, _HYPHEN = "['\u2019\u2018\u02bc\u00b4`]", "[-\u2010\u2011]"
_START, _END = "(?:^|[^a-z])", "(?:$|[^a-z])"


@dataclass(frozen=True, slots=True)
class Prefilter:
    """One filter, spelled for any text (RE2 on UTF-8), and for plain ASCII (RE2 on bytes), where it may pass more.

    sieve: passes every plain ASCII caption that `ascii` matches.
    """

    text: str
    ascii: str
    sieve: Sieve


def _phrase(words: tuple[str, ...]) -> str:
    return _SPACE.join(word.replace("-", _HYPHEN) for word in words)


def _pattern(words: set[tuple[str, ...]], more: tuple[str, ...]) -> str:
    whole = "|".join(_phrase(phrase) for phrase in sorted(words))
    return "|".join((f"{_START}(?:{whole}){_END}", *more))


def _both(
    words: set[tuple[str, ...]], more: tuple[str, ...], more_ascii: tuple[str, ...], affixes: bool = False
) -> Prefilter:
    plain = _pattern(words, more_ascii).replace(_QUOTE, "['`]").replace(_HYPHEN, "-")
    beginnings = {_rarest(phrase) for phrase in words} | ({"un"} if affixes else set())
    return Prefilter(_pattern(words, more), plain, Sieve.of(beginnings, slashes=affixes, affixes=affixes))


def _rarest(phrase: tuple[str, ...]) -> str:
    """A word of a phrase that few captions hold: the first one, but not "in"."""
    return phrase[0] if len(phrase[0]) > 2 else max(phrase, key=len)


def _explicit_words(allowed: frozenset[str]) -> set[tuple[str, ...]]:
    return {(word,) for word in allowed if word not in ("n't", "w")} | {("cannot",)}


_NOT = f"n{_QUOTE}t{_END}"
_WITHOUT = rf"{_START}w\s*/\s*o{_END}"
_AFFIXES = (rf"{_START}un\S{{4}}", rf"\S{{3}}less{_END}", rf"\S{_HYPHEN}free{_END}")
# without counted repeats, which multiply the states; "under" is the one common word that would pass
_AFFIXES_ASCII = (rf"{_START}un(?:[^d]|d[^e]|de[^r]|der[^ ])", f"less{_END}", f"-free{_END}")
_IMPLICIT = {cue.words for cue in CUES if cue.words[0] not in EXPLICIT}

LISTED: Final = _both(_explicit_words(WORD_LIST), (_NOT,), (_NOT,))
"""Any word of the literature's list."""
CUED: Final = _both(
    _explicit_words(EXPLICIT) | _IMPLICIT, (_NOT, _WITHOUT, *_AFFIXES), (_NOT, _WITHOUT, *_AFFIXES_ASCII), affixes=True
)
"""Anything that may be a cue, explicit or implicit."""


def candidates(column: Column, wanted: Prefilter) -> tuple[int, np.ndarray]:
    """(words in all captions, int[] the captions that match, ascending); letters of either case."""
    words, rows = sift(column, wanted.sieve)
    passed = np.zeros(len(column.captions), bool)
    found = column.as_binary().take(pa.array(rows))
    mask = pc.match_substring_regex(found, pattern=wanted.ascii, ignore_case=True)
    passed[rows] = mask.to_numpy(zero_copy_only=False)
    if len(column.other):
        others = column.captions.take(pa.array(column.other))
        exact = pc.match_substring_regex(others, pattern=wanted.text, ignore_case=True)
        passed[column.other] = exact.to_numpy(zero_copy_only=False)
    return words, np.flatnonzero(passed)
