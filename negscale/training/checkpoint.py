"""Checkpoints that do not know how many workers wrote them: what trains, its moments, and the position in the data.

Safetensors and JSON in a folder a step, on a disk or an object store. `state.json` is written last and names the size and
the hash of the other files: a checkpoint without it, or one whose files differ, does not count. There is no generator state:
every draw of the training is a function of (seed, epoch, row). What differs: the released loops save a pickled state dict
of the whole model, without optimiser and position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from negscale.core.errors import AuditError, PlanError
from negscale.models.weights import from_bytes, to_bytes
from negscale.storage.folder import Folder
from negscale.training.engine import EngineState
from negscale.training.order import Cursor

_NAME = re.compile(r"^checkpoints/step_(\d{9})\.json$")
_PIN = re.compile(r"^checkpoints/step_(\d{9})\.pin$")
_FILES = ("trainable", "optimiser")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `state.json` says."""

    step: int
    cursors: dict[str, Cursor]
    facts: dict[str, Any]  # what the caller wants kept: figures, identity


class Checkpoints:
    """The checkpoints of one training folder."""

    def __init__(self, folder: Folder, keep: int = 2) -> None:
        """keep: newest checkpoints that stay; the best one stays beside them."""
        self._folder, self._keep = folder, keep

    def save(
        self, step: int, state: EngineState, cursors: Mapping[str, Cursor], facts: Mapping[str, Any], best: bool = False,
        pinned: bool = False,
    ) -> str:  # fmt: skip
        """Write the checkpoint of `step`; returns its path. Raises FatalError without room: older ones stay.

        pinned: it also stays until `unpin`, for somebody who reads it later.
        """
        written = {}
        for name in _FILES:
            data = to_bytes(getattr(state, name))
            path = f"checkpoints/step_{step:09d}.{name}.safetensors"
            self._folder.write(path, data)
            written[name] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
        record = {
            "step": step, "cursors": {name: asdict(cursor) for name, cursor in cursors.items()}, "files": written,
            "facts": dict(facts),
        }  # fmt: skip
        if pinned:
            self._folder.write(f"checkpoints/step_{step:09d}.pin", b"")
        path = f"checkpoints/step_{step:09d}.json"
        self._folder.write(path, json.dumps(record, indent=1).encode())  # last: now the checkpoint counts
        if best:
            self._folder.write("best.json", json.dumps({"step": step}).encode())
        self._sweep()
        return path

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        return sorted(int(m[1]) for entry in self._folder.list("checkpoints") if (m := _NAME.match(entry.path)))

    def best(self) -> int | None:
        """The step of the best checkpoint, if one was said to be."""
        try:
            return int(json.loads(self._folder.read("best.json"))["step"])
        except FileNotFoundError:
            return None

    def latest(self) -> tuple[Checkpoint, EngineState] | None:
        """The newest whole checkpoint; None when there is none. Damaged ones are passed over."""
        for step in reversed(self.steps()):
            try:
                return self.load(step)
            except AuditError:
                continue
        return None

    def load(self, step: int) -> tuple[Checkpoint, EngineState]:
        """The checkpoint of a step. Raises PlanError when there is none, AuditError when it is damaged."""
        try:
            record = json.loads(self._folder.read(f"checkpoints/step_{step:09d}.json"))
        except FileNotFoundError:
            raise PlanError(f"{self._folder.uri} has no checkpoint of step {step}; it has {self.steps()}") from None
        except ValueError as error:
            raise AuditError(f"{self._folder.uri}: the checkpoint of step {step} is damaged: {error}") from error
        tensors = {}
        for name in _FILES:
            path = f"checkpoints/step_{step:09d}.{name}.safetensors"
            try:
                data = self._folder.read(path)
            except FileNotFoundError as error:
                raise AuditError(f"{self._folder.uri}/{path} is missing; use another checkpoint") from error
            if sha256(data).hexdigest() != record["files"][name]["sha256"]:
                raise AuditError(f"{self._folder.uri}/{path} is not the file that was written; use another checkpoint")
            tensors[name] = from_bytes(data, f"{self._folder.uri}/{path}")
        cursors = {name: Cursor(**cursor) for name, cursor in record["cursors"].items()}
        return Checkpoint(record["step"], cursors, record["facts"]), EngineState(**tensors)

    def unpin(self, step: int) -> None:
        """Let the next save sweep the checkpoint of `step` away when newer ones have taken its place."""
        self._folder.delete(f"checkpoints/step_{step:09d}.pin")

    def _sweep(self) -> None:
        steps = self.steps()
        pinned = {int(m[1]) for entry in self._folder.list("checkpoints") if (m := _PIN.match(entry.path))}
        stay = {*steps[-self._keep :], self.best(), *pinned}
        for step in steps:
            if step not in stay:
                self._folder.delete(f"checkpoints/step_{step:09d}.json")  # first: a half-deleted one must not count
                for name in _FILES:
                    self._folder.delete(f"checkpoints/step_{step:09d}.{name}.safetensors")
