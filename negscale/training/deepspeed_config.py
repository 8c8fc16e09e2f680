"""DeepSpeed's JSON: which file, what it may say, and what a training adds to it.

The file says how state is divided and sent (`zero_optimization`, buckets, communication types). Everything that bears on
the result stays in the training's own config, so that one training has the same numbers with DDP and with any ZeRO stage;
a file that sets such a key is refused with the key to use. What differs from DeepSpeed's own examples: their JSON holds
optimiser, precision, batch and clipping too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from negscale.core.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
FOLDERS = (Path("configs"), _PACKAGE / "_configs", _PACKAGE.parent / "configs")
_OWNED = {  # DeepSpeed's key -> the training's
    "optimizer": "optimiser", "scheduler": "optimiser.schedule", "gradient_clipping": "optimiser.max_grad_norm",
    "fp16": "precision", "bf16": "precision", "bfloat16": "precision", "torch_autocast": "precision", "amp": "precision",
    "train_batch_size": "batch_rows", "train_micro_batch_size_per_gpu": "batch_rows",
    "gradient_accumulation_steps": "batch_rows",
}  # fmt: skip


def find(name: str) -> Path:
    """The file of `name`: a path that ends in .json, or a name below configs/deepspeed. Raises ConfigError when there is none."""
    candidates = [Path(name)] if name.endswith(".json") else [f / "deepspeed" / f"{name}.json" for f in FOLDERS]
    for path in candidates:
        if path.is_file():
            return path.absolute()
    known = sorted({found.stem for folder in FOLDERS for found in folder.glob("deepspeed/*.json")})
    raise ConfigError(
        f"runtime.deepspeed={name!r} names no file; known: {', '.join(known)}, or give a path that ends in .json"
    )


def read(name: str, stages: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    """The file's content. Raises ConfigError for keys that the training's config owns, and for another ZeRO stage."""
    path = find(name)
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no JSON file: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a JSON object of DeepSpeed's keys, found {type(found).__name__}")
    for key, ours in _OWNED.items():
        if key in found:
            raise ConfigError(f"{path}: {key!r} is set by the training; use the config key {ours} instead")
    zero, stage = found.get("zero_optimization", {}), stage_of(found)
    if stage not in stages:
        known = ", ".join(map(str, stages))
        why = (
            "; a text encoder's weights fit on every device, dividing them costs time and saves nothing"
            if stage == 3
            else ""
        )
        raise ConfigError(f"{path}: ZeRO stage {stage!r}; this training takes {known}{why}")
    if offload := [key for key in ("offload_optimizer", "offload_param") if key in zero]:
        raise ConfigError(f"{path}: {offload[0]} is not supported; take a higher stage or more workers instead")
    return found


def stage_of(found: dict[str, Any]) -> Any:
    """The ZeRO stage that a file asks for; 0 where it says nothing."""
    zero = found.get("zero_optimization", {})
    return zero.get("stage", 0) if isinstance(zero, dict) else zero


def completed(found: dict[str, Any], max_grad_norm: float | None) -> dict[str, Any]:
    """The file's content with what the training sets: one micro batch a step, clipping, float32 weights."""
    return {
        "steps_per_print": None, **found, "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm or 0.0,
    }  # fmt: skip
