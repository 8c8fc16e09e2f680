"""Parquet files whose caption column is a list, as Hugging Face's Flickr30k and COCO copies have it: a row per caption.

How many there are is known from the footers: a column chunk counts its values, and a null or empty list counts as one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc


def is_list(type_: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    return pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)


def captions_in_groups(metadata: Any, column: str) -> tuple[tuple[int, int], ...]:
    """(rows, captions) of each row group; a list without captions counts as one."""
    if metadata.num_row_groups == 0:
        return ()
    leaf = next(
        i
        for i in range(metadata.num_columns)
        if metadata.row_group(0).column(i).path_in_schema.startswith(f"{column}.")
    )
    groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
    return tuple((group.num_rows, group.column(leaf).num_values) for group in groups)


class ListedCaption(NamedTuple):
    """One caption and where it stands."""

    row: int  # in the table
    number: int  # in the row's list
    text: bytes | None  # None for a list without captions
    said: tuple[bytes, ...]  # the whole list, nulls left out


def captions_between(column: pa.ChunkedArray, start: int, stop: int) -> list[ListedCaption]:
    """Captions number `start` to `stop` of a column of lists, counted over its rows as `captions_in_groups` does.

    As bytes: one caption that is not UTF-8 must not make the others unreadable.
    """
    counts = np.maximum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), 1)
    ends = np.cumsum(counts)
    first, last = np.searchsorted(ends, [start, stop - 1], side="right").tolist()
    at = int(ends[first] - counts[first])
    found = []
    lists = column.slice(first, last - first + 1).cast(pa.large_list(pa.large_binary())).to_pylist()
    for row, texts in enumerate(lists, first):
        said = tuple(text for text in texts or () if text is not None)
        found += [ListedCaption(row, k, text, said) for k, text in enumerate(texts or [None])]
    return found[start - at : stop - at]
