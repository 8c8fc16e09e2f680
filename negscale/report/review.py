"""What people's checks of a run came to, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def review_table(figures: Mapping[str, Any]) -> RenderableType:
    """Precision with its 95 % interval: all rows, each negation form, each reviewer; agreement of reviewers."""
    if not figures:
        return Text("nobody has checked rows of this run yet: negscale review RUN")
    table = Table(title="checked by people", title_justify="left")
    table.add_column("")
    for name in ("judged", "right", "wrong", "disputed", "cannot tell", "precision", "95 % interval"):
        table.add_column(name, justify="right")
    _line(table, "all rows", figures)
    for kind, title in (("forms", "form "), ("reviewers", "reviewer ")):
        table.add_section()
        for name, counts in figures[kind].items():
            _line(table, title + name, counts)
    seen = figures["judged"] + figures["skipped"]
    lines = [f"{seen:,} rows looked at, drawn uniformly from {figures['population_rows']:,} kept rows"]
    for pair in figures["agreement"]:
        kappa = "" if pair["kappa"] is None else f", Cohen's kappa {pair['kappa']:.2f}"
        lines.append(f"{' and '.join(pair['reviewers'])} agree on {pair['agreed']:.1%} of {pair['rows']:,} rows{kappa}")
    return Group(table, *map(Text, lines))


def _line(table: Table, name: str, counts: Mapping[str, Any]) -> None:
    known = counts["judged"] > 0
    table.add_row(
        Text(name), *[f"{counts[key]:,}" for key in ("judged", "right", "wrong", "disputed", "skipped")],
        f"{counts['precision']:.1%}" if known else "-", f"{counts['low']:.1%} to {counts['high']:.1%}" if known else "-",
    )  # fmt: skip
