"""One random generator per row and stage, independent of order, batch and cluster.

The released generators of NegationCLIP, NegBench and NeIn draw from global state, so that a row's result
depends on the rows before it. Here every draw is a function of (seed, keys).
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


def seed_for(seed: int, *keys: str | int) -> int:
    """A 63-bit seed from the run's seed and the keys (row id, stage name, attempt).

    >>> seed_for(7, "row", "stage") == seed_for(7, "row", "stage") != seed_for(7, "row", "stage", 1)
    True
    """
    digest = blake2b(digest_size=8)
    for key in (seed, *keys):
        part = str(key).encode("utf-8", "surrogatepass")
        digest.update(f"{type(key).__name__}{len(part)}:".encode() + part)
    return int.from_bytes(digest.digest(), "big") >> 1


def rng_for(seed: int, *keys: str | int) -> np.random.Generator:
    """The generator of one row at one stage; equal keys give equal draws on every machine."""
    return np.random.default_rng(seed_for(seed, *keys))
