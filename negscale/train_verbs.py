"""``negscale train NAME``: fine-tune a text encoder on finished runs; the same command goes on where it stood."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from negscale import app
from negscale.core import config as configs
from negscale.core.errors import ConfigError

_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)
TRAININGS = "train_clip_text_"


def train(
    name: Annotated[str, typer.Argument(help="A training, e.g. train_clip_text_ours.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", help="Dotted config keys.")] = None,
    config: Annotated[list[str] | None, typer.Option("-c", "--config", help="A YAML fragment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")] = False,
) -> None:
    """Train a text encoder on finished runs: data='[{uri: RUN}]'; killed, the same command goes on."""
    if not name.startswith(TRAININGS):
        raise ConfigError(f"no training is called {name!r}; trainings are named {TRAININGS}..., see configs/recipes")
    from negscale.training.config import TrainConfig
    from negscale.training.run import train_run, training_uri

    chosen = configs.load(TrainConfig, app.read_fragments([f"recipes/{name}", *(config or [])]), overrides or [])
    with _err.status("reading the runs") as line:

        def told(progress: Any) -> None:
            figures = progress.metrics
            line.update(
                f"step {progress.step:,}, epoch {progress.epoch + 1} of {chosen.epochs}, loss {figures['loss']:.4f}, "
                f"{figures['rows'] / max(figures['seconds'], 1e-9):,.0f} rows/s"
            )

        facts = train_run(name, chosen, told if _err.is_terminal else None)
    if as_json:
        print(json.dumps({**facts, "folder": training_uri(name, chosen)}, indent=1))
    else:
        _err.print(_table(name, facts))
    _err.print(f"training folder: {training_uri(name, chosen)}", soft_wrap=True)


def export(uri: str, to: str, out: str, as_json: bool) -> bool:
    """Write a training's checkpoint for others; False when `uri` is no training."""
    from negscale.storage.folder import open_folder

    folder = open_folder(uri)
    if not folder.exists("run.json") or json.loads(folder.read("run.json")).get("kind") != "training":
        return False
    from negscale.training.export import export_checkpoint

    facts = export_checkpoint(uri, to, out)
    if as_json:
        print(json.dumps(facts, indent=1))
    _err.print(f"step {facts['step']:,} written to {facts['path']}", soft_wrap=True)
    return True


def _table(name: str, facts: dict[str, Any]) -> Table:
    table = Table(title=f"{name} {facts['fingerprint']}", title_justify="left", show_header=False)
    table.add_row("steps", f"{facts['steps']:,}")
    table.add_row("model", facts["model"])
    table.add_row("rows", ", ".join(f"{run['rows']:,} of {run['run']}" for run in facts["data"]))
    for figure, value in facts["held_out"].items():
        table.add_row(figure.replace("_", " "), f"{value:.4f}")
    return table
