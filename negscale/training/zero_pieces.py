"""Whole tensors out of the pieces that ZeRO keeps on each worker, and back.

`FlatPieces`: stages 1 and 2, where optimiser state is divided and weights are whole. `WeightPieces`: stage 3, where each
parameter is cut into as many equal pieces as there are workers, the last one filled up with noughts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from negscale.core.errors import ConfigError
from negscale.models.weights import check_fits
from negscale.training.engine import EngineState

MOMENTS = ("exp_avg", "exp_avg_sq")


class Pieces(ABC):
    """What ZeRO's optimiser keeps on this worker of parameters and of AdamW's moments."""

    def __init__(self, zero: Any, named: Mapping[str, Any]) -> None:
        """zero: DeepSpeed's optimiser. named: the parameters that train."""
        self._zero, self._named = zero, named

    @property
    @abstractmethod
    def _flats(self) -> list[Tensor]:
        """This worker's flat float32 pieces, one a group, to which AdamW's state belongs."""

    @abstractmethod
    def _piece(self, parameter: Any, key: str | None) -> Tensor | None:
        """A view of this worker's part of a parameter (key None) or of its moment; None when it has none."""

    @abstractmethod
    def _whole(self, parameter: Any, piece: Tensor | None) -> Tensor:
        """The whole tensor, on the CPU, of which every worker has its piece; a collective."""

    @abstractmethod
    def _share(self, parameter: Any, whole: Tensor) -> Tensor:
        """This worker's part of a whole tensor."""

    @abstractmethod
    def _set_weights(self, trainable: Mapping[str, Tensor]) -> None:
        """Make the weights that are computed with those of a checkpoint."""

    def state(self) -> EngineState:
        """Everything by name, whole, on the CPU; a collective."""
        trainable = {name: self._whole(p, self._piece(p, None)) for name, p in self._named.items()}
        steps = {float(held["step"]) for flat in self._flats if "step" in (held := self._held(flat))}
        if not steps:
            return EngineState(trainable, {})
        assert len(steps) == 1, steps
        moments: dict[str, Tensor] = {}
        for name, p in self._named.items():
            moments |= {f"{name}/{key}": self._whole(p, self._piece(p, key)) for key in MOMENTS}
            moments[f"{name}/step"] = torch.tensor(next(iter(steps)))
        return EngineState(trainable, moments)

    def restore(self, state: EngineState) -> None:
        """Take this worker's pieces out of whole tensors."""
        steps = {float(value) for key, value in state.optimiser.items() if key.endswith("/step")}
        if len(steps) > 1:
            raise ConfigError(f"the checkpoint's parameters have taken different numbers of steps: {sorted(steps)}")
        self._set_weights(state.trainable)
        for flat in self._flats:
            self._zero.optimizer.state.pop(flat, None)
            if steps:
                zeros = {key: torch.zeros_like(flat) for key in MOMENTS}
                self._zero.optimizer.state[flat] = {"step": torch.tensor(next(iter(steps))), **zeros}
        self._zero._hp_optimizer_states_linked = False  # its links to the moments of before are void
        with torch.no_grad():
            for name, p in self._named.items():
                for key in (None, *(MOMENTS if steps else ())):
                    if (piece := self._piece(p, key)) is not None:
                        whole = state.trainable[name] if key is None else state.optimiser[f"{name}/{key}"]
                        piece.copy_(self._share(p, whole))

    def clamp(self, name: str, low: float, high: float) -> None:
        """Clamp the float32 original of a parameter, wherever it lies."""
        if (piece := self._piece(self._named[name], None)) is not None:
            piece.clamp_(low, high)

    def held(self) -> dict[str, Tensor]:
        """Views of this worker's pieces of the parameters, by name."""
        return {name: piece for name, p in self._named.items() if (piece := self._piece(p, None)) is not None}

    def whole(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors of pieces, by name; a collective."""
        return {name: self._whole(p, held.get(name)) for name, p in self._named.items()}

    def share(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This worker's pieces of whole tensors, by name."""
        return {
            name: self._share(p, whole[name]) for name, p in self._named.items() if self._piece(p, None) is not None
        }

    def _held(self, flat: Tensor) -> dict[str, Any]:
        return self._zero.optimizer.state.get(flat, {})


class FlatPieces(Pieces):
    """ZeRO 1 and 2: every worker owns one flat piece of each parameter group; `_hp_mapping` says what lies where.

    DeepSpeed's safe_get_full_optimizer_state links moments after the step of the first group alone, and so knows none of the
    second (decayed and undecayed parameters are two).
    """

    @property
    def _flats(self) -> list[Tensor]:
        return list(self._zero.single_partition_of_fp32_groups)

    def _piece(self, parameter: Any, key: str | None) -> Tensor | None:
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        flat = self._flats[mapping.param_group_index]
        at = mapping.hp_fragment_address
        return (flat.data if key is None else self._held(flat)[key]).narrow(0, at.start, at.numel)

    def _whole(self, parameter: Any, piece: Tensor | None) -> Tensor:
        whole = torch.zeros(parameter.numel(), dtype=torch.float32, device=parameter.device)
        if piece is not None:
            at = parameter._hp_mapping.lp_fragment_address
            whole[at.start : at.start + at.numel] = piece
        dist.all_reduce(whole)  # every number is one worker's, and nought on the others
        return whole.reshape(parameter.shape).cpu()

    def _share(self, parameter: Any, whole: Tensor) -> Tensor:
        at = parameter._hp_mapping.lp_fragment_address
        return whole.flatten()[at.start : at.start + at.numel]

    def _set_weights(self, trainable: Mapping[str, Tensor]) -> None:
        """They are whole on every worker, and set with the module."""


class WeightPieces(Pieces):
    """ZeRO 3. DeepSpeed's own setters of whole values take no parameter whose size the workers do not divide."""

    @property
    def _flats(self) -> list[Tensor]:
        return list(self._zero.fp32_partitioned_groups_flat)

    def _piece(self, parameter: Any, key: str | None) -> Tensor | None:
        group, start, numel = self._zero.grad_position[self._zero.get_param_id(parameter)]
        flat = self._flats[group]
        return (flat.data if key is None else self._held(flat)[key]).narrow(0, start, numel)

    def _whole(self, parameter: Any, piece: Tensor | None) -> Tensor:
        assert piece is not None
        parts = [torch.empty_like(piece) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, piece.contiguous())
        return torch.cat(parts)[: parameter.ds_numel].reshape(parameter.ds_shape).cpu()

    def _share(self, parameter: Any, whole: Tensor) -> Tensor:
        numel = parameter.ds_tensor.numel()
        filled = torch.nn.functional.pad(whole.flatten(), (0, numel * dist.get_world_size() - whole.numel()))
        return filled.narrow(0, numel * dist.get_rank(), numel)

    def _set_weights(self, trainable: Mapping[str, Tensor]) -> None:
        from deepspeed.runtime.zero import GatheredParameters  # type: ignore[import-not-found]

        check_fits({name: tuple(p.ds_shape) for name, p in self._named.items()}, trainable, "the checkpoint")
        for name, parameter in self._named.items():
            with GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
                parameter.copy_(trainable[name])
