"""A caption scan as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

CUES_SHOWN = 40
_LABELS = {
    "word_list": "negation word (the literature's list)", "explicit": "explicit negation", "implicit": "implicit negation",
    "implicit_only": "  of these without an explicit one", "look_alike": "look-alike only (no negation)",
    "double_negation": "double negation, which cancels",
}  # fmt: skip


def scan_table(result: Mapping[str, Any]) -> RenderableType:
    """Shares with their 95 % Wilson intervals, then the cues with one example each."""
    shares = Table(title=f"negation in {result['captions']:,} captions", title_justify="left")
    for name, justify in (("with", "left"), ("count", "right"), ("share", "right"), ("95 % interval", "left")):
        shares.add_column(name, justify=justify)  # type: ignore[arg-type]
    for of in ("shares", "tokens"):
        for name, share in result[of].items():
            what = "captions" if of == "shares" else "words"
            value = "-" if share["share"] is None else f"{share['share']:.3%}"
            shares.add_row(
                _LABELS[name], f"{share['count']:,} {what}", value, f"{share['low']:.3%} to {share['high']:.3%}"
            )
        shares.add_section()
    cues = Table(title="cues", title_justify="left")
    cues.add_column("group")
    cues.add_column("cue")
    cues.add_column("captions", justify="right")
    cues.add_column("an example", overflow="fold")
    for cue in result["cues"][:CUES_SHOWN]:
        example = cue["examples"][0]["caption"] if cue["examples"] else ""
        cues.add_row(cue["group"], Text(cue["cue"]), f"{cue['count']:,}", Text(example[:160]))
    lines = [
        f"{result['files']:,} files, {result['bytes'] / 1e6:,.1f} MB · {result['words']:,} words · "
        f"{result['resumed_units']} of {result['units']} units were done before"
    ]
    if result["unread"]:
        lines.append("not captions: " + ", ".join(f"{count:,} {kind}" for kind, count in result["unread"].items()))
    if (more := len(result["cues"]) - CUES_SHOWN) > 0:
        lines.append(f"{more} rarer cues: see --json or --html")
    if "agreement" in result:
        lines.append(agreement_line(result["agreement"]))
    broken = [Text(f"not read: {name}: {why}", style="red") for name, why in result["failed"].items()]
    return Group(shares, cues, *map(Text, lines), *broken)


def agreement_line(found: Mapping[str, Any]) -> str:
    """Of the denied objects that were judged, how many are absent."""
    undecided = ", ".join(f"{count:,} {kind}" for kind, count in found["undecided"].items()) or "none"
    share = "-" if found["share"] is None else f"{found['share']:.1%} ({found['low']:.1%} to {found['high']:.1%})"
    return (
        f"denied objects that are absent from their image: {share}, {found['confirmed']:,} of {found['decided']:,} in "
        f"{found['captions']:,} captions, by {found['judge']}; undecided: {undecided}"
    )
