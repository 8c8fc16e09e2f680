"""The bytes of a column of captions, as they lie in Arrow's buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


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
