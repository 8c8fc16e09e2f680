"""A column of captions as bytes: what the vectorised passes of a scan work on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc

# the same words, but for letters that one of the two Unicode tables is too old for
_WORDS_RE = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_WORDS_RE2 = r"[\pL\pN]+(?:['\x{2019}-][\pL\pN]+)*"
_MANY = 2000  # from here on Arrow's is faster: it takes milliseconds to be compiled, at every call


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
        if not len(text) or text.max() < 128:
            return cls(captions, text, offsets, np.empty(0, np.int64))
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
    rows = np.searchsorted(offsets, places, "right") - 1
    return rows[np.diff(rows, prepend=-1) > 0]


def count_beyond_ascii(column: Column) -> tuple[int, pa.Array]:
    """(words of the captions that are not plain ASCII, those captions)."""
    rows = column.captions.take(pa.array(column.other))
    if len(rows) > _MANY:
        return int(pc.sum(pc.count_substring_regex(rows, _WORDS_RE2)).as_py()), rows
    return sum(len(_WORDS_RE.findall(text)) for text in rows.to_pylist()), rows
