"""How many cores torch takes: for processes that work side by side on one machine."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Let torch compute with `count` threads in this process. Raises RuntimeError for less than one."""
    torch.set_num_threads(count)
