"""Tensors to safetensors bytes and back; a mismatch of names or shapes is put into words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from negscale.core.errors import AuditError, ConfigError

_SHOWN = 4


def to_bytes(tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file in memory. Tensors are copied to the CPU; facts: strings kept in the header."""
    from safetensors.torch import save

    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, dict(facts or {}))


def from_bytes(data: bytes, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises AuditError naming `what` when it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as error:
        raise AuditError(f"{what} is no whole safetensors file ({error}); use another checkpoint") from error


def load_into(parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy `tensors` into `parameters` of the same names. Raises ConfigError when names or shapes differ."""
    check_fits({name: tuple(p.shape) for name, p in parameters.items()}, tensors, what)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def check_fits(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], what: str) -> None:
    """Raises ConfigError when names or shapes of `tensors` are not the wanted ones."""
    missing = sorted(wanted.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{name}: {tuple(tensors[name].shape)} in the file, {shape} in the model"
        for name, shape in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    if missing or unknown or shapes:
        raise ConfigError(
            f"{what} holds weights of another architecture or of another choice of what trains: "
            + "; ".join(
                f"{title} {_some(found)}"
                for title, found in (("missing", missing), ("unknown", unknown), ("shapes", shapes))
                if found
            )
        )


def _some(names: list[Any]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(map(str, names[:_SHOWN])) + (f" and {rest} more" if rest > 0 else "")
