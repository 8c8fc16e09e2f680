from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from negscale.core.rng import rng_for
from negscale.metrics.frechet import frechet_distance, frechet_interval

RNG = np.random.default_rng(5)


def clouds(rows: int, width: int, shift: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    mix = RNG.normal(size=(width, width)) / np.sqrt(width)
    a = RNG.normal(size=(rows, width)) @ mix
    return a.astype(np.float32), (RNG.normal(size=(rows, width)) * 1.3 + shift).astype(np.float32)


def test_one_number_wide_by_hand() -> None:
    # means 1 and 4, variances 2 and 8: 9 + (sqrt(8) - sqrt(2))^2
    a, b = np.array([[0.0], [2.0]]), np.array([[2.0], [6.0]])
    assert frechet_distance(a, b) == pytest.approx(9 + (8**0.5 - 2**0.5) ** 2)


@pytest.mark.parametrize(("rows", "width"), [(300, 24), (40, 64)])  # more rows than numbers, and fewer
def test_equals_torchmetrics_on_the_same_features(rows: int, width: int) -> None:
    pytest.importorskip("torchmetrics")
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    network: Any = torch.nn.Identity()
    network.num_features = width
    theirs = FrechetInceptionDistance(feature=network).set_dtype(torch.float64)
    a, b = clouds(rows, width)
    theirs.update(torch.from_numpy(a).double(), real=True)
    theirs.update(torch.from_numpy(b).double(), real=False)
    assert frechet_distance(a, b) == pytest.approx(float(theirs.compute()), abs=1e-4)


def test_equal_clouds_are_at_zero_and_order_does_not_matter() -> None:
    a, b = clouds(50, 8)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_an_interval_that_holds_the_truth_and_does_not_change() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(40):
        a = rng.normal(size=(400, 3))
        b = rng.normal([0.5, 0, 0], 1, (400, 3))
        low, high = frechet_interval(a, b, [str(i // 2) for i in range(400)], rng_for(trial, "x"))
        inside += low <= 0.25 <= high
    assert inside >= 33  # 95 % of 40 is 38
    a, b = clouds(60, 4)
    groups = [str(i) for i in range(60)]
    first, again = (frechet_interval(a, b, groups, rng_for(1, "y")) for _ in range(2))
    assert first == again
    assert first[0] <= frechet_distance(a, b) <= first[1]


def test_what_has_no_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two rows"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(np.full((3, 2), np.nan), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="as many images"):
        frechet_interval(np.zeros((8, 2)), np.zeros((8, 2)), ["a"] * 8, rng_for(0, "z"))
