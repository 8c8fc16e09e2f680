"""The folders of the trained models and the hashes that guard them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, get_args

from negscale.core.errors import ConfigError

Name = Literal["text", "vision", "encoder", "editor"]
NAMES: tuple[Name, ...] = get_args(Name)
WEIGHTS = Path(__file__).parent / "weights"
HASHES, FIGURES = "hashes.json", "figures.json"


def folder_of(name: Name) -> Path:
    """Where the model called `name` lies: what `path` of a backend takes."""
    return WEIGHTS / name


def write_hashes(folder: Path) -> None:
    """Record the SHA-256 of every file in `folder`."""
    (folder / HASHES).write_text(json.dumps(_hashes(folder), indent=1) + "\n")


def check_hashes(folder: Path) -> None:
    """Raise ConfigError when a file of the model is missing, new or other than when it was trained."""
    path = folder / HASHES
    if not path.is_file():
        raise ConfigError(f"{folder} holds no tiny model: expected {HASHES} in it; `make tiny-models` trains them")
    recorded, found = json.loads(path.read_text()), _hashes(folder)
    if wrong := sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name)):
        raise ConfigError(
            f"files of {folder} differ from {HASHES}: {', '.join(wrong)}; restore them, or train anew (`make tiny-models`)"
        )


def write_figures(folder: Path, figures: dict[str, Any]) -> None:
    """Keep what was measured after training beside the weights."""
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n")


def read_figures(folder: Path) -> dict[str, Any]:
    """What was measured after training."""
    return json.loads((folder / FIGURES).read_text())


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (HASHES, FIGURES))
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
