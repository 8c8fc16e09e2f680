"""``negscale mission NAME``: a whole paper, or any mission of configs/missions; the same command goes on where it stood."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console

_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)


def mission(
    name: Annotated[str, typer.Argument(help="A file of configs/missions: demo, negationclip, negbench, nein.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", help="Dotted config keys.")] = None,
    config: Annotated[list[str] | None, typer.Option("-c", "--config", help="A YAML fragment.")] = None,
) -> None:
    """Generate, train, export, evaluate before and after: data=FOLDER benchmarks=FOLDER images=FOLDER.

    The last line on stdout is a JSON summary, everything for people goes to stderr.
    """
    from negscale.mission import Mission, load_mission

    facts = Mission(load_mission(name, config or [], overrides or []), _err).run()
    print(json.dumps({"mission": name, **facts}), flush=True)
