"""``negscale train edit_...``: fine-tune an editor on finished nein runs; the same command goes on where it stood."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from negscale import app
from negscale.core import config as configs
from negscale.ray_training import run_on_ray

if TYPE_CHECKING:
    from negscale.training.editor_config import EditTrainConfig

_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)


def train(name: str, overrides: Sequence[str], fragments: Sequence[str], as_json: bool) -> None:
    """Train, or go on; prints the manifest."""
    from negscale.training.editor_config import EditTrainConfig
    from negscale.training.editor_run import edit_training_uri

    chosen = configs.load(EditTrainConfig, app.read_fragments([f"recipes/{name}", *fragments]), overrides)
    with _err.status("reading the runs") as line:

        def told(figures: Mapping[str, Any]) -> None:
            line.update(
                f"step {figures['step']:,}, epoch {figures['epoch'] + 1} of {chosen.epochs}, loss {figures['loss']:.4f}, "
                f"{figures['rows'] / max(figures['seconds'], 1e-9):,.1f} edits/s"
            )

        facts = run_training(name, chosen, told if _err.is_terminal else None)
    folder = edit_training_uri(name, chosen)
    if as_json:
        print(json.dumps({**facts, "folder": folder}, indent=1))
    else:
        _err.print(facts_table(name, facts))
    _err.print(f"training folder: {folder}", soft_wrap=True)


def run_training(
    name: str, config: EditTrainConfig, told: Callable[[Mapping[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Train in this process or on Ray Train, as `runtime.executor` says; returns the manifest.

    told: called here with {step, epoch, figures...} while it trains.
    """
    from negscale.storage.folder import open_folder
    from negscale.training.editor_run import edit_training_uri, open_edit_data, train_editor
    from negscale.training.record import finished

    folder = edit_training_uri(name, config)
    if config.runtime.executor == "local" or finished(open_folder(folder)) is not None:

        def watch(progress: Any) -> None:
            if told is not None:
                told({"step": progress.step, "epoch": progress.epoch, **progress.metrics})

        return train_editor(name, config, watch)
    open_edit_data(config)  # what is wrong with the runs is said before anything starts
    found: dict[str, Any] = run_on_ray(
        folder, config.runtime, functools.partial(train_editor, name, config), None, told
    )  # fmt: skip
    return found


def facts_table(name: str, facts: Mapping[str, Any]) -> Table:
    """The manifest of an editor training."""
    table = Table(title=f"{name} {facts['fingerprint']}", title_justify="left", show_header=False)
    table.add_row("steps", f"{facts['steps']:,}")
    table.add_row("model", facts["model"])
    table.add_row("parameters that learnt", f"{facts['trained_parameters']:,}")
    table.add_row("rows", ", ".join(f"{run['rows']:,} of {run['run']}" for run in facts["data"]))
    for figure, value in facts["held_out"].items():
        table.add_row(figure.replace("_", " "), f"{value:.4f}")
    return table
