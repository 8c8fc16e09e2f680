"""Benchmark and metric: a metric sees the whole table of predictions and says how many rows it averaged.

No denominator is ever typed in (the released NeIn scripts divide by constants, which hides missing files).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value over `count` rows."""

    value: float
    count: int  # rows that entered the value
    missing: int = 0  # rows that should have entered it and have no prediction; a published score has none
    low: float | None = None  # bounds of the 95 % interval
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A named reduction over a benchmark's rows."""

    name: str  # "recall@5", "removal/vqa", "accuracy/hybrid"
    unit: str  # "fraction", "percent", "distance"
    higher_is_better: bool | None  # None for controls that are neither
    reduce: Callable[[pa.Table], Estimate]  # pure
    as_released: Callable[[pa.Table], Estimate] | None = None  # the released protocol's value where it differs
