"""Two models on the same items: is the difference more than luck?

The papers compare single numbers. McNemar's test (exact and mid-p, Fagerland et al. 2013, BMC Med Res Methodol 13:91)
looks at the items on which the models differ; the paired bootstrap gives the difference an interval and takes account
of items that share an image, which McNemar's test does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

import numpy as np

from negscale.metrics.intervals import DRAWS, cluster_sums, percentiles, resampled


@dataclass(frozen=True, slots=True)
class McNemar:
    """Items on which one model is better than the other, with two-sided p-values for "neither is better"."""

    first_better: int
    second_better: int
    exact_p: float
    mid_p: float  # less conservative; recommended for small counts


def mcnemar(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> McNemar:
    """McNemar's test on two models' credits of the same items, which for credits between 0 and 1 is the sign test.

    Items on which a credit is NaN are left out. Raises ValueError for lengths that differ.
    """
    a, b, _ = _pairs(first, second, None)
    more, less = int((a > b).sum()), int((a < b).sum())
    total, few = more + less, min(more, less)
    at = [_binomial(total, k) for k in range(few + 1)]
    exact = min(1.0, 2 * sum(at))
    return McNemar(more, less, exact, min(1.0, 2 * sum(at) - at[-1]))


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of second minus first, with its 95 % interval and the two-sided p-value of "no difference"."""

    value: float
    low: float
    high: float
    p: float
    count: int


def paired_bootstrap(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, clusters: Sequence[str],
    rng: np.random.Generator, draws: int = DRAWS,
) -> Difference:  # fmt: skip
    """The difference of two models' means over resampled images. clusters: the image of each item.

    p is twice the share of resamples on the other side of zero, at least 1 / draws: a bootstrap cannot know better.
    Raises ValueError for lengths that differ or when no item has both credits.
    """
    a, b, images = _pairs(first, second, clusters)
    if not len(a):
        raise ValueError("no item has a credit from both models")
    sums, sizes = cluster_sums(b - a, images)
    means = resampled((sums, sizes), lambda total, count: total / count, rng, draws)
    beyond = min((means <= 0).mean(), (means >= 0).mean())
    return Difference(float((b - a).mean()), *percentiles(means), float(min(1.0, max(2 * beyond, 1 / draws))), len(a))


def _binomial(n: int, k: int) -> float:
    """Chance of k heads in n fair throws."""
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2))


def _pairs(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, clusters: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    a, b = np.asarray(first, float), np.asarray(second, float)
    names = [""] * len(a) if clusters is None else list(clusters)
    if not a.shape == b.shape == (len(names),):
        raise ValueError(f"expected the same items of both models, got {a.shape}, {b.shape} and {len(names)} clusters")
    both = ~np.isnan(a) & ~np.isnan(b)
    return a[both], b[both], [name for name, keep in zip(names, both, strict=True) if keep]
