"""The vectorised first tier: which captions of a column may hold a negation.

One regular expression of RE2 over Arrow's buffers (0.1 us a caption) leaves the few per cent that need a closer look. It is
made from the cue list, and it passes every caption in which `analysis` finds anything: the tests hold it to that.

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

# Wider than the tokeniser's classes on purpose: Unicode classes and \b make an automaton that RE2 gives up on, and to RE2
# "_no_" and "no1" are words, which to the tokeniser they are not.
_SPACE = "[^!-~]+"  # anything but visible ASCII
_QUOTE, _HYPHEN = "['\u2019\u2018\u02bc\u00b4`]", "[-\u2010\u2011]"
_START, _END = "(?:^|[^a-z])", "(?:$|[^a-z])"


@dataclass(frozen=True, slots=True)
class Prefilter:
    """One filter, spelled for any text (RE2 on UTF-8), and for plain ASCII (RE2 on bytes), where it may pass more."""

    text: str
    ascii: str


def _phrase(words: tuple[str, ...]) -> str:
    return _SPACE.join(word.replace("-", _HYPHEN) for word in words)


def _pattern(words: set[tuple[str, ...]], more: tuple[str, ...]) -> str:
    whole = "|".join(_phrase(phrase) for phrase in sorted(words))
    return "|".join((f"{_START}(?:{whole}){_END}", *more))


def _both(words: set[tuple[str, ...]], more: tuple[str, ...], more_ascii: tuple[str, ...]) -> Prefilter:
    plain = _pattern(words, more_ascii).replace(_QUOTE, "['`]").replace(_HYPHEN, "-")
    return Prefilter(_pattern(words, more), plain)


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
    _explicit_words(EXPLICIT) | _IMPLICIT, (_NOT, _WITHOUT, *_AFFIXES), (_NOT, _WITHOUT, *_AFFIXES_ASCII)
)
"""Anything that may be a cue, explicit or implicit."""


def candidates(column: Column, wanted: Prefilter) -> np.ndarray:
    """int[]: the captions that match, ascending; letters of either case."""
    mask = pc.match_substring_regex(column.as_binary(), pattern=wanted.ascii, ignore_case=True)
    if not len(column.other):
        return pc.indices_nonzero(mask).to_numpy(zero_copy_only=False)
    passed = mask.to_numpy(zero_copy_only=False, writable=True)
    others = column.captions.take(pa.array(column.other))
    exact = pc.match_substring_regex(others, pattern=wanted.text, ignore_case=True)
    passed[column.other] = exact.to_numpy(zero_copy_only=False)
    return np.flatnonzero(passed)
