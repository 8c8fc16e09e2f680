"""``negscale train edit_...``: fine-tune an editor on finished nein runs; the same command goes on where it stood."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from negscale import app
from negscale.core import config as configs

_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)


def train(name: str, overrides: Sequence[str], fragments: Sequence[str], as_json: bool) -> None:
    """Train, or go on; prints the manifest."""
    from negscale.storage.folder import open_folder
    from negscale.training.editor_config import EditTrainConfig
    from negscale.training.editor_run import edit_training_uri, train_editor
    from negscale.training.record import finished

    chosen = configs.load(EditTrainConfig, app.read_fragments([f"recipes/{name}", *fragments]), overrides)
    folder = edit_training_uri(name, chosen)
    with _err.status("reading the runs") as line:

        def told(figures: Mapping[str, Any]) -> None:
            line.update(
                f"step {figures['step']:,}, epoch {figures['epoch'] + 1} of {chosen.epochs}, loss {figures['loss']:.4f}, "
                f"{figures['rows'] / max(figures['seconds'], 1e-9):,.1f} edits/s"
            )

        def watch(progress: Any) -> None:
            told({"step": progress.step, "epoch": progress.epoch, **progress.metrics})

        if chosen.runtime.executor == "local" or finished(open_folder(folder)) is not None:
            facts = train_editor(name, chosen, watch if _err.is_terminal else None)
        else:
            facts = _on_ray(name, chosen, folder, told)
    if as_json:
        print(json.dumps({**facts, "folder": folder}, indent=1))
    else:
        _err.print(_table(name, facts))
    _err.print(f"training folder: {folder}", soft_wrap=True)


def _on_ray(name: str, config: Any, folder: str, told: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    from negscale.core.runtime import RuntimeConfig
    from negscale.executors import ray_train  # Ray takes seconds to import
    from negscale.training.editor_run import open_edit_data, train_editor

    open_edit_data(config)  # what is wrong with the runs is said before anything starts
    wish = config.runtime.ray
    workers = ray_train.Workers(
        number=wish.workers, cpus=wish.cpus, gpus=wish.gpus, resources=wish.resources,
        wait_for_nodes_s=wish.wait_for_nodes_s, resize_every_s=wish.resize_every_s, max_failures=wish.max_failures,
        preemption_grace_s=wish.preemption_grace_s, timeout_s=wish.timeout_s,
    )  # fmt: skip
    training = ray_train.Training(
        folder=folder, train=functools.partial(train_editor, name, config), workers=workers,
        on_report=told if _err.is_terminal else None, report_every=config.runtime.report_every,
    )  # fmt: skip
    return ray_train.run(training, RuntimeConfig(ray_address=wish.address, ray_cpus=wish.local_cpus))


def _table(name: str, facts: dict[str, Any]) -> Table:
    table = Table(title=f"{name} {facts['fingerprint']}", title_justify="left", show_header=False)
    table.add_row("steps", f"{facts['steps']:,}")
    table.add_row("model", facts["model"])
    table.add_row("parameters that learnt", f"{facts['trained_parameters']:,}")
    table.add_row("rows", ", ".join(f"{run['rows']:,} of {run['run']}" for run in facts["data"]))
    for figure, value in facts["held_out"].items():
        table.add_row(figure.replace("_", " "), f"{value:.4f}")
    return table
