"""An evaluation as Markdown for a paper's draft or an issue, and as CSV for a spreadsheet or a plot of one's own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from negscale.benchmarks.cells import Gain, Suite
from negscale.core.benchmark import Estimate
from negscale.report import eval_figures as figures

COLUMNS = (
    "benchmark", "model", "kind", "name", "unit", "value", "low", "high", "count", "missing", "as_released", "p", "against",
    "source", "faults",
)  # fmt: skip
Record = Mapping[str, str | int | float | None]


def evaluation_csv(suite: Suite) -> str:
    """One line a figure, in the units of the run; see `COLUMNS`.

    kind: score, control, gain, difference (of `model` over `against`), published. Numbers are not rounded; an empty cell is
    one that such a figure has not.
    """
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_records(suite))
    return text.getvalue()


def evaluation_markdown(suite: Suite) -> str:
    """Tables of all benchmarks, their controls, differences and published figures, and what is not there."""
    names = figures.names_of(suite)
    parts = [
        f"# Evaluation: {len(suite.models)} models, {len(suite.benchmarks)} benchmarks",
        f"Data: `{suite.data_root}`, images: `{suite.image_root}`, seed {suite.seed}, negscale {suite.negscale}. Percent, with "
        "95 % intervals; ties are shared. Blind: the strongest solver that sees no image and judges each option alone.",
        _overview(suite, names),
    ]
    for benchmark in suite.benchmarks:
        if cells := figures.cells_of(suite, benchmark):
            first = cells[0]
            parts += [f"## {benchmark}", f"{first.paper}\n\n" * bool(first.paper) + f"{first.items:,} items."]
            parts += [f"- known fault: {fault}" for fault in first.faults]
            parts += [_scores(suite, benchmark, names), _controls(suite, benchmark)]
            parts += [_differences(suite, benchmark, names), _published(suite, benchmark, names)]
    gone = [f"- {one.benchmark}: absent; {one.advice}" for one in suite.absent]
    gone += [f"- {name}: refused; {why}" for name, why in suite.refused.items()]
    gone += [f"- {one.benchmark}: {one.model} is not scored; {one.why}" for one in suite.not_scored]
    parts += ["## What is not here", "\n".join(map(_line, gone)) or "Nothing."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(suite: Suite, names: Mapping[str, str]) -> str:
    rows = []
    for benchmark in suite.benchmarks:
        for cell in figures.cells_of(suite, benchmark):
            head, blind, highest = cell.headline, figures.blind(cell), figures.highest_published(suite, benchmark)
            rows.append((
                benchmark, figures.headline_name(head), names[cell.model], figures.shown(head.estimate.value, head.unit),
                _released(head.as_released, head.unit), figures.interval(head.estimate, head.unit),
                f"{head.estimate.count:,}", f"{head.estimate.missing:,}",
                f"{figures.shown(blind[1].value)} ({blind[0]})" if blind else figures.NOTHING,
                _gain(cell.gain), f"{figures.shown(highest.value, head.unit)} ({highest.model})" if highest else figures.NOTHING,
            ))  # fmt: skip
    return _table(
        ("benchmark", "score", "model", "value", "as released", "95 %", "items", "missing", "blind", "gain", "highest published"),
        rows,
    )  # fmt: skip


def _scores(suite: Suite, benchmark: str, names: Mapping[str, str]) -> str:
    rows = [
        (
            one.name, names[cell.model], figures.shown(one.estimate.value, one.unit), _released(one.as_released, one.unit),
            figures.interval(one.estimate, one.unit), f"{one.estimate.count:,}", f"{one.estimate.missing:,}",
        )
        for title in figures.line_names(suite, benchmark)
        for cell in figures.cells_of(suite, benchmark) if (one := figures.line(cell, title)) is not None
    ]  # fmt: skip
    return _table(("score", "model", "value", "as released", "95 %", "items", "missing"), rows)


def _controls(suite: Suite, benchmark: str) -> str:
    rows = []
    for number, cell in enumerate(figures.cells_of(suite, benchmark)):
        for name, one in cell.controls.items():
            if name == figures.OTHER_IMAGES:
                rows.append((f"{name}: {cell.model}", figures.shown(one.value), figures.interval(one)))
            elif not number:
                rows.append((name, figures.shown(one.value), figures.interval(one)))
    return _table(("control", "value", "95 %"), rows)


def _differences(suite: Suite, benchmark: str, names: Mapping[str, str]) -> str:
    rows = [
        (
            f"{names.get(pair.b, pair.b)} − {names.get(pair.a, pair.a)}", pair.score, figures.signed(pair.difference),
            f"{figures.signed(pair.low)} – {figures.signed(pair.high)}", figures.p_text(pair.p), pair.test,
        )
        for pair in figures.pairs_of(suite, benchmark)
    ]  # fmt: skip
    return _table(("difference", "score", "points", "95 %", "p", "test"), rows)


def _published(suite: Suite, benchmark: str, names: Mapping[str, str]) -> str:
    models = [cell.model for cell in figures.cells_of(suite, benchmark)]
    rows = [
        (
            one.published.model, one.published.score, figures.shown(one.published.value, one.unit),
            *(figures.shown(one.ours[model].value if model in one.ours else None, one.unit) for model in models),
            one.published.source, "; ".join(one.published.faults),
        )
        for one in figures.published_of(suite, benchmark)
    ]  # fmt: skip
    return _table(("published", "score", "paper", *(names[model] for model in models), "source", "known faults"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_line(cell).replace("|", "\\|") for cell in row) + " |" for row in lines)


def _line(text: str) -> str:
    """Text that cannot end a row or a list item."""
    return " ".join(text.split())


def _released(one: Estimate | None, unit: str) -> str:
    return figures.NOTHING if one is None else figures.shown(one.value, unit)


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return figures.NOTHING
    return f"{figures.signed(gain.value)} ({figures.signed(gain.low)} – {figures.signed(gain.high)})"


def _records(suite: Suite) -> Iterator[Record]:
    for benchmark in suite.benchmarks:
        for cell in figures.cells_of(suite, benchmark):
            where: Record = {"benchmark": benchmark, "model": cell.model}
            for one in figures.lines(cell):
                released = None if one.as_released is None else _finite(one.as_released.value)
                facts = {"kind": "score", "name": one.name, "unit": one.unit, "as_released": released}
                yield {**where, **facts, **_estimate(one.estimate)}
            for name, control in cell.controls.items():
                yield {**where, "kind": "control", "name": name, "unit": "fraction", **_estimate(control)}
            if (gain := cell.gain) is not None:
                yield {
                    **where, "kind": "gain", "name": cell.headline.name, "unit": "fraction", "value": gain.value,
                    "low": gain.low, "high": gain.high, "p": gain.p, "against": gain.over,
                }  # fmt: skip
        for pair in figures.pairs_of(suite, benchmark):
            yield {
                "benchmark": benchmark, "model": pair.b, "kind": "difference", "name": pair.score, "unit": "fraction",
                "value": pair.difference, "low": pair.low, "high": pair.high, "p": pair.p, "against": pair.a,
                "source": pair.test,
            }  # fmt: skip
        for row in (one.published for one in figures.published_of(suite, benchmark)):
            yield {
                "benchmark": benchmark, "model": row.model, "kind": "published", "name": row.score, "value": row.value,
                "source": row.source, "faults": "; ".join(row.faults),
            }  # fmt: skip


def _estimate(one: Estimate) -> Record:
    bounds = {"low": one.low, "high": one.high}
    return {"value": _finite(one.value), "count": one.count, "missing": one.missing, **bounds}


def _finite(value: float) -> float | None:
    return value if value == value else None
