"""The audit of question files on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def questions_table(audits: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Audits as given by ``QuestionAudit.facts()``: solvers with intervals, answer positions, options by role."""
    return Group(*[part for audit in audits for part in (_solvers(audit), _roles(audit), _facts(audit), Text())])


def _solvers(audit: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{audit['name']}: {audit['questions']:,} questions, chance {audit['chance']:.1%}", title_justify="left"
    )
    table.add_column("solver that sees no image")
    table.add_column("right", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("against chance")
    for solved in audit["solvers"]:
        table.add_row(
            solved["solver"], f"{solved['accuracy']:.1%}", f"{solved['low']:.1%} – {solved['high']:.1%}",
            against_chance(solved, audit["chance"]),
            style="bold" if solved["solver"] == audit["strongest_blind"] else None,
        )  # fmt: skip
    for name, why in audit["skipped"].items():
        table.add_row(name, "-", "-", why)
    return table


def against_chance(solved: Mapping[str, Any], chance: float) -> str:
    """Whether the interval holds chance: "above", "below" or "at chance"."""
    return "above" if solved["low"] > chance else "below" if solved["high"] < chance else "at chance"


def cue_text(cues: Mapping[str, int]) -> str:
    """Shares of negation cues, the commonest first, those under half a percent left out: "no 59%, not 37%"."""
    total = max(1, sum(cues.values()))
    shares = sorted(((n / total, form) for form, n in cues.items()), reverse=True)
    return ", ".join(f"{form} {share:.0%}" for share, form in shares if share >= 0.005) or "-"


def _roles(audit: Mapping[str, Any]) -> Table:
    table = Table(title_justify="left")
    for name in ("options", "kind"):
        table.add_column(name)
    for name in ("count", "median length"):
        table.add_column(name, justify="right")
    table.add_column("negation cues")
    for role in audit["roles"]:
        length = f"{role['median_characters']:g} characters"
        kind = role["kind"].replace("_", " ")
        table.add_row(role["role"], kind, f"{role['options']:,}", length, cue_text(role["cues"]))
    return table


def _facts(audit: Mapping[str, Any]) -> Text:
    positions = ", ".join(f"{slot}: {n:,}" for slot, n in enumerate(audit["answer_positions"]))
    types = ", ".join(f"{name or 'no type given'} {n:,}" for name, n in audit["answer_types"].items())
    groups = "" if audit["groups"] is None else f" · {audit['groups']:,} groups"
    return Text(f"right answer in slot {positions} · types {types} · {audit['images']:,} images{groups}")
