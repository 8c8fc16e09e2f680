"""Histograms as coordinates of inline SVG: bars stacked by fate, thresholds as dashed lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from negscale.report.gallery_rows import label_of
from negscale.report.gallery_sample import PLACES
from negscale.report.gallery_scores import Histogram, ScoreTally

WIDTH, BASE, HEIGHT = 320, 92, 110  # user units of the SVG; BASE is where the axis lies
_TOP = 14  # room for the text above the bars
_NARROWEST = 2.0  # a bar that stands for one value must still be seen


def charts(tally: ScoreTally, thresholds: Mapping[str, Sequence[tuple[str, float]]]) -> list[dict[str, Any]]:
    """One chart a score, as the template draws it."""
    return [_chart(name, tally.histograms[name], thresholds.get(name, ())) for name in tally.names]


def _chart(name: str, histogram: Histogram, lines: Sequence[tuple[str, float]]) -> dict[str, Any]:
    bars = histogram.bars()
    made: dict[str, Any] = {
        "name": name, "label": label_of(name), "count": histogram.count, "missing": histogram.missing,
        "not_finite": histogram.not_finite, "width": WIDTH, "height": HEIGHT, "base": BASE, "bars": [], "lines": [],
        "ticks": [], "most": 0,
    }  # fmt: skip
    if not bars:
        return made
    values = [value for _, value in lines]
    shares = histogram.low >= 0.0 and histogram.high <= 1.0
    low, high = min([bars[0].low, 0.0, *values]), max([bars[-1].high, *values])
    if shares and (high > 0.5 or histogram.low == histogram.high):
        high = max(1.0, high)  # most scores are shares: the whole axis says more than its used part
    elif histogram.low == histogram.high:  # one value: its bin is too narrow to set an axis by
        low, high = min(low, 2 * histogram.low), max(high, 2 * histogram.high)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return round((value - low) / span * WIDTH, 2)

    most = max(bar.total for bar in bars)
    made["most"] = most
    for bar in bars:
        if not bar.total:
            continue
        left, width = x(bar.low), max(_NARROWEST, x(bar.high) - x(bar.low) - 0.4)
        parts, below = [], 0
        for place, count in zip(PLACES, bar.counts, strict=True):
            if count:
                tall = count / most * (BASE - _TOP)
                parts.append({"place": place, "y": round(BASE - below - tall, 2), "height": round(tall, 2)})
                below += tall
        said = ", ".join(f"{count:,} {place}" for place, count in zip(PLACES, bar.counts, strict=True) if count)
        made["bars"].append({
            "x": min(left, WIDTH - width), "width": round(width, 2), "parts": parts, "low": f"{bar.low:.6g}",
            "high": f"{bar.high:.6g}", "text": f"{bar.low:.4g} to {bar.high:.4g}: {said}",
        })  # fmt: skip
    made["lines"] = [{"x": x(value), "key": key, "value": f"{value:.4g}"} for key, value in lines]
    made["ticks"] = [{"x": x(tick), "anchor": _anchor(x(tick)), "text": f"{tick:.4g}"} for tick in ticks(low, high)]
    return made


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from `low` to `high`.

    >>> ticks(0.0, 1.03)
    [0.0, 0.5, 1.0]
    """
    span = high - low
    if not (0 < span < math.inf):
        return [low]
    power = 10.0 ** math.floor(math.log10(span))
    step = next(step for step in (power / 5, power / 2, power, 2 * power, 5 * power) if span / step < 5)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{n * step:.12g}") for n in range(first, last + 1)]


def _anchor(x: float) -> str:
    return "start" if x < 0.05 * WIDTH else "end" if x > 0.95 * WIDTH else "middle"
