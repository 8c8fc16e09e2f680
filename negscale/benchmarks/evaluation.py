"""From the rows of an evaluation run to figures: items, metrics, intervals, groups.

A benchmark is a recipe (its rows are a run like any other: sharded, resumable, audited), a function from rows to one item
a prediction, and metrics over items. The released evaluators of the four papers compute while they predict, so that a
score cannot be taken again; here predictions lie in the run folder and scores take seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.core.benchmark import Estimate, Metric
from negscale.metrics.intervals import cluster_sums, mean_interval, percentiles, resampled
from negscale.storage.run_folder import RunFolder

ITEMS, METRICS = "items.parquet", "metrics.json"  # in the run folder
NOTHING = Estimate(nan, 0)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: where its rows come from, and its scores."""

    name: str
    summary: str  # one line with the source
    recipe: str
    items: Callable[[pa.Table], pa.Table]  # rows of the run, whatever became of them -> one row a prediction
    metrics: Callable[[Any], Sequence[Metric]]  # the recipe's config -> metrics over items
    group: str = ""  # column of the items by which scores are broken down; "" = none
    bulky: tuple[str, ...] = ()  # columns of the items that are not written to items.parquet (features)
    version: int = 1  # bump when a score's meaning changes


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value on one set of items."""

    name: str
    unit: str
    higher_is_better: bool | None
    estimate: Estimate
    as_released: Estimate | None = None
    groups: dict[str, Estimate] = field(default_factory=dict)


def run_rows(run: RunFolder) -> pa.Table:
    """Every row of a run that was meant to be scored: kept and quarantined. Refused rows are no part of the benchmark."""
    tables = [table.replace_schema_metadata(None) for kind in ("data", "quarantine") for _, table in run.tables(kind)]
    return pa.concat_tables([table for table in tables if len(table)] or tables[:1])


def score(items: pa.Table, metrics: Sequence[Metric], group: str = "") -> list[Score]:
    """Every metric over all items and over those of each value of column `group`."""
    parts: dict[str, pa.Table] = {}
    if group:
        for name in sorted({value for value in items[group].to_pylist() if value}):
            parts[name] = items.filter(pc.equal(items[group], name))
    found = []
    for metric in metrics:
        groups = {name: metric.reduce(part) for name, part in parts.items()} if metric.unit != SET_UNIT else {}
        released = metric.as_released(items) if metric.as_released else None
        whole = metric.reduce(items)
        found.append(Score(metric.name, metric.unit, metric.higher_is_better, whole, released, groups))
    return found


SET_UNIT = "set distance"  # a distance of whole sets: no row has a value, and small groups would be biased


def share_of(hits: Sequence[bool | None], images: Sequence[str], rng: np.random.Generator, draws: int) -> Estimate:
    """Share of True among the answers that are known; Wilson's interval, over resampled images where they share rows."""
    return mean_of([None if hit is None else float(hit) for hit in hits], images, rng, draws, credits=True)


def mean_of(
    values: Sequence[float | None], images: Sequence[str], rng: np.random.Generator, draws: int,
    credits: bool = False, factor: float = 1.0, offset: float = 0.0,
) -> Estimate:  # fmt: skip
    """offset + factor * mean of the values that are there, with an interval by resampling images.

    credits: values lie in 0..1, and the interval has a width also where all are equal. None and NaN count as missing.
    """
    known = [
        (value, image) for value, image in zip(values, images, strict=True) if value is not None and value == value
    ]
    missing = len(values) - len(known)
    if not known:
        return Estimate(nan, 0, missing)
    numbers, clusters = np.array([value for value, _ in known]), [image for _, image in known]
    if credits:
        bounds = mean_interval(numbers, clusters, rng, draws)
    else:
        bounds = percentiles(resampled(cluster_sums(numbers, clusters), lambda total, count: total / count, rng, draws))
    value = float(offset + factor * numbers.mean())
    low, high = sorted(offset + factor * bound for bound in bounds)
    # rounding may leave a bound of 0 or 1 a hair inside
    return Estimate(value, len(known), missing, min(low, value), max(high, value))


def scores_as_json(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Scores as JSON values; what is not a number is null."""
    return [_finite(asdict(one)) for one in scores]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value


def to_bytes(facts: Any) -> bytes:
    """`metrics.json` as written."""
    return (json.dumps(facts, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
