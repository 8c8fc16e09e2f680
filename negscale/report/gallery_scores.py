"""Histograms of every score of a run over all of its rows, by fate, and the thresholds that its recipe set for them.

The bins of a histogram are powers of two wide and begin at multiples of their width; when there are too many, each two
neighbours become one. So the histogram needs one pass, little memory, and does not depend on the order of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

MAX_BINS = 64
_SMALLEST = -30  # exponent of the first width: scores that differ by less than 2**-30 are the same to a reader
_EXACT = 2.0**52  # above, the number of a bin is no exact float
_LARGEST = 1000  # beyond, a float has no room for the width

THRESHOLDS: Mapping[str, tuple[str, ...]] = {  # score -> where a recipe keeps what it is held against
    "presence_score": ("verifier.threshold",),
    "selection_score": ("selection.below",),
    "caption_score": ("filter.above",),
    "object_score": ("filter.object_judge.threshold",),
    "second_object_score": ("filter.second_judge.threshold",),
    "change_outside": ("filter.max_change_outside",),
    "change_peak": ("report.unchanged_peak",),
}


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar: rows whose score is in [low, high), by fate in the order kept, rejected, quarantined."""

    low: float
    high: float
    counts: tuple[int, int, int]

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(slots=True)
class Histogram:
    """Counts of one score."""

    exponent: int = _SMALLEST  # bins are 2**exponent wide
    bins: dict[int, np.ndarray] = field(default_factory=dict)  # number of the bin -> int64[3]
    missing: int = 0  # rows without a score
    not_finite: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, fate: int, values: np.ndarray) -> None:
        """Count float64[N] of one fate; NaN and infinities are counted apart."""
        finite = values[np.isfinite(values)]
        self.not_finite += len(values) - len(finite)
        if not len(finite):
            return
        self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        # wide enough at once: counting a million values into a million bins only to merge them takes long
        while self.exponent < _LARGEST and self._too_narrow():
            self._widen()
        scaled = np.floor(finite / 2.0**self.exponent)
        scaled[(finite < 0) & (scaled >= 0)] = -1  # so close below zero that the quotient is -0.0
        numbers, counts = np.unique(scaled, return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            self.bins.setdefault(int(number), np.zeros(3, np.int64))[fate] += count
        while max(self.bins) - min(self.bins) >= MAX_BINS:
            self._widen()

    def _too_narrow(self) -> bool:
        width = 2.0**self.exponent
        largest = max(abs(self.low), abs(self.high)) / width
        return (self.high - self.low) / width > 2 * MAX_BINS or largest > _EXACT

    def _widen(self) -> None:
        self.exponent += 1
        wider: dict[int, np.ndarray] = {}
        for number, counts in self.bins.items():
            wider.setdefault(number >> 1, np.zeros(3, np.int64))
            wider[number >> 1] += counts
        self.bins = wider

    @property
    def count(self) -> int:
        """Rows that have a finite score."""
        return int(sum(counts.sum() for counts in self.bins.values()))

    def bars(self) -> list[Bin]:
        """All bins from the first to the last that has rows, empty ones between them included."""
        if not self.bins:
            return []
        width, none = 2.0**self.exponent, np.zeros(3, np.int64)
        return [
            Bin(n * width, (n + 1) * width, tuple(int(c) for c in self.bins.get(n, none)))  # type: ignore[arg-type]
            for n in range(min(self.bins), max(self.bins) + 1)
        ]


class ScoreTally:
    """Histograms of all columns of floating-point numbers."""

    def __init__(self, schema: pa.Schema) -> None:
        self.names: tuple[str, ...] = tuple(f.name for f in schema if pa.types.is_floating(f.type))
        self.histograms: dict[str, Histogram] = {name: Histogram() for name in self.names}

    def add(self, place: str, table: pa.Table) -> None:
        """Count the rows of one part; place: kept, rejected or quarantined."""
        fate = ("kept", "rejected", "quarantined").index(place)
        for name in self.names:
            column, histogram = table[name], self.histograms[name]
            histogram.missing += column.null_count
            histogram.add(fate, column.drop_null().to_numpy().astype(np.float64))


def thresholds(recipes: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[str, float]]]:
    """Score -> [(key, value)] of what the score is held against; scores without are left out.

    recipes: of the run (`identity.recipe` in run.json), then of those that its rows come from; the first that has one counts.
    """
    found: dict[str, list[tuple[str, float]]] = {}
    for recipe in recipes:
        for score, keys in THRESHOLDS.items():
            if score not in found and (numbers := list(_numbers(recipe, keys))):
                found[score] = numbers
    return found


def _numbers(values: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for key in keys:
        here: Any = values
        for part in key.split("."):
            here = here.get(part) if isinstance(here, Mapping) else None
        if isinstance(here, (int, float)) and not isinstance(here, bool):
            yield key, float(here)
