"""The vectorised first tier: which captions of a column may hold a negation, and how many words the column has.

One regular expression of RE2 over Arrow's buffers (0.1 us a caption) leaves the few per cent that need a closer look. It is
made from the cue list, and it passes every caption in which `analysis` finds anything: the tests hold it to that.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.language.cues import CUES
from negscale.scan.analysis import EXPLICIT, WORD_LIST

# Wider than the tokeniser's classes on purpose: Unicode classes and \b make an automaton that RE2 gives up on, and to RE2
# "_no_" and "no1" are words, which to the tokeniser they are not.
_SPACE = "[^!-~]+"  # anything but visible ASCII
_QUOTE, _HYPHEN = "['\u2019\u2018\u02bc\u00b4`]", "[-\u2010\u2011]"
_START, _END = "(?:^|[^a-z])", "(?:$|[^a-z])"


def _phrase(words: tuple[str, ...]) -> str:
    return _SPACE.join(word.replace("-", _HYPHEN) for word in words)


def _pattern(words: set[tuple[str, ...]], more: tuple[str, ...]) -> str:
    whole = "|".join(_phrase(phrase) for phrase in sorted(words))
    return "|".join((f"{_START}(?:{whole}){_END}", *more))


def _explicit_words(allowed: frozenset[str]) -> set[tuple[str, ...]]:
    return {(word,) for word in allowed if word not in ("n't", "w")} | {("cannot",)}


_NOT = f"n{_QUOTE}t{_END}"
_WITHOUT = rf"{_START}w\s*/\s*o{_END}"
_AFFIXES = (rf"{_START}un\S{{4}}", rf"\S{{3}}less{_END}", rf"\S{_HYPHEN}free{_END}")
_IMPLICIT = {cue.words for cue in CUES if cue.words[0] not in EXPLICIT}

WORD_LIST_RE: Final = _pattern(_explicit_words(WORD_LIST), (_NOT,))
"""RE2: any word of the literature's list."""
CUES_RE: Final = _pattern(_explicit_words(EXPLICIT) | _IMPLICIT, (_NOT, _WITHOUT, *_AFFIXES))
"""RE2: anything that may be a cue, explicit or implicit."""


def candidates(captions: pa.Array, pattern: str) -> pa.Array:
    """bool[N]: the captions (string[N], no nulls) that match; letters of either case."""
    return pc.match_substring_regex(captions, pattern=pattern, ignore_case=True)


_WORDS_RE = r"[\pL\pN]+(?:['\x{2019}-][\pL\pN]+)*"
_BLOCK_BYTES = 1 << 18  # of text at a time: fits a core's cache


def count_words(captions: pa.Array) -> int:
    """Words in all captions (string[N], no nulls): runs of letters and digits, with ' and - inside. "isn't" is one word."""
    if not len(captions):
        return 0
    ascii_rows = pc.string_is_ascii(captions)
    if not pc.all(ascii_rows).as_py():
        other = captions.filter(pc.invert(ascii_rows))
        captions = captions.filter(ascii_rows)
        return int(pc.sum(pc.count_substring_regex(other, _WORDS_RE)).as_py()) + _count_ascii(captions)
    return _count_ascii(captions)


def _count_ascii(captions: pa.Array) -> int:
    if not len(captions):
        return 0
    wide = pa.types.is_large_string(captions.type)
    _, offsets_buffer, data_buffer = captions.buffers()
    offsets: Any = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)
    offsets = offsets[captions.offset : captions.offset + len(captions) + 1]
    if offsets[-1] == offsets[0]:
        return 0
    text = np.frombuffer(data_buffer, np.uint8)
    total, first = 0, 0
    while first < len(captions):  # whole captions, about a block of bytes
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK_BYTES, "right")) - 1
        last = min(max(last, first + 1), len(captions))
        total += _count_block(text[offsets[first] : offsets[last]], offsets[first:last] - offsets[first])
        first = last
    return total


def _count_block(text: np.ndarray, starts: np.ndarray) -> int:
    """Words of the captions that lie end to end in `text` (uint8[bytes]) and begin at `starts`."""
    if not len(text):
        return 0
    # arithmetic that wraps around at 256: five passes of SIMD, where a table would cost a look-up a byte
    letters = ((text | np.uint8(32)) - np.uint8(ord("a")) < 26) | (text - np.uint8(ord("0")) < 10)
    runs = int(np.count_nonzero(letters[1:] > letters[:-1])) + int(letters[0])
    inner = starts[(starts > 0) & (starts < len(text))]
    inner = inner[np.diff(inner, append=-1) != 0]  # empty captions begin where the next one does
    runs += int(np.count_nonzero(letters[inner] & letters[inner - 1]))  # a word that only seems to go on
    joins = np.flatnonzero((text == ord("'")) | (text == ord("-")))
    joins = joins[(joins > 0) & (joins < len(text) - 1)]
    joins = joins[letters[joins - 1] & letters[joins + 1]]
    if len(joins) and len(inner):
        left = np.searchsorted(inner, joins - 1, "right")
        right = np.searchsorted(inner, joins + 1, "right")
        joins = joins[left == right]  # the letters on both sides belong to one caption
    return runs - len(joins)
