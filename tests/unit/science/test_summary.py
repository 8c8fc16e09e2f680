"""Means over seeds, intervals of two levels, and what is said of ours."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from negscale.report.science import science_table
from negscale.science.methods import BASE, FREE, OURS
from negscale.science.scoring import COLUMNS, CREDIT
from negscale.science.summary import as_csv, difference, facts_of


def credits(right: float, items: int = 200, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows = [(column, f"i{at}", float(rng.random() < right)) for column in COLUMNS for at in range(items)]
    return pa.table([list(column) for column in zip(*rows, strict=True)], CREDIT)


def test_a_better_row_is_better_beyond_its_interval() -> None:
    found = {
        BASE: {s: credits(0.3, seed=s) for s in range(3)}, "p1": {s: credits(0.5, seed=10 + s) for s in range(3)},
        OURS: {s: credits(0.8, seed=20 + s) for s in range(3)}, FREE: {s: credits(0.4, seed=30 + s) for s in range(3)},
    }  # fmt: skip
    facts = facts_of(found)
    by_name = {row["method"]: row["columns"]["mcq"] for row in facts["rows"]}
    assert by_name[OURS]["value"] == pytest.approx(0.8, abs=0.05)
    assert by_name[OURS]["low"] < by_name[OURS]["value"] < by_name[OURS]["high"]
    assert by_name[OURS]["items"] == 600
    assert facts["verdict"]["mcq"]["best_paper"] == "p1"
    assert facts["verdict"]["mcq"]["ours_minus_it"]["low"] > 0.15
    assert facts["free"]["mcq"]["value"] == pytest.approx(0.1, abs=0.07)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(science_table(facts))
    assert "negscale" in console.export_text()
    lines = list(csv.DictReader(io.StringIO(as_csv(facts))))
    assert len(lines) == 4 * len(COLUMNS)
    assert {line["items"] for line in lines} == {"600"}


def test_seeds_that_differ_widen_the_interval() -> None:
    same = {BASE: {s: credits(0.5, 400, seed=s) for s in range(4)}}
    apart = {BASE: {s: credits((0.2, 0.8)[s % 2], 400, seed=s) for s in range(4)}}
    widths = [
        cell["high"] - cell["low"] for held in (same, apart) for cell in [facts_of(held)["rows"][0]["columns"]["mcq"]]
    ]
    assert widths[1] > 3 * widths[0]


def test_what_a_row_lacks_is_left_out() -> None:
    table = credits(0.5)
    part = table.filter(pa.array([name != "groups" for name in table["column"].to_pylist()]))
    found = {BASE: {0: table}, "blind": {0: part}}
    assert difference(found, BASE, "blind", "groups") is None
    assert facts_of(found)["rows"][1]["columns"]["groups"] is None
