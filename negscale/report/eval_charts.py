"""Charts of an evaluation as coordinates of inline SVG: dots with whiskers, row by row, and one measure against another.

A chart is as wide as a phone, so that its text keeps its size there; wide screens show several beside each other. A model has
a colour and a shape, since colour alone is not seen by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from negscale.benchmarks.cells import Cell, Suite
from negscale.core.benchmark import Estimate
from negscale.report.eval_figures import OTHER_IMAGES, blind, cells_of, interval, line, names_of, published_of, shown
from negscale.report.gallery_charts import ticks

WIDTH = 340  # user units of the SVG
LEFT, RIGHT = 4, 336  # where 0 and 100 % lie in charts of rows
_LABEL, _STEP, _GAP, _AXIS = 15, 11, 9, 20  # heights: a row's label, one model, between rows, the axis
SHAPES = 6  # shapes and colours; more models begin anew

PAIRS = (  # (plain, with negation, what is compared)
    ("negbench/retrieval-coco", "negbench/retrieval-neg-coco", "COCO: images by captions, without and with a denial"),
    ("negbench/retrieval-coco", "negbench/retrieval-neg-coco-templated", "COCO: the same, denials by template"),
    ("negbench/retrieval-coco", "negbench/mcq-coco", "COCO: images by captions, and choices with negation"),
    ("negbench/retrieval-msrvtt", "negbench/retrieval-neg-msrvtt", "MSR-VTT: clips by captions, without and with a denial"),
    ("negbench/retrieval-msrvtt", "negbench/mcq-msrvtt", "MSR-VTT: clips by captions, and choices with negation"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dot:
    """A value with its whisker, in user units."""

    x: float
    low: float
    high: float
    y: float
    series: int  # number of the model; -1 = a control
    text: str  # said when it is pointed at, or read aloud


@dataclass(frozen=True, slots=True)
class DotRow:
    """A labelled row of dots; `bar`: x of the strongest solver without the image, or None."""

    label: str
    y: float  # of the label's base line
    bottom: float
    dots: tuple[Dot, ...]
    bar: float | None = None
    bar_text: str = ""


@dataclass(frozen=True, slots=True)
class DotChart:
    """Rows over a common axis of 0 to 100 %."""

    title: str
    rows: tuple[DotRow, ...]
    height: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Scatter:
    """One measure against another. Marks: (x, y, half widths of the cross, series or -1 for published, text)."""

    title: str
    x_name: str
    y_name: str
    marks: tuple[dict[str, Any], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    diagonal: tuple[float, float, float, float] | None
    size: float = field(default=WIDTH)


def blind_chart(suite: Suite) -> DotChart | None:
    """Every benchmark with controls: the models as dots, solvers without the image as rings, the strongest as a bar."""
    rows = []
    for benchmark in suite.benchmarks:
        cells = cells_of(suite, benchmark)
        if cells and (strongest := blind(cells[0])) is not None:
            own = [(n, one) for n, one in cells[0].controls.items() if n != OTHER_IMAGES and isfinite(one.value)]
            rows.append((benchmark, cells, own, strongest))
    if not rows:
        return None
    names, made, top = names_of(suite), [], 0.0
    for benchmark, cells, own, (name, best) in rows:
        y = top + _LABEL + _STEP / 2 + 2
        dots = [Dot(_x(one.value), _x(one.value), _x(one.value), y, -1, f"{n}: {_said(one)}") for n, one in own]
        dots += _dots(suite, cells, names, y + _STEP, "")
        bottom = y + (len(cells) + 0.5) * _STEP
        made.append(
            DotRow(benchmark, top + 12, bottom, tuple(dots), _x(best.value), f"strongest: {name}, {_said(best)}")
        )
        top = bottom + _GAP
    return DotChart("Models against solvers that see no image", tuple(made), top + _AXIS, _percent_ticks())


def type_chart(suite: Suite, benchmark: str) -> DotChart | None:
    """The headline score of a benchmark by type, a row a type; None where the items have none."""
    cells = cells_of(suite, benchmark)
    groups = list(dict.fromkeys(name for cell in cells for name in cell.headline.groups))
    if not groups:
        return None
    names, made, top = names_of(suite), [], 0.0
    for group in groups:
        y = top + _LABEL + _STEP / 2 + 2
        count = max(cell.headline.groups[group].count for cell in cells if group in cell.headline.groups)
        dots = _dots(suite, [cell for cell in cells if group in cell.headline.groups], names, y, group)
        bottom = y + (len(cells) - 0.5) * _STEP
        made.append(DotRow(f"{group} ({count:,})", top + 12, bottom, tuple(dots)))
        top = bottom + _GAP
    return DotChart(f"{benchmark} by type", tuple(made), top + _AXIS, _percent_ticks())


def against_charts(suite: Suite) -> list[Scatter]:
    """Retrieval against negation, for every pair of benchmarks of which the evaluation holds both."""
    found = []
    for plain, negated, title in PAIRS:
        left, right = cells_of(suite, plain), cells_of(suite, negated)
        if left and right:
            found.append(_scatter(suite, title, left, right))
    return found


def _scatter(suite: Suite, title: str, left: Sequence[Cell], right: Sequence[Cell]) -> Scatter:
    names, order = names_of(suite), [model.key for model in suite.models]
    points: list[tuple[Estimate, Estimate, int, str]] = []
    by_model = {cell.model: cell for cell in right}
    for cell in left:
        if cell.model in by_model:
            pair = cell.headline.estimate, by_model[cell.model].headline.estimate
            points.append((*pair, order.index(cell.model), names[cell.model]))
    theirs = {
        (one.published.model, one.published.source): one.published.value
        for one in published_of(suite, right[0].benchmark) if one.published.score == right[0].headline.name
    }  # fmt: skip
    for one in published_of(suite, left[0].benchmark):
        key = one.published.model, one.published.source
        if one.published.score == left[0].headline.name and key in theirs:
            points.append((Estimate(one.published.value, 0), Estimate(theirs[key], 0), -1, f"{key[0]} ({key[1]})"))
    points = [p for p in points if isfinite(p[0].value) and isfinite(p[1].value)]
    top = max([0.05, *(_high(p[0]) for p in points), *(_high(p[1]) for p in points)])
    end = next(end for end in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0) if top <= end + 1e-9)
    begin, wide = 34.0, WIDTH - 34.0 - 12

    def x(value: float) -> float:
        return round(begin + value / end * wide, 1)

    def y(value: float) -> float:
        return round(begin / 3 + wide - value / end * wide, 1)

    marks = []
    for a, b, series, text in sorted(points, key=lambda point: point[2]):  # ours are drawn over published ones
        marks.append({
            "x": x(a.value), "y": y(b.value), "series": series, "left": x(_low(a)), "right": x(_high(a)),
            "top": y(_high(b)), "bottom": y(_low(b)), "text": f"{text}: {_said(a)}, {_said(b)}",
        })  # fmt: skip
    at = [(tick, f"{100 * tick:.3g}") for tick in ticks(0.0, end)]
    return Scatter(
        title, f"{left[0].benchmark} (%)", f"{right[0].benchmark} (%)", tuple(marks), tuple((x(v), t) for v, t in at),
        tuple((y(v), t) for v, t in at), (x(0), y(0), x(end), y(end)),
    )  # fmt: skip


def _dots(suite: Suite, cells: Sequence[Cell], names: dict[str, str], y: float, group: str) -> list[Dot]:
    order = [model.key for model in suite.models]
    found = []
    for at, cell in enumerate(cells):
        one = line(cell, f"{cell.headline.name}/{group}" if group else cell.headline.name)
        if one is None or not isfinite(one.estimate.value):
            continue
        estimate, place = one.estimate, order.index(cell.model)
        said = f"{names[cell.model]}: {_said(estimate)}"
        found.append(Dot(_x(estimate.value), _x(_low(estimate)), _x(_high(estimate)), y + at * _STEP, place, said))
    return found


def _said(one: Estimate) -> str:
    bounds = interval(one)
    return f"{shown(one.value)} %" + (f" ({bounds})" if bounds else "")


def _x(share: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * min(max(share, 0.0), 1.0), 1)


def _low(one: Estimate) -> float:
    return one.value if one.low is None else one.low


def _high(one: Estimate) -> float:
    return one.value if one.high is None else one.high


def _percent_ticks() -> tuple[tuple[float, str], ...]:
    return tuple((_x(percent / 100), f"{percent}") for percent in (0, 25, 50, 75, 100))
