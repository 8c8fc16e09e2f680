"""Intervals for means over items that share images: resampling of images, not of items.

None of the four papers prints an interval, though several questions share an image and differences are tenths of a
point. Resampling whole images (the cluster bootstrap, Davison and Hinkley 1997, section 3.8) keeps what their items
share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from negscale.metrics.statistics import wilson_interval

DRAWS = 2000
LEVEL = 0.95
_CELLS = 2_000_000  # resampled at once


def cluster_sums(values: np.ndarray, clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(float64[c] sum of values, int64[c] items) of each cluster. Raises ValueError for lengths that differ."""
    if len(values) != len(clusters):
        raise ValueError(f"expected one cluster for each of {len(values)} values, got {len(clusters)}")
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(place, weights=values), np.bincount(place)


def resampled(
    sums: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], rng: np.random.Generator, draws: int = DRAWS
) -> np.ndarray:
    """float64[draws]: `statistic` of the totals of each array of `sums` (float[c]) over c clusters drawn with replacement."""
    size = len(sums[0])
    found = [statistic(*(column[chosen].sum(axis=1) for column in sums)) for chosen in _choices(size, rng, draws)]
    return np.concatenate(found)


def mean_interval(
    values: Sequence[float] | np.ndarray, clusters: Sequence[str], rng: np.random.Generator, draws: int = DRAWS
) -> tuple[float, float]:
    """95 % interval of a mean of credits in 0..1 over items grouped by image.

    With one item an image it is Wilson's, and also where every image has the same mean: a bootstrap of equal values has
    no width. Otherwise percentiles of means over resampled images.
    """
    credit = np.asarray(values, float)
    if not len(credit):
        return 0.0, 1.0
    sums, sizes = cluster_sums(credit, clusters)
    if sizes.max() == 1 or np.ptp(sums / sizes) == 0:
        return wilson_interval(min(float(credit.mean()), 1.0) * len(sizes), len(sizes))
    means = resampled((sums, sizes), lambda total, count: total / count, rng, draws)
    return percentiles(means)


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _choices(size: int, rng: np.random.Generator, draws: int) -> Iterator[np.ndarray]:
    step = max(1, _CELLS // size)
    for start in range(0, draws, step):
        yield rng.integers(0, size, (min(step, draws - start), size))
