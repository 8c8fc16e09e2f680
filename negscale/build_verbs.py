"""``negscale build NAME``: datasets that need a look at all rows at once, so that no run can make them."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from negscale import app
from negscale.builds import balanced
from negscale.core import config as configs
from negscale.core.errors import ConfigError

BUILDS = {balanced.NAME: (balanced.BalancedBuildConfig, balanced.build)}
_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)


def build(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BUILDS)}.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", help="Dotted config keys.")] = None,
    config: Annotated[list[str] | None, typer.Option("-c", "--config", help="A YAML fragment.")] = None,
    out: Annotated[str, typer.Option("--out", help="Folder or URI to write to; default: runs/builds/NAME.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")] = False,
) -> None:
    """Make a dataset from what is known of many pictures; the same command gives the same bytes."""
    if name not in BUILDS:
        raise ConfigError(f"no build is called {name!r}; known: {', '.join(BUILDS)}")
    model, make = BUILDS[name]
    texts = app.read_fragments([f"builds/{name}", *(config or [])])
    facts = make(configs.load(model, texts, overrides or []), out or f"runs/builds/{name}")
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    _err.print(_table(facts))
    _err.print(f"folder: {facts['folder']}", soft_wrap=True)


def _table(facts: dict[str, Any]) -> Table:
    counts = facts["counts"]
    table = Table(title=f"{facts['name']} {facts['fingerprint']}", title_justify="left", show_header=False)
    for label, value in (
        ("questions", f"{counts['questions']:,}"), ("sets of four texts", f"{counts['groups']:,}"),
        ("pictures", f"{counts['images']:,}"), ("answers by type", _shown(counts["answer_types"])),
        ("answers by place", ", ".join(map(str, counts["answer_positions"]))),
        ("cues", _shown(counts["cues"])), ("texts with a negation", f"{counts['negated_share']:.1%}"),
        ("draws until no blind solver beat chance", str(counts["draws"])),
    ):  # fmt: skip
        table.add_row(label, value)
    return table


def _shown(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
