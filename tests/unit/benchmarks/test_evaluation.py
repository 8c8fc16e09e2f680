from __future__ import annotations

import json
from math import isnan

import pyarrow as pa
import pytest

from negscale.benchmarks.evaluation import SET_UNIT, mean_of, score, scores_as_json, share_of, to_bytes
from negscale.benchmarks.registry import BENCHMARKS, find_benchmark
from negscale.core.benchmark import Estimate, Metric
from negscale.core.errors import ConfigError
from negscale.core.rng import rng_for
from negscale.metrics.statistics import wilson_interval


def test_shares_have_wilsons_interval_and_count_what_is_missing() -> None:
    found = share_of([True, False, True, None, True], list("abcde"), rng_for(0, "x"), 100)
    low, high = wilson_interval(3, 4)
    assert (found.value, found.count, found.missing) == (0.75, 4, 1)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_rows_of_one_image_are_no_independent_rows() -> None:
    values, rng = [0.0] * 50 + [1.0] * 50, rng_for(0, "y")
    apart = mean_of(values, [str(n) for n in range(100)], rng, 400)
    together = mean_of(values, [str(n // 10) for n in range(100)], rng_for(0, "y"), 400)
    assert apart.low is not None
    assert apart.high is not None
    assert together.low is not None
    assert together.high is not None
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_scaled_means_keep_their_bounds_in_order_and_repeat() -> None:
    values, images = [0.1, 0.2, None, float("nan"), 0.6], list("abcde")
    first, again = (mean_of(values, images, rng_for(3, "z"), 200, factor=-100, offset=100) for _ in range(2))
    assert first == again
    assert first.value == pytest.approx(70)
    assert first.low is not None
    assert first.high is not None
    assert first.low < first.value < first.high
    assert first.missing == 2
    nothing = mean_of([None, None], ["a", "b"], rng_for(0, "z"), 100)
    assert isnan(nothing.value)
    assert (nothing.count, nothing.missing) == (0, 2)


def test_scores_of_groups_and_json_without_nan() -> None:
    def reduce(table: pa.Table) -> Estimate:
        return mean_of(table["v"].to_pylist(), table["id"].to_pylist(), rng_for(0, "m"), 100)

    items = pa.table({"id": list("abcd"), "object": ["cat", "dog", None, "dog"], "v": [1.0, 0.0, 1.0, None]})
    sets = Metric("fid", SET_UNIT, False, lambda table: Estimate(float("nan"), 0, len(table)))
    first, second = score(items, [Metric("m", "fraction", True, reduce), sets], "object")
    assert {name: (one.value, one.missing) for name, one in first.groups.items()} == {"cat": (1.0, 0), "dog": (0.0, 1)}
    assert second.groups == {}
    written = json.loads(to_bytes(scores_as_json([first, second])))
    assert written[1]["estimate"]["value"] is None
    assert written[0]["estimate"]["count"] == 3


def test_a_wrong_name_is_answered_with_what_there_is() -> None:
    assert find_benchmark("nein") is BENCHMARKS["nein"]
    with pytest.raises(ConfigError, match=r"did you mean 'nein'.*there is nein: removal"):
        find_benchmark("nien")
    with pytest.raises(ConfigError, match="there is"):
        find_benchmark("imagenet")
