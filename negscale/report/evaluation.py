"""Scores of an evaluation as tables: value, interval, count, missing, and the released protocol's value where it differs."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_TIMES_100 = ("fraction", "cosine")  # papers print these so
_SECTIONS = {"affirmative", "keep", "two_objects", "obedience"}  # first parts of names that stand apart


def scores_table(facts: Mapping[str, Any]) -> RenderableType:
    """The scores of one run. facts: as in metrics.json."""
    table = Table(title=f"{facts['benchmark']}: {facts['editor']}", title_justify="left")
    for name, justify in (
        ("score", "left"), ("value", "right"), ("95 % interval", "right"), ("count", "right"), ("missing", "right"),
        ("as released", "right"), ("", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    section = ""
    for score in facts["scores"]:
        head = score["name"].partition("/")[0]
        if head != section and {head, section} & _SECTIONS:
            table.add_section()
        section = head
        value, released = score["estimate"], score["as_released"]
        table.add_row(
            score["name"], number(value["value"], score["unit"]), interval(value, score["unit"]),
            f"{value['count']:,}", f"{value['missing']:,}" if value["missing"] else "",
            number(released["value"], score["unit"]) if released else "", _arrow(score["higher_is_better"]),
        )  # fmt: skip
    lines = [
        f"{facts['items']:,} items of {facts['rows']:,} rows · shares, cosines, L1 and L2 times 100 · run {facts['run']}",
        *[f"quarantined (missing in every score): {count:,} {kind}" for kind, count in facts["quarantined"].items()],
    ]
    return Group(table, *map(Text, lines))


def groups_table(score: Mapping[str, Any], what: str) -> RenderableType:
    """One score by object (or whatever the benchmark is grouped by), lowest first."""
    table = Table(title=f"{score['name']} by {what}", title_justify="left")
    for name, justify in (
        (what, "left"), ("value", "right"), ("95 % interval", "right"), ("count", "right"), ("missing", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    unknown = float("inf")
    order = sorted(
        score["groups"].items(), key=lambda g: (unknown if g[1]["value"] is None else g[1]["value"], g[0])
    )  # fmt: skip
    for name, value in order:
        table.add_row(
            name, number(value["value"], score["unit"]), interval(value, score["unit"]), f"{value['count']:,}",
            f"{value['missing']:,}" if value["missing"] else "",
        )  # fmt: skip
    return table


def number(value: float | None, unit: str) -> str:
    """A value as papers print it: shares and cosines times 100."""
    if value is None or isnan(value):
        return "-"
    return f"{100 * value:.2f}" if unit in _TIMES_100 else f"{value:.2f}" if unit == "percent" else f"{value:.4g}"


def interval(estimate: Mapping[str, Any], unit: str) -> str:
    """ "low to high", or nothing."""
    if estimate["low"] is None:
        return ""
    return f"{number(estimate['low'], unit)} to {number(estimate['high'], unit)}"


def _arrow(better: bool | None) -> str:
    return "" if better is None else "higher is better" if better else "lower is better"
