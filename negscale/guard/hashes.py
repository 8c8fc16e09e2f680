"""Perceptual hashes of 64 bits (the DCT hash of pHash, Zauner 2010), and an index that finds near ones without comparing all.

A photograph keeps its hash, up to a few bits, when it is resized, re-encoded or slightly recoloured; cropping and rotation
change it. The hash of the mirrored image comes from the same coefficients: mirroring turns the sign of the odd ones.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from PIL import Image as Pillow

from negscale.core.backend import Image

BITS = 64
_SIDE, _KEPT = 32, 8
_BANDS, _BAND_BITS = 4, 16


@cache
def _dct() -> np.ndarray:
    """float64[8, 32]: the first rows of the DCT-II."""
    k, n = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None, :]
    return np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE))


def perceptual_hash(image: Image) -> tuple[int, int]:
    """(hash, hash of the mirrored image) of uint8[H, W, 3], each of 64 bits.

    Bits are the 63 lowest frequencies of the brightness above their median. The mean brightness says nothing about what is
    shown; its bit tells whether the first horizontal frequency outweighs the first vertical one.
    """
    grey = Pillow.fromarray(image, "RGB").convert("L").resize((_SIDE, _SIDE), Pillow.Resampling.BOX)
    low = _dct() @ np.asarray(grey, np.float64) @ _dct().T  # [vertical, horizontal] frequency
    mirrored = low.copy()
    mirrored[:, 1::2] *= -1
    return _bits(low), _bits(mirrored)


def _bits(low: np.ndarray) -> int:
    flat = low.ravel()[1:]
    above = np.concatenate(([low[0, 1] > low[1, 0]], flat > np.median(flat)))
    return int.from_bytes(np.packbits(above).tobytes(), "big")


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Bits that differ: uint8[...] of uint64[...] and uint64[...], which broadcast."""
    return _ones(np.bitwise_xor(one, other))


def _ones(words: np.ndarray) -> np.ndarray:
    """Bits that are set, without numpy 2's bitwise_count."""
    as_bytes = np.ascontiguousarray(words)[..., None].view(np.uint8)
    return _ONES[as_bytes].sum(-1, dtype=np.uint8)


_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


class HammingIndex:
    """All hashes within `radius` bits of a query, by multi-index hashing (Norouzi et al., CVPR 2012).

    A hash is cut into 4 bands of 16 bits. Two hashes that differ in at most r bits agree in one band up to r // 4 bits, so only
    hashes with a near band are compared: at radius 8 about one in 120, at radius 3 one in 16,000.
    """

    def __init__(self, hashes: np.ndarray, radius: int) -> None:
        """hashes: uint64[N]; radius: 0 to 15 bits."""
        if not 0 <= radius < 4 * _BANDS:
            raise ValueError(f"radius {radius}: expected 0 to {4 * _BANDS - 1} of {BITS} bits")
        self.radius = radius
        self._hashes = np.asarray(hashes, np.uint64)
        self._bands = []
        for band in range(_BANDS):
            keys = _band(self._hashes, band)
            order = np.argsort(keys, kind="stable")
            self._bands.append((keys[order], order))
        masks = [
            sum(1 << bit for bit in bits)
            for n in range(radius // _BANDS + 1)
            for bits in combinations(range(_BAND_BITS), n)
        ]
        self._masks = np.array(masks, np.uint16)
        self.compared = 0  # pairs that were compared so far

    def __len__(self) -> int:
        return len(self._hashes)

    def near(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(query number, hash number, distance) of every pair within the radius, by query, then by hash number."""
        queries = np.asarray(queries, np.uint64)
        pairs: list[np.ndarray] = []
        for start in range(0, len(queries) if len(self) else 0, 256):
            pairs += self._candidates(queries[start : start + 256], start)
        if not pairs:
            empty = np.zeros(0, np.int64)
            return empty, empty, empty
        found = np.unique(np.concatenate(pairs))
        one, other = found // len(self), found % len(self)
        apart = distances(queries[one], self._hashes[other]).astype(np.int64)
        return one, other, apart

    def _candidates(self, queries: np.ndarray, start: int) -> list[np.ndarray]:
        kept = []
        for band, (keys, order) in enumerate(self._bands):
            probes = (_band(queries, band)[:, None] ^ self._masks[None, :]).ravel()
            low, high = np.searchsorted(keys, probes, "left"), np.searchsorted(keys, probes, "right")
            counts = high - low
            owner = np.repeat(np.arange(len(queries)), len(self._masks))
            total = int(counts.sum())
            if not total:
                continue
            self.compared += total
            # positions low..high of every probe, side by side
            offsets = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
            hits = order[np.repeat(low, counts) + offsets]
            owners = np.repeat(owner, counts)
            close = distances(queries[owners], self._hashes[hits]) <= self.radius
            kept.append((owners[close] + start) * len(self) + hits[close])
        return kept


def _band(hashes: np.ndarray, band: int) -> Any:
    return (hashes >> np.uint64(_BAND_BITS * band)).astype(np.uint16)
