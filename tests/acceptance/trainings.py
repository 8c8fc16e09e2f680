"""A small training that overfits in seconds, for the promises about resuming; killed, compared and damaged here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from negscale.storage.folder import open_folder
from negscale.training.checkpoint import Checkpoints
from negscale.training.clip_text import Progress
from negscale.training.config import TrainConfig
from negscale.training.order import EpochOrder
from negscale.training.reader import RowStream
from negscale.training.run import train_run, training_uri
from tests.acceptance.storm import Driver
from tests.unit.training.made_runs import caption_run
from tests.unit.training.tiny_clip import TINY

NAME = "train_clip_text_negationclip_corrected"
SETTINGS: dict[str, Any] = {
    "model": TINY.model_dump(mode="json"), "seed": 1, "freeze": ["visual"], "objective": {"kind": "negationclip"},
    "optimiser": {
        "rate": 1e-3, "eps": 1e-6, "warm_up_steps": 4, "weight_decay": 0.05, "decay_everything": False,
        "clamp_logit_scale": True, "max_grad_norm": None,
    },
    "holdout": {"share": 0.0}, "epochs": 20, "batch_rows": 15,
}  # fmt: skip
STEPS = 80  # 48 rows: three batches of 15 and one of 3 an epoch


def rows(folder: Path) -> str:
    """48 captions that deny something, of 24 drawn scenes."""
    return caption_run(folder / "captions", (12, 12, 12, 12))


def config(run: str, root: Path | str, engine: str = "torch", precision: str = "float32", **more: Any) -> TrainConfig:
    """engine: torch, or a JSON of DeepSpeed's."""
    runtime = {
        "run_root": str(root), "vectors": f"{Path(run).parent}/vectors", "device": "cpu", "report_every": 1,
        "checkpoint_every": 5, "keep_checkpoints": 3, "engine": "torch" if engine == "torch" else "deepspeed",
        "deepspeed": engine,
    }  # fmt: skip
    return TrainConfig.model_validate({
        **SETTINGS, "data": [{"uri": run}], "precision": precision, "runtime": {**runtime, **more.pop("runtime", {})}, **more
    })  # fmt: skip


class Killed(Exception):
    """Where a process would have been killed."""


def until(step: int) -> Callable[[Progress], None]:
    """A watch that ends the training right after `step`, between two checkpoints."""

    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return watch


def train_until(made: TrainConfig, step: int | None = None) -> None:
    """Train from where it stands, to the end or to the kill after `step`."""
    try:
        train_run(NAME, made, None if step is None else until(step))
    except Killed:
        return


def copy_training(source: Path | str, to: Path | str) -> None:
    """A training's folder under another root."""
    shutil.copytree(f"{source}/train", f"{to}/train")


def damage(made: TrainConfig, what: str) -> None:
    """Make the newest checkpoint lose its optimiser's state or its place in the data."""
    checkpoints = Checkpoints(open_folder(training_uri(NAME, made)))
    step = checkpoints.steps()[-1]
    checkpoint, state = checkpoints.load(step)
    if what == "optimiser":
        # as a fresh one has it; a checkpoint without any is refused, and the one before it is used
        state = type(state)(state.trainable, {name: torch.zeros_like(found) for name, found in state.optimiser.items()})
    checkpoints.save(step, state, {} if what == "cursor" else checkpoint.cursors, checkpoint.facts)


def redrawn() -> Callable[[], None]:
    """Draw the order anew, as a resumed training with a generator of its own would; returns what undoes it."""
    plain = RowStream.order

    def order(self: RowStream, epoch: int) -> EpochOrder:
        counts = [part.count for part in self.parts]
        weights = [self.weights[p.run] for p in self.parts]
        return EpochOrder(counts, weights, self.seed + 1, epoch, self.window_rows)

    RowStream.order = order

    def undo() -> None:
        RowStream.order = plain

    return undo


def final(made: TrainConfig, steps: int = STEPS) -> dict[str, torch.Tensor]:
    """Parameters and the optimiser's state at the end."""
    checkpoints = Checkpoints(open_folder(training_uri(NAME, made)))
    assert checkpoints.steps()[-1] == steps, checkpoints.steps()
    _, state = checkpoints.load(steps)
    return {**state.trainable, **state.optimiser}


def unequal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> int:
    """Tensors that differ in a bit."""
    assert found.keys() == expected.keys()
    assert any(name.endswith("/exp_avg_sq") for name in expected)
    return sum(not torch.equal(found[name], expected[name]) for name in expected)


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Of all parameters as one vector, relative to its length."""
    names = [name for name in expected if "/" not in name]
    gap = sum(float((found[n].double() - expected[n].double()).square().sum()) for n in names)
    return (gap / sum(float(expected[n].double().square().sum()) for n in names)) ** 0.5


def losses(made: TrainConfig) -> list[float]:
    """Of every step, in order."""
    import json

    lines = (Path(training_uri(NAME, made)) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def wait_for_checkpoint(folder: Path, least: int, driver: Driver, timeout_s: float = 400) -> int:
    """Wait for a checkpoint of step `least` or later while the driver lives; returns the newest step."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        steps = Checkpoints(open_folder(str(folder))).steps() if folder.is_dir() else []
        if steps and steps[-1] >= least:
            return steps[-1]
        assert driver.process.poll() is None, driver.tail()
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint of step {least} in {timeout_s} s:\n{driver.tail()}")
