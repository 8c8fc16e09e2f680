"""`DeepSpeedEngine`: text encoder or editor under DeepSpeed with ZeRO, behind the protocol of `TorchEngine`.

ZeRO (arXiv 1910.02054) divides the optimiser's state (1), the gradients too (2) and, for editors that do not fit a device,
the weights too (3) among the workers. The frozen tower is not in the module, frozen parameters of the text encoder are
not in the optimiser, and weights stay float32 with computation in bfloat16 where asked for, as under DDP.

What differs. DeepSpeed's own checkpoints hold one flat piece a rank, and another number of workers needs its offline
conversion to "universal" ones. Here state is gathered into whole float32 tensors by name (`zero_pieces`), the format of
`TorchEngine`: four ZeRO-2 workers stop and two DDP workers go on. The maths of the optimiser is PyTorch's AdamW on every engine.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from negscale.core.errors import ConfigError
from negscale.models.freezing import Line
from negscale.models.losses import MAX_LOGIT_SCALE
from negscale.models.towers import TextEncoder
from negscale.models.weights import load_into
from negscale.training import deepspeed_config
from negscale.training.engine import DEFAULT_ADAM, Adam, EngineState, Precision, adam_groups, gathered, summed
from negscale.training.reader import World
from negscale.training.zero_pieces import MOMENTS, FlatPieces, Pieces, WeightPieces


class DeepSpeedEngine:
    """DeepSpeed on one device: alone, or as one of several workers when torch.distributed is initialised."""

    def __init__(
        self, encoder: TextEncoder, table: Sequence[Line], adam: Adam = DEFAULT_ADAM, *, device: str = "cpu",
        precision: Precision = "float32", clamp_logit_scale: bool = True, max_grad_norm: float | None = None,
        config: str = "zero2", stages: tuple[int, ...] = (0, 1, 2),
    ) -> None:  # fmt: skip
        """table: what trains and decays, see `negscale.models.freezing`. config: a name below configs/deepspeed, or a path.
        stages: of ZeRO, those that this module may be trained with; a module of stage 3 has no parameter without dimensions.

        Raises ConfigError without DeepSpeed, for float64, and for JSON that says what the training's config says.
        """
        if precision == "float64":
            raise ConfigError(
                "precision=float64: DeepSpeed computes in float32 or bfloat16; use runtime.engine=torch for float64"
            )
        found = deepspeed_config.read(config, stages)
        stage = deepspeed_config.stage_of(found)
        plain, self._divided = stage == 0, stage == 3
        self._max_grad_norm = max_grad_norm if plain else None
        deepspeed = _library(device)
        if not dist.is_initialized():  # DeepSpeed wants a process group for one process too
            backend = "nccl" if device.startswith("cuda") else "gloo"
            store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage] - public, but not in its __all__
            dist.init_process_group(backend, store=store, rank=0, world_size=1)
        self.world = World(dist.get_rank(), dist.get_world_size())
        self.device = device
        self._encoder = encoder.to(device, torch.float32).eval()
        self._named = encoder.trainable()
        self._clamp = clamp_logit_scale
        self._module: nn.Module = _Mixed(encoder, device) if precision == "bfloat16" else encoder
        self._adam = torch.optim.AdamW(adam_groups(self._named, table, adam), lr=0.0, betas=adam.betas, eps=adam.eps)
        options = deepspeed_config.completed(found, None if plain else max_grad_norm)
        # it prints; stdout is for results
        with contextlib.redirect_stdout(sys.stderr), _scalars_sent(self._module, self.world):
            self._engine, self._optimiser, _, _ = deepspeed.initialize(
                model=self._module, optimizer=self._adam, config=options
            )
        self._parts: Pieces | None = None
        if self._optimiser is not self._adam:
            self._parts = (WeightPieces if self._divided else FlatPieces)(self._optimiser, self._named)

    def encode(self, ids_TL: Tensor) -> tuple[Tensor, Tensor]:
        # without gradients there is nothing to synchronise, unless the weights themselves are elsewhere
        return self._engine(ids_TL) if torch.is_grad_enabled() or self._divided else self._module(ids_TL)

    def gather(self, local: Tensor) -> Tensor:
        return gathered(local) if self.world.size > 1 else local

    def total(self, local: Tensor) -> Tensor:
        return summed(local) if self.world.size > 1 else local.detach().clone()

    def update(self, loss: Tensor, rate: float) -> None:
        self._engine.backward(loss * self.world.size)  # DeepSpeed averages over workers, as DDP does
        if self._max_grad_norm is not None:  # without ZeRO, DeepSpeed 0.19.8 cannot clip a gradient without dimensions
            nn.utils.clip_grad_norm_(self._named.values(), self._max_grad_norm)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._engine.step()
        if self._clamp:
            self._clamp_scale()

    def _clamp_scale(self) -> None:
        scale = self._encoder.model.logit_scale
        with torch.no_grad():
            scale.clamp_(0, MAX_LOGIT_SCALE)
            if self._parts is not None and scale.requires_grad:
                self._parts.clamp("logit_scale", 0, MAX_LOGIT_SCALE)

    def state(self) -> EngineState:
        if self._parts is not None:
            return self._parts.state()
        moments = {}
        for name, parameter in self._named.items():
            for key, value in self._adam.state.get(parameter, {}).items():
                moments[f"{name}/{key}"] = torch.as_tensor(value).detach().cpu().clone()
        return EngineState({name: p.detach().cpu().clone() for name, p in self._named.items()}, moments)

    def held(self) -> dict[str, Tensor]:
        return self._parts.held() if self._parts is not None and self._divided else dict(self._named)

    def whole(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._parts is not None and self._divided:
            return self._parts.whole(held)
        return {name: value.detach().cpu().clone() for name, value in held.items()}

    def share(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._parts.share(whole) if self._parts is not None and self._divided else dict(whole)

    def restore(self, state: EngineState) -> None:
        if not self._divided:
            load_into(self._named, state.trainable, "the checkpoint")
        if self._parts is not None:
            self._parts.restore(state)
            return
        for name, parameter in self._named.items():
            if f"{name}/step" in state.optimiser:
                held = {key: state.optimiser[f"{name}/{key}"] for key in ("step", *MOMENTS)}
                # AdamW counts steps on the CPU
                moved = {key: value.to(parameter.device, copy=True) for key, value in held.items() if key != "step"}
                self._adam.state[parameter] = {**moved, "step": held["step"].clone()}


class _Mixed(nn.Module):
    """The encoder under bfloat16 autocast. Inside the module, because DeepSpeed switches an outer autocast off."""

    def __init__(self, encoder: TextEncoder, device: str) -> None:
        super().__init__()
        self.encoder, self._kind = encoder, device.partition(":")[0]

    def forward(self, inputs: Any) -> Any:
        with torch.autocast(self._kind, torch.bfloat16):
            return self.encoder(inputs)


@contextlib.contextmanager
def _scalars_sent(module: nn.Module, world: World) -> Iterator[None]:
    """Rank 0's scalars (the logit scale) sent here: DeepSpeed 0.19.8 fails to broadcast a parameter without dimensions."""
    scalars: list[Any] = [parameter for parameter in module.parameters() if parameter.ndim == 0]
    for parameter in scalars:
        if world.size > 1:
            dist.broadcast(parameter.data, 0)
        parameter.ds_optim_param = True  # its mark of what it must not broadcast
    try:
        yield
    finally:
        for parameter in scalars:
            del parameter.ds_optim_param


def _library(device: str) -> Any:
    """DeepSpeed. Raises ConfigError when it is not installed."""
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(
            'runtime.engine=deepspeed needs deepspeed, which is not installed here: pip install "negscale[deepspeed]", or '
            "use runtime.engine=torch"
        )
    # launchers and Ray set it; DeepSpeed computes on the GPU of this number
    os.environ.setdefault("LOCAL_RANK", "0" if device == "cpu" else str(torch.cuda.current_device()))
    if device == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with contextlib.redirect_stdout(sys.stderr):
        import deepspeed  # type: ignore[import-not-found]
        from deepspeed.ops import __compatible_ops__ as operations  # type: ignore[import-not-found]
    if device == "cpu":
        # an all-reduce for inference that training never calls, and for which it would run a C++ compiler for minutes
        operations["deepspeed_shm_comm"] = False
    return deepspeed
