"""Draws are functions of (seed, keys), independent of order."""

from __future__ import annotations

from negscale.core.rng import rng_for, seed_for


def test_seeds_differ_by_every_key_and_repeat() -> None:
    seeds = {seed_for(s, r, t, a) for s in (0, 1) for r in ("a", "b") for t in ("x", "y") for a in (0, 1)}
    assert len(seeds) == 16
    assert seed_for(0, "a", "x", 0) in seeds
    assert seed_for(0, "ab", "c") != seed_for(0, "a", "bc")
    assert seed_for(0, 1) != seed_for(0, "1")


def test_draws_do_not_depend_on_other_rows() -> None:
    alone = rng_for(7, "row", "stage").random(3).tolist()
    rng_for(7, "other", "stage").random(100)
    assert rng_for(7, "row", "stage").random(3).tolist() == alone
