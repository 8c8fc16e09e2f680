"""Shares, intervals and rankings."""

from __future__ import annotations

import pytest

from negscale.metrics.statistics import precision_at_yield, roc_auc, wilson_interval


def test_wilson_interval_matches_published_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    table = ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718))
    for hits, trials, low, high in table:
        assert wilson_interval(hits, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_without_trials_knows_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="5 of 4"):
        wilson_interval(5, 4)


def test_precision_at_yield_keeps_the_lowest_scores() -> None:
    scores, absent = [0.1, 0.9, 0.2, 0.8], [True, False, True, True]
    half = precision_at_yield(scores, absent, 0.5)
    assert (half.kept, half.right, half.value) == (2, 2, 1.0)
    assert precision_at_yield(scores, absent, 1.0).value == 0.75
    assert precision_at_yield(scores, absent, 0.0).value == 1.0
    with pytest.raises(ValueError, match="4 and 3"):
        precision_at_yield(scores, absent[:3], 0.5)


def test_roc_auc_counts_ties_half() -> None:
    assert roc_auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True]) == 0.75
    assert roc_auc([1.0, 1.0, 1.0], [True, False, True]) == 0.5
    with pytest.raises(ValueError, match="positives and negatives"):
        roc_auc([1.0], [True])
