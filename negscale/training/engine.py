"""The engine: where the text encoder computes, and how workers agree. `TorchEngine` is one process or PyTorch DDP.

The contrastive batch spans all workers: each computes the rows of its own texts against the columns of all (local loss),
and the gather passes gradients back (open_clip's ``--local-loss --gather-with-grad``). A worker's loss is its share of the
sum over rows, divided by the rows of the global batch; DDP averages gradients, so the engine multiplies by the number of
workers, and the gradient is that of one worker with the whole batch. What trains is inside the engine, frozen towers are
not, and a checkpoint holds neither frozen weights nor anything that depends on the number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from negscale.models.freezing import Line
from negscale.models.losses import MAX_LOGIT_SCALE
from negscale.models.towers import TextEncoder
from negscale.models.weights import load_into
from negscale.training.reader import World

Precision = Literal["float32", "bfloat16", "float64"]


@dataclass(frozen=True, slots=True)
class EngineState:
    """Parameters that train and their optimiser moments, whole, by name; the same for every number of workers."""

    trainable: dict[str, Tensor]
    optimiser: dict[str, Tensor]  # "NAME/exp_avg", "NAME/exp_avg_sq", "NAME/step"


class Engine(Protocol):
    """What the training loop asks of DDP, DeepSpeed and their kin."""

    world: World
    device: str

    def encode(self, ids_TL: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors [T, D] of texts, and the factor of the logits. Once a step, for all texts together."""
        ...

    def gather(self, local: Tensor) -> Tensor:
        """[size * B, ...] of all workers in the order of their ranks; gradients flow back to their owners."""
        ...

    def total(self, local: Tensor) -> Tensor:
        """The sum over workers, without gradient."""
        ...

    def update(self, loss: Tensor, rate: float) -> None:
        """One optimiser step on this worker's share of the loss, at learning rate `rate`."""
        ...

    def state(self) -> EngineState:
        """A copy of what a checkpoint holds; a collective."""
        ...

    def restore(self, state: EngineState) -> None:
        """Go on from `state`. Raises ConfigError when it belongs to another model."""
        ...

    def held(self) -> dict[str, Tensor]:
        """What this worker keeps of each trained parameter, by name: all of it, or its piece where weights are divided."""
        ...

    def whole(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies on the CPU of the whole tensors whose pieces, divided as `held()`, these are; a collective."""
        ...

    def share(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This worker's piece of whole tensors."""
        ...


@dataclass(frozen=True, slots=True)
class Adam:
    """AdamW's numbers (PyTorch's defaults, as NegationCLIP's script)."""

    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


DEFAULT_ADAM = Adam()


def adam_groups(named: Mapping[str, nn.Parameter], table: Sequence[Line], adam: Adam) -> list[dict[str, Any]]:
    """AdamW's parameter groups: those that decay, then those that do not, each in the model's order."""
    lines = {line.name: line for line in table}
    groups = [
        {"params": [p for name, p in named.items() if lines[name].decays is decays],
         "weight_decay": adam.weight_decay if decays else 0.0}
        for decays in (True, False)
    ]  # fmt: skip
    return [group for group in groups if group["params"]]


class TorchEngine:
    """PyTorch on one device: alone, or as one of several workers when torch.distributed is initialised."""

    def __init__(
        self, encoder: TextEncoder, table: Sequence[Line], adam: Adam = DEFAULT_ADAM, *, device: str = "cpu",
        precision: Precision = "float32", clamp_logit_scale: bool = True, max_grad_norm: float | None = None,
    ) -> None:  # fmt: skip
        """table: what trains and decays, see `negscale.models.freezing`. bfloat16 computes in bf16, keeps float32 weights."""
        self.world = World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()
        self.device, self._precision = device, precision
        self._encoder = encoder.to(device, torch.float64 if precision == "float64" else torch.float32).eval()
        self._named = encoder.trainable()
        self._clamp, self._max_norm = clamp_logit_scale, max_grad_norm
        self._adam = torch.optim.AdamW(adam_groups(self._named, table, adam), lr=0.0, betas=adam.betas, eps=adam.eps)
        self._module: Any = self._encoder
        if self.world.size > 1:
            # looking for unused parameters finds none, and keeps DDP's buckets as they are: it would rebuild them after the
            # first step, and with them the order of sums, and a resumed run would differ in the last bit
            self._module = torch.nn.parallel.DistributedDataParallel(
                self._encoder, device_ids=[device] if device.startswith("cuda") else None, find_unused_parameters=True,
                broadcast_buffers=False,
            )  # fmt: skip

    def encode(self, ids_TL: Tensor) -> tuple[Tensor, Tensor]:
        with self._mixed():
            # without gradients there is nothing to synchronise, and DDP must not prepare for it
            return self._module(ids_TL) if torch.is_grad_enabled() else self._encoder(ids_TL)

    def _mixed(self) -> AbstractContextManager[Any]:
        if self._precision != "bfloat16":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], torch.bfloat16)

    def gather(self, local: Tensor) -> Tensor:
        return local if self.world.size == 1 else gathered(local)

    def total(self, local: Tensor) -> Tensor:
        return local.detach().clone() if self.world.size == 1 else summed(local)

    def update(self, loss: Tensor, rate: float) -> None:
        self._adam.zero_grad(set_to_none=True)
        (loss * self.world.size).backward()  # DDP averages over workers; the loss is already a share of the mean
        if self._max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._named.values(), self._max_norm)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        if self._clamp:
            with torch.no_grad():
                self._encoder.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)

    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the last step by name, the mean over workers."""
        return {name: p.grad.clone() for name, p in self._named.items() if p.grad is not None}

    def state(self) -> EngineState:
        moments = {}
        for name, parameter in self._named.items():
            for key, value in self._adam.state.get(parameter, {}).items():
                moments[f"{name}/{key}"] = torch.as_tensor(value).detach().cpu().clone()
        return EngineState({name: p.detach().cpu().clone() for name, p in self._named.items()}, moments)

    def held(self) -> dict[str, Tensor]:
        return dict(self._named)

    def whole(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in held.items()}

    def share(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(whole)

    def restore(self, state: EngineState) -> None:
        load_into(self._named, state.trainable, "the checkpoint")
        by_name: dict[str, dict[str, Tensor]] = {}
        for key, value in state.optimiser.items():
            name, _, moment = key.rpartition("/")
            by_name.setdefault(name, {})[moment] = value
        for name, parameter in self._named.items():
            if name in by_name:
                self._adam.state[parameter] = {
                    # AdamW counts steps on the CPU
                    key: value.clone() if key == "step" else value.to(parameter.device, parameter.dtype, copy=True)
                    for key, value in by_name[name].items()
                }


class _Gather(torch.autograd.Function):
    """all_gather whose backward sums what every worker says of this worker's rows.

    torch.distributed.nn has one too; its backward on gloo sends every gradient point to point.
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        rows = len(total) // dist.get_world_size()
        return total[dist.get_rank() * rows : (dist.get_rank() + 1) * rows]


def gathered(local: Tensor) -> Tensor:
    """[size * B, ...] of all workers in the order of their ranks; gradients flow back to their owners."""
    if local.dtype == torch.bool:  # not every backend moves booleans
        return gathered(local.to(torch.uint8)).bool()
    found = _Gather.apply(local)
    assert isinstance(found, Tensor)
    return found


def summed(local: Tensor) -> Tensor:
    """The sum over workers, without gradient."""
    found = local.detach().clone()
    dist.all_reduce(found)
    return found
