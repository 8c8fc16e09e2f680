"""NeIn's scores of several editors side by side, with the published ones: paper / ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from negscale.benchmarks.reference import references
from negscale.report.evaluation import interval, number

_PUBLISHED = ("InstructPix2Pix", "InstructPix2Pix + NeIn", "MagicBrush", "MagicBrush + NeIn")


def nein_table(found: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """found: by a name, facts as in metrics.json, of evaluations of the same rows."""
    published = references("nein_reference.yaml")
    table = Table(title="NeIn (arXiv 2409.06481): paper / ours", title_justify="left")
    table.add_column("score")
    for head in (*_PUBLISHED, *found):
        table.add_column(head, justify="right")
    scores = {key: {score["name"]: score for score in facts["scores"]} for key, facts in found.items()}
    for name, first in next(iter(scores.values())).items():
        printed = {row.model: row.value for row in published.of("nein", name)}
        paper = [f"{printed[model]:g}" if model in printed else "" for model in _PUBLISHED]
        table.add_row(name, *paper, *(_shown(scores[key].get(name), first["unit"]) for key in found))
    lines = [f"{one}: {', '.join(source.faults)}" for one, source in published.sources.items()]
    return Group(table, *(Text(f"published, {line}") for line in lines))


def _shown(score: Mapping[str, Any] | None, unit: str) -> str:
    if score is None:
        return "-"
    value = number(score["estimate"]["value"], unit)
    between = interval(score["estimate"], unit)
    return f"{value}\n[{between}]" if between else value
