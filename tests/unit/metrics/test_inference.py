"""Paired tests and intervals against values of the literature, scipy and repeated sampling."""

from __future__ import annotations

import numpy as np
import pytest

from negscale.metrics.intervals import mean_interval
from negscale.metrics.paired import mcnemar, paired_bootstrap
from negscale.metrics.statistics import wilson_interval


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_mcnemar_of_fagerlands_example() -> None:
    # Fagerland, Lydersen and Laake 2013: 1 against 7 discordant pairs
    found = mcnemar([1] * 1 + [0] * 7 + [1] * 13, [0] * 1 + [1] * 7 + [1] * 13)
    assert (found.first_better, found.second_better) == (1, 7)
    assert found.exact_p == pytest.approx(0.0703, abs=5e-5)
    assert found.mid_p == pytest.approx(0.0391, abs=5e-5)


def test_mcnemar_is_scipys_binomial_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    for more, less in ((0, 0), (5, 5), (30, 50), (700, 650)):
        found = mcnemar([1] * more + [0] * less, [0] * more + [1] * less)
        wanted = stats.binomtest(more, more + less).pvalue if more + less else 1.0
        assert found.exact_p == pytest.approx(wanted, rel=1e-6)
        assert found.mid_p <= found.exact_p
    assert mcnemar([1, np.nan], [0, 1]).first_better == 1


def test_shared_images_widen_the_interval() -> None:
    credit = np.repeat(rng().integers(0, 2, 100), 5)
    images = [f"{n // 5}" for n in range(500)]
    low, high = mean_interval(credit, images, rng())
    alone = mean_interval(credit, [str(n) for n in range(500)], rng())
    assert alone == wilson_interval(credit.sum(), 500)
    assert (high - low) / (alone[1] - alone[0]) == pytest.approx(5**0.5, rel=0.1)
    assert mean_interval([1, 1, 1, 1], ["a", "a", "b", "b"], rng()) == wilson_interval(2, 2)
    assert mean_interval([], [], rng()) == (0, 1)


def test_intervals_cover_the_truth() -> None:
    inside = 0
    for trial in range(200):
        draw = rng(trial)
        share = draw.beta(3, 2, size=60)
        credit = (draw.random((60, 4)) < share[:, None]).astype(float).ravel()
        low, high = mean_interval(credit, [str(n // 4) for n in range(240)], draw, draws=400)
        inside += low <= 0.6 <= high
    assert 0.89 <= inside / 200 <= 0.99


def test_paired_bootstrap() -> None:
    first = rng(1).integers(0, 2, 400).astype(float)
    second = np.where(rng(2).random(400) < 0.1, 1.0, first)
    images = [str(n // 2) for n in range(400)]
    found = paired_bootstrap(first, second, images, rng())
    assert found.value == pytest.approx((second - first).mean())
    assert found.low < found.value < found.high
    assert found.low > 0
    assert found.p < 0.01
    same = paired_bootstrap(first, first, images, rng())
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    gap = paired_bootstrap(np.append(first, np.nan), np.append(second, 1), [*images, "x"], rng())
    assert gap == found
    with pytest.raises(ValueError, match="expected the same items"):
        paired_bootstrap(first, second[:-1], images, rng())
