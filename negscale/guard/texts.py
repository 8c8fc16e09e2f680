"""Captions that say the same: equal after normalisation, or with nearly the same token n-grams (MinHash, Broder 1997)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from negscale.core.rng import rng_for

_PERMUTATIONS, _ROWS = 64, 4  # 16 bands of 4: a pair with Jaccard similarity 0.8 is found with probability 0.9998
_PRIME = np.uint64((1 << 31) - 1)


def normalise(caption: str) -> str:
    """Lower case, no punctuation, single spaces; compatible characters made equal (NFKC)."""
    text = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join("".join(c if c.isalnum() or c.isspace() else "" if c in "'\u2019" else " " for c in text).split())


def key_of(normalised: str) -> bytes:
    """16 bytes that stand for a normalised caption."""
    return blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shingles(normalised: str, size: int = 3) -> frozenset[str]:
    """The runs of `size` words; the whole caption where it is shorter."""
    words = normalised.split()
    return frozenset(" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1)))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard similarity: shared over all."""
    return len(one & other) / len(one | other) if one or other else 0.0


class NearCaptions:
    """Finds stored captions whose 3-grams overlap with a query's by at least `threshold` (Jaccard), by LSH, then exactly."""

    def __init__(self, threshold: float) -> None:
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"threshold {threshold}: expected a similarity above 0, at most 1")
        self.threshold = threshold
        rng = rng_for(0, "minhash")
        self._a = rng.integers(1, int(_PRIME), _PERMUTATIONS, np.uint64)
        self._b = rng.integers(0, int(_PRIME), _PERMUTATIONS, np.uint64)
        self._buckets: dict[bytes, list[int]] = {}
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, normalised: str) -> None:
        """Store a caption; its number is the count of those before it."""
        for key in self._keys(shingles(normalised)):
            self._buckets.setdefault(key, []).append(len(self._texts))
        self._texts.append(normalised)

    def find(self, normalised: str) -> tuple[int, float] | None:
        """(number, similarity) of the most similar stored caption, the first of equal ones; None below the threshold."""
        mine = shingles(normalised)
        numbers = sorted({number for key in self._keys(mine) for number in self._buckets.get(key, ())})
        best: tuple[int, float] | None = None
        for number in numbers:
            alike = similarity(mine, shingles(self._texts[number]))
            if alike >= self.threshold and (best is None or alike > best[1]):
                best = number, alike
        return best

    def _keys(self, pieces: frozenset[str]) -> Sequence[bytes]:
        hashed = (blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=4).digest() for piece in pieces)
        codes = np.array([int.from_bytes(code, "big") >> 1 for code in hashed], np.uint64)
        least = ((codes[:, None] * self._a + self._b) % _PRIME).min(0).astype(np.uint32)
        bands = least.reshape(-1, _ROWS)
        return [bytes([number]) + band.tobytes() for number, band in enumerate(bands)]
