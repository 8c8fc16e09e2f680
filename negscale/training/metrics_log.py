"""The figures of a training as they come: `metrics.jsonl`, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
from typing import Any

from negscale.storage.folder import Folder, LocalFolder

_NAME = "metrics.jsonl"


class MetricsLog:
    """One JSON line a report. On a disk a line is there at once; in an object store with the next `flush`."""

    def __init__(self, folder: Folder, resumed_step: int = 0) -> None:
        """resumed_step: lines of later steps are dropped; those steps are taken again."""
        self._folder = folder
        self._lines: list[str] = []
        if folder.exists(_NAME):
            for line in folder.read(_NAME).decode().splitlines():
                if _step_of(line) <= resumed_step:
                    self._lines.append(line)
        self.flush()
        self._writer = tensorboard(folder, "tensorboard", resumed_step)

    def add(self, step: int, figures: dict[str, Any]) -> None:
        """Note the figures of a step."""
        line = json.dumps({"step": step, **figures})
        self._lines.append(line)
        if isinstance(self._folder, LocalFolder):
            with (self._folder.path / _NAME).open("a") as file:
                file.write(line + "\n")
        if self._writer is not None:
            for name, value in figures.items():
                if isinstance(value, (int, float)) and math.isfinite(value):
                    self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Make the lines durable."""
        self._folder.write(_NAME, "".join(f"{line}\n" for line in self._lines).encode())

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        if self._writer is not None:
            self._writer.close()


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # the line that a kill cut
        return math.inf


def tensorboard(folder: Folder, below: str, resumed_step: int = 0) -> Any:
    """A writer of curves in folder `below`; None where the folder is no disk or no library for it is installed."""
    if not isinstance(folder, LocalFolder):
        return None
    path = str(folder.path / below)
    try:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(path, purge_step=resumed_step + 1 if resumed_step else None)
    except ImportError:
        pass
    try:
        from tensorboardX import SummaryWriter as Writer

        return Writer(path, purge_step=resumed_step + 1 if resumed_step else None)
    except ImportError:
        return None
