"""A rank for every caption, by its text alone: the captions that rank least are a uniform sample of the distinct ones.

The hash is a sum of the bytes, each times a random odd number of its place, mixed at the end: a hundredth of the cost of a
cryptographic digest of every caption.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from negscale.core.rng import rng_for
from negscale.scan.column import bytes_of
from negscale.scan.compiled import compiled

BITS: Final = 56
_PLACES = 1 << 16  # bytes of a caption that have a number of their own


def ranks_of(captions: pa.Array, seed: int) -> np.ndarray:
    """uint64[N] below 2 ** 56 for string[N]."""
    text, offsets = bytes_of(captions)
    ranks = np.empty(len(captions), np.uint64)
    _rank(text, offsets, _numbers(seed), ranks)
    return ranks >> np.uint64(64 - BITS)


@compiled
def _rank(text: Any, offsets: Any, numbers: Any, ranks: Any) -> None:
    for row in range(len(offsets) - 1):
        begin, end = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        value = end - begin
        for at in range(end - begin):
            value += numbers[at & np.uint64(_PLACES - 1)] * (np.uint64(text[begin + at]) + np.uint64(1))
        # the finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the sum bears on every bit
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        ranks[row] = value ^ (value >> np.uint64(31))


def least(ranks: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """int[]: places of the `count` least distinct ranks of each group, all places of an equal rank."""
    order = np.lexsort((ranks, groups))
    group, rank = groups[order], ranks[order]
    opens = np.diff(group, prepend=-1) != 0
    new = opens.copy()
    new[1:] |= rank[1:] != rank[:-1]
    number = np.cumsum(new)
    return order[number - np.maximum.accumulate(np.where(opens, number, 0)) < count]


@lru_cache(maxsize=4)
def _numbers(seed: int) -> np.ndarray:
    return rng_for(seed, "scan", "ranks").integers(0, 1 << 64, _PLACES, np.uint64, endpoint=False) | np.uint64(1)
