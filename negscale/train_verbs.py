"""``negscale train NAME``: fine-tune a text encoder or an editor on finished runs; the same command goes on where it stood."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from negscale import app, editor_verbs
from negscale.core import config as configs
from negscale.core.errors import ConfigError
from negscale.ray_training import callback, run_on_ray

if TYPE_CHECKING:
    from negscale.training.config import TrainConfig

_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)
TRAININGS, EDITINGS = "train_clip_text_", "edit_"


def train(
    name: Annotated[str, typer.Argument(help="A training, e.g. train_clip_text_ours or edit_nein.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", help="Dotted config keys.")] = None,
    config: Annotated[list[str] | None, typer.Option("-c", "--config", help="A YAML fragment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")] = False,
) -> None:
    """Train a text encoder on finished runs: data='[{uri: RUN}]'; killed, the same command goes on."""
    if name.startswith(EDITINGS):
        editor_verbs.train(name, overrides or [], config or [], as_json)
        return
    if not name.startswith(TRAININGS):
        raise ConfigError(
            f"no training is called {name!r}; trainings are named {TRAININGS}... or {EDITINGS}..., see configs/recipes"
        )
    from negscale.training.config import TrainConfig
    from negscale.training.run import training_uri

    chosen = configs.load(TrainConfig, app.read_fragments([f"recipes/{name}", *(config or [])]), overrides or [])
    with _err.status("reading the runs") as line:

        def told(figures: Mapping[str, Any]) -> None:
            line.update(
                f"step {figures['step']:,}, epoch {figures['epoch'] + 1} of {chosen.epochs}, loss {figures['loss']:.4f}, "
                f"{figures['rows'] / max(figures['seconds'], 1e-9):,.0f} rows/s"
            )

        facts = run_training(name, chosen, told if _err.is_terminal else None)
    if as_json:
        print(json.dumps({**facts, "folder": training_uri(name, chosen)}, indent=1))
    else:
        _err.print(facts_table(name, facts))
    _err.print(f"training folder: {training_uri(name, chosen)}", soft_wrap=True)


def run_training(
    name: str, config: TrainConfig, told: Callable[[Mapping[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Train in this process or on Ray Train, as `runtime.executor` says; returns the manifest with the validations.

    told: called here with {step, epoch, figures...} while it trains.
    """
    from negscale.storage.folder import open_folder
    from negscale.training.record import finished
    from negscale.training.run import train_run, training_uri
    from negscale.training.validation import validations

    on_report = callback(config.runtime.metrics_callback)
    folder = open_folder(training_uri(name, config))
    if config.runtime.executor == "local" or finished(folder) is not None:

        def watch(progress: Any) -> None:
            figures = {"step": progress.step, "epoch": progress.epoch, **progress.metrics}
            if told is not None:
                told(figures)
            if on_report is not None and (progress.step % config.runtime.report_every == 0 or progress.epoch_ends):
                on_report(figures)

        facts = train_run(name, config, watch)
    else:
        from negscale.training.run import open_data
        from negscale.training.validator import validate_checkpoint

        open_data(config)  # what is wrong with the runs is said before anything starts
        validates = config.holdout.share > 0 and config.runtime.validation == "auto"
        validate = functools.partial(validate_checkpoint, name, config) if validates else None
        facts = run_on_ray(
            training_uri(name, config), config.runtime, functools.partial(train_run, name, config), validate, told
        )
    return {**facts, "validation": validations(folder)}


def export(uri: str, to: str, out: str, as_json: bool) -> bool:
    """Write a training's checkpoint for others; False when `uri` is no training."""
    from negscale.storage.folder import open_folder

    folder = open_folder(uri)
    if not folder.exists("run.json") or json.loads(folder.read("run.json")).get("kind") != "training":
        return False
    from negscale.training.editor_export import TARGET, export_editor, is_editor_training
    from negscale.training.export import export_checkpoint

    editor = is_editor_training(uri)
    if editor and to != TARGET:
        raise ConfigError(f"--to {to!r} is unknown for an editor training; known: {TARGET}")
    with contextlib.redirect_stdout(sys.stderr):  # DeepSpeed, which transformers imports to save, logs to stdout
        facts = export_editor(uri, out) if editor else export_checkpoint(uri, to, out)
    if as_json:
        print(json.dumps(facts, indent=1))
    _err.print(f"step {facts['step']:,} written to {facts['path']}", soft_wrap=True)
    return True


def facts_table(name: str, facts: Mapping[str, Any]) -> Table:
    """The manifest of a text-encoder training with its validations."""
    table = Table(title=f"{name} {facts['fingerprint']}", title_justify="left", show_header=False)
    table.add_row("steps", f"{facts['steps']:,}")
    table.add_row("model", facts["model"])
    table.add_row("rows", ", ".join(f"{run['rows']:,} of {run['run']}" for run in facts["data"]))
    figures = dict(facts["held_out"])
    if facts.get("validation"):
        figures |= facts["validation"][max(facts["validation"])]
    for figure, value in figures.items():
        table.add_row(figure.replace("_", " "), f"{value:.4f}")
    return table
