"""Histograms: nothing lost, independent of order and parts, bins few; thresholds are those of the recipe."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negscale import app
from negscale.report.gallery_charts import BASE, WIDTH, charts, ticks
from negscale.report.gallery_scores import MAX_BINS, Histogram, ScoreTally, thresholds

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)


def _filled(*parts: list[float], fate: int = 0) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(fate, np.array(part, np.float64))
    return histogram


@settings(deadline=None)
@given(st.lists(NUMBERS, max_size=60), st.randoms())
def test_counts_do_not_depend_on_order_and_lose_nothing(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = _filled(values), _filled(*([value] for value in shuffled))
    assert one.bars() == other.bars()
    assert one.count + one.not_finite == len(values)
    assert len(one.bars()) <= MAX_BINS
    finite = [value for value in values if np.isfinite(value)]
    for bar in one.bars():
        assert bar.total == sum(bar.low <= value < bar.high for value in finite)


def test_shares_get_bins_of_a_useful_width() -> None:
    bars = _filled(np.linspace(0, 1, 1001).tolist()).bars()
    assert 32 <= len(bars) <= MAX_BINS
    assert bars[0].low == 0.0
    assert {bar.high - bar.low for bar in bars} == {1 / 32}


def test_fates_are_counted_apart_and_missing_scores_are_told() -> None:
    schema = pa.schema([("id", pa.string()), ("score", pa.float32()), ("votes", pa.int16())])
    tally = ScoreTally(schema)
    assert tally.names == ("score",)
    table = pa.table({"id": ["a", "b", "c", "d"], "score": [0.2, None, float("nan"), 0.9], "votes": [1, 2, 3, 4]})
    tally.add("kept", table.cast(schema))
    tally.add("rejected", table.cast(schema).slice(3))
    histogram = tally.histograms["score"]
    assert (histogram.count, histogram.missing, histogram.not_finite) == (3, 1, 1)
    assert [sum(column) for column in zip(*(bar.counts for bar in histogram.bars()), strict=True)] == [2, 1, 0]


def test_charts_stay_in_their_frame_and_draw_the_threshold() -> None:
    schema = pa.schema([("presence_score", pa.float64()), ("empty_score", pa.float64())])
    tally = ScoreTally(schema)
    table = pa.table({"presence_score": [0.0, 0.0, 0.1, 0.1], "empty_score": pa.nulls(4, pa.float64())})
    tally.add("kept", table.cast(schema))
    chart, empty = charts(tally, {"presence_score": [("verifier.threshold", 0.4)]})
    assert empty["bars"] == []
    assert chart["lines"] == [
        {"x": WIDTH, "key": "verifier.threshold", "value": "0.4"}
    ]  # beyond every value, still drawn
    for bar in chart["bars"]:
        assert 0 <= bar["x"] <= bar["x"] + bar["width"] <= WIDTH + 0.01
        assert bar["width"] >= 2
        assert all(0 <= part["y"] < BASE and part["height"] > 0 for part in bar["parts"])
    assert sum(int(bar["text"].split(": ")[1].split()[0]) for bar in chart["bars"]) == 4


@pytest.mark.parametrize(
    ("recipes", "found"),
    [
        ([{"verifier": {"threshold": 0.4}}], [("verifier.threshold", 0.4)]),
        ([{"verifier": {"threshold": True}}], None),
        ([{"verifier": "none"}, {}], None),
        ([{}, {"verifier": {"threshold": 1}}, {"verifier": {"threshold": 0.2}}], [("verifier.threshold", 1.0)]),
        ([], None),
    ],
)
def test_thresholds_are_looked_up(recipes: list[dict], found: list | None) -> None:
    assert thresholds(recipes).get("presence_score") == found


@pytest.mark.parametrize("recipe", ["nein", "negationclip_p1"])
def test_the_keys_are_those_of_real_recipes(recipe: str) -> None:
    overrides = ["verifier.kind=hf_itm", "verifier.model=x"] if recipe == "negationclip_p1" else []
    _, config = app.load_config(recipe, (), overrides)
    found = thresholds([config.identity()])
    expected = {"nein": {"selection_score", "caption_score", "change_outside"}, "negationclip_p1": {"presence_score"}}
    assert expected[recipe] <= found.keys()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 2.0), (0.0, 1e-9), (0.0, 0.31), (17.0, 17.0), (0.0, 4e8)])
def test_ticks_are_few_and_within(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 6
    assert all(low <= tick <= high for tick in found)
