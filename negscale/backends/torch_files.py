"""Plain data out of a torch file, without running what a file says.

CC-Neg (arXiv 2403.20312) is released as ``torch.save`` of lists and dicts, and its code unpickles it. What differs:
`weights_only`, which allows tensors and plain values and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from negscale.backends.hf_weights import check_library
from negscale.core.errors import ConfigError


def load_plain(path: str) -> Any:
    """Lists, dicts, texts, numbers and tensors of a local file. Raises ConfigError when there is none, or it holds more."""
    if not Path(path).is_file():
        raise ConfigError(f"there is no file {path}")
    check_library("torch")
    import torch

    loading: Any = torch.serialization  # which raises an error of a module that is not imported here
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, loading.pickle.UnpicklingError) as error:
        first = (str(error).splitlines() or [repr(error)])[0]
        raise ConfigError(f"{path}: no torch file of plain values: {first}") from None
