"""A column of captions as bytes: what the vectorised passes of a scan work on, and how many words it has.

A pass of numpy over bytes costs a hundredth of one of a regular expression, so that words are counted by arithmetic on the
bytes, and only captions beyond ASCII by an expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc

_WORDS_RE = r"[\pL\pN]+(?:['\x{2019}-][\pL\pN]+)*"
_BLOCK_BYTES = 1 << 19  # of text at a time: with what is made from it, a core's cache


@dataclass(frozen=True, slots=True)
class Column:
    """Captions (string[N], no nulls), their bytes end to end, where each begins, and which are not plain ASCII."""

    captions: pa.Array
    text: np.ndarray  # uint8[bytes]
    offsets: np.ndarray  # int[N + 1]: caption n is text[offsets[n] : offsets[n + 1]]
    other: np.ndarray  # int[]: captions with a byte beyond ASCII, ascending

    @classmethod
    def of(cls, captions: pa.Array) -> Column:
        """Without a copy of the text."""
        text, offsets = bytes_of(captions)
        at = np.flatnonzero(text > 127)
        if len(at) < len(captions):
            return cls(captions, text, offsets, rows_at(at, offsets))
        plain = pc.string_is_ascii(captions)  # another script: a search a byte would cost more
        return cls(captions, text, offsets, np.flatnonzero(~plain.to_numpy(zero_copy_only=False)))

    def as_binary(self) -> pa.Array:
        """The same buffers as binary[N]: Arrow matches those byte by byte (Latin-1)."""
        wide = pa.types.is_large_string(self.captions.type)
        return self.captions.view(pa.large_binary() if wide else pa.binary())


def bytes_of(captions: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(uint8[bytes], offsets int[N + 1]) of string[N] or binary[N], from its own buffers; a slice's begin at 0 too."""
    wide = pa.types.is_large_string(captions.type) or pa.types.is_large_binary(captions.type)
    _, offsets_buffer, data_buffer = captions.buffers()
    if not len(captions) or data_buffer is None:
        return np.empty(0, np.uint8), np.zeros(len(captions) + 1, np.int64)
    offsets: Any = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)
    offsets = offsets[captions.offset : captions.offset + len(captions) + 1]
    text = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
    return text, offsets - offsets[0]


def rows_at(places: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The captions that hold the bytes at `places` (ascending), each once, ascending."""
    return np.unique(np.searchsorted(offsets, places, "right") - 1)


def count_words(column: Column) -> int:
    """Words in all captions: runs of letters and digits, with ' and - inside. "isn't" is one word."""
    total = _count_ascii(column.text, column.offsets)
    if len(column.other):  # there the bytes say nothing about letters
        rows = column.captions.take(pa.array(column.other))
        total += int(pc.sum(pc.count_substring_regex(rows, _WORDS_RE)).as_py()) - _count_ascii(*bytes_of(rows))
    return total


def _count_ascii(text: np.ndarray, offsets: np.ndarray) -> int:
    """Words of all captions; bytes beyond ASCII are no letters."""
    total, first, count = 0, 0, len(offsets) - 1
    while first < count:  # whole captions, about a block of bytes
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK_BYTES, "right")) - 1
        last = min(max(last, first + 1), count)
        total += _count_block(text[offsets[first] : offsets[last]], offsets[first:last] - offsets[first])
        first = last
    return total


def _count_block(text: np.ndarray, starts: np.ndarray) -> int:
    """Words of the captions that lie end to end in `text` (uint8[bytes]) and begin at `starts`."""
    if not len(text):
        return 0
    # arithmetic that wraps around at 256
    letters = ((text | np.uint8(32)) - np.uint8(ord("a")) < 26) | (text - np.uint8(ord("0")) < 10)
    runs = np.count_nonzero(letters[1:] > letters[:-1]) + int(letters[0])
    inner = starts[(starts > 0) & (starts < len(text))]
    inner = inner[np.diff(inner, append=-1) != 0]  # empty captions begin where the next one does
    runs += np.count_nonzero(letters[inner] & letters[inner - 1])  # a word that only seems to go on
    joins = (text == ord("'")) | (text == ord("-"))
    joins[inner] = joins[inner - 1] = False  # at the ends of a caption there is nothing to join
    return int(runs - np.count_nonzero(joins[1:-1] & letters[:-2] & letters[2:]))
