"""From credits to the table: means over seeds, 95 % intervals over seeds and images, and differences row against row.

The interval is a bootstrap of two levels (Davison and Hinkley 1997, section 3.8): seeds are drawn with replacement, and
within each the images, since the luck of a training and the luck of its exam both count.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.core.rng import rng_for
from negscale.metrics.intervals import cluster_sums, percentiles, resampled
from negscale.science.methods import BASE, FREE, OURS, PAPERS, TITLES
from negscale.science.scoring import COLUMNS, NEGATION

DRAWS = 2000
Credits = Mapping[str, Mapping[int, pa.Table]]  # row -> seed -> CREDIT rows


def facts_of(credits: Credits) -> dict[str, Any]:
    """The table as JSON values: per row and column value, interval, items; then what was claimed of ours."""
    rows = [
        {"method": name, "title": TITLES[name], "columns": {c: cell_of(by_seed, c) for c in COLUMNS}}
        for name, by_seed in credits.items()
    ]  # fmt: skip
    seeds = sorted({seed for by_seed in credits.values() for seed in by_seed})
    return {"seeds": seeds, "rows": rows, "verdict": _verdict(credits), "free": _against(credits, BASE, FREE)}


def cell_of(by_seed: Mapping[int, pa.Table], column: str) -> dict[str, Any] | None:
    """One row's figure in one column: the mean of its seeds' means, interval, items; None where it lacks the column."""
    parts = [_column(table, column) for table in by_seed.values()]
    if not all(len(values) for values, _ in parts):
        return None
    means = [float(values.mean()) for values, _ in parts]
    low, high = _interval([(values, images) for values, images in parts], column)
    items = sum(len(values) for values, _ in parts)
    return {"value": float(np.mean(means)), "low": low, "high": high, "items": items, "by_seed": means}


def difference(credits: Credits, first: str, second: str, column: str) -> dict[str, float] | None:
    """Second minus first over the same items, with its interval; None where a row lacks the column."""
    parts = []
    for seed, table in credits.get(first, {}).items():
        a, images = _column(table, column)
        b, _ = _column(credits[second][seed], column)
        if not len(a) or len(a) != len(b):
            return None
        parts.append((b - a, images))
    if not parts:
        return None
    low, high = _interval(parts, f"{first} {second} {column}")
    return {"value": float(np.mean([values.mean() for values, _ in parts])), "low": low, "high": high}


def _verdict(credits: Credits) -> dict[str, Any]:
    """Column -> the best paper recipe there, and ours minus it."""
    found: dict[str, Any] = {}
    if OURS not in credits:
        return found
    for column in (*NEGATION, "retrieval", "zero_shot"):
        values = {
            name: cell["value"] for name in PAPERS if name in credits and (cell := cell_of(credits[name], column))
        }
        if values:
            best = max(values, key=lambda name: values[name])
            found[column] = {"best_paper": best, "ours_minus_it": difference(credits, best, OURS, column)}
    return found


def _against(credits: Credits, first: str, second: str) -> dict[str, Any]:
    if first not in credits or second not in credits:
        return {}
    return {column: difference(credits, first, second, column) for column in COLUMNS}


def _column(table: pa.Table, column: str) -> tuple[np.ndarray, list[str]]:
    chosen = table.filter(pc.equal(table["column"], column))
    chosen = chosen.filter(pc.is_valid(chosen["credit"]))
    return chosen["credit"].to_numpy(), chosen["image"].to_pylist()


def _interval(parts: Sequence[tuple[np.ndarray, list[str]]], key: str) -> tuple[float, float]:
    rng = rng_for(0, "science interval", key)
    draws = np.array([
        np.concatenate([
            resampled(cluster_sums(values, images), lambda total, count: total / count, rng, DRAWS) for _ in parts
        ]).reshape(len(parts), DRAWS)
        for values, images in parts
    ])  # fmt: skip  # float[seed drawn, place, draw]
    chosen = rng.integers(0, len(parts), (len(parts), DRAWS))
    places = np.arange(len(parts))[:, None]
    return percentiles(draws[chosen, places, np.arange(DRAWS)].mean(axis=0))


def as_csv(facts: Mapping[str, Any]) -> str:
    """One line a row and column: value, bounds, items."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("method", "column", "value", "low", "high", "items"))
    for row in facts["rows"]:
        for column, cell in row["columns"].items():
            if cell:
                writer.writerow(
                    (row["method"], column, *(f"{cell[k]:.4f}" for k in ("value", "low", "high")), cell["items"])
                )
    return text.getvalue()


def as_json(facts: Mapping[str, Any]) -> str:
    """The facts as written."""
    return json.dumps(facts, indent=1) + "\n"
