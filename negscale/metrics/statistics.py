"""Shares with their intervals, and the precision that a ranking buys at a yield."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

Z_95 = 1.959963984540054


def wilson_interval(successes: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a share (default 95 %); (0, 1) without trials.

    Unlike the normal interval it stays in 0..1 and has a width when no trial failed. successes may be a sum of shared
    credits (1/t where t options tie); the interval is then wider than it need be.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials, got {successes} of {trials}")
    if trials == 0:
        return 0.0, 1.0
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class Precision:
    """Share of right decisions among those kept, with its 95 % Wilson interval."""

    kept: int
    right: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """right / kept; 1 when nothing is kept."""
        return self.right / self.kept if self.kept else 1.0


def precision_at_yield(scores: Sequence[float], right: Sequence[bool], share: float) -> Precision:
    """Precision among the `share` of items with the lowest scores; ties keep the given order."""
    if len(scores) != len(right):
        raise ValueError(f"expected as many scores as truths, got {len(scores)} and {len(right)}")
    order = np.argsort(np.asarray(scores, float), kind="stable")[: round(share * len(scores))]
    good = int(np.asarray(right, bool)[order].sum())
    return Precision(len(order), good, *wilson_interval(good, len(order)))


def roc_auc(scores: Sequence[float] | np.ndarray, positive: Sequence[bool] | np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties counting half. Raises ValueError without both kinds."""
    values, truth = np.ravel(np.asarray(scores, float)), np.ravel(np.asarray(positive, bool))
    ones, zeros = int(truth.sum()), int((~truth).sum())
    if not ones or not zeros:
        raise ValueError(f"expected positives and negatives, got {ones} and {zeros}")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[truth].sum() - ones * (ones + 1) / 2) / (ones * zeros))
