"""The table of the experiment in miniature: a row a method, a column an exam, values with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_HEADS = {
    "retrieval": "retrieval R@5", "retrieval_neg": "Retrieval-Neg R@5", "mcq_positive": "MCQ affirm.",
    "mcq_negative": "MCQ neg.", "mcq_hybrid": "MCQ hybrid", "mcq": "MCQ all", "groups": "2x2 groups",
    "negref": "NegRef", "zero_shot": "zero-shot", "mcq_other_images": "MCQ, other images",
}  # fmt: skip


def science_table(facts: Mapping[str, Any]) -> RenderableType:
    """facts: what `negscale.science.summary.facts_of` gives."""
    table = Table(title=f"Toyworld, {len(facts['seeds'])} seeds; values times 100, 95 % interval", title_justify="left")
    table.add_column("fine-tuning")
    for head in _HEADS.values():
        table.add_column(head, justify="right")
    for row in facts["rows"]:
        table.add_row(row["title"], *(_shown(row["columns"][name]) for name in _HEADS))
    lines = [
        f"{_HEADS[column]}: ours minus {one['best_paper']} {_shown(one['ours_minus_it'])}"
        for column, one in facts["verdict"].items()
    ]
    return Group(table, *map(Text, lines))


def _shown(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "-"
    return f"{100 * cell['value']:.1f}\n[{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"
