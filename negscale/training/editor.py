"""Fine-tuning of an editor: the loss of a step, averaged weights, and the loop (arXiv 2409.06481, section 3.3).

The loss is InstructPix2Pix's: the squared error of the predicted noise (or velocity, where the pipeline's scheduler says so).
What differs: the batch spans all workers and a row that cannot be read weighs nothing; text states are made once a
sentence, since NeIn has 13 of them an object; latents are the posterior's mean, not a draw from it (its spread is a
hundredth of the noise); a loss that is no number stops the training before it reaches the weights.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from negscale.training.clip_text import LossError, Progress, Schedule
from negscale.training.editor_batches import EditBatch
from negscale.training.editor_model import EditorParts, image_latents, text_states
from negscale.training.engine import Engine, EngineState

_EMA = "/ema"
_TEXTS = 4096  # sentences whose states are kept: 240 MB in bfloat16 for a Stable Diffusion 1.5
_ENCODED = 8  # pictures of one pass of the autoencoder


class Averages:
    """An exponential mean of the weights over the steps; early steps count less than `decay` says.

    A worker averages what it holds: all weights, or its pieces where weights are divided.
    """

    def __init__(self, decay: float, held: Callable[[], Mapping[str, Tensor]]) -> None:
        """held: what this worker keeps of each parameter, `Engine.held`."""
        self.decay, self._held = decay, held
        self.values = {name: value.detach().clone() for name, value in held().items()}

    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, from 1."""
        keep = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in self._held().items():
                self.values[name].lerp_(value.detach(), 1 - keep)


def with_averages(state: EngineState, averages: Mapping[str, Tensor]) -> EngineState:
    """A checkpoint's state that also holds the averages, whole."""
    return EngineState(state.trainable, {**state.optimiser, **{f"{name}{_EMA}": t for name, t in averages.items()}})


def parted(state: EngineState) -> tuple[EngineState, dict[str, Tensor]]:
    """(what an engine goes on from, the averages) of a checkpoint's state."""
    moments = {name: t for name, t in state.optimiser.items() if not name.endswith(_EMA)}
    kept = {name.removesuffix(_EMA): t for name, t in state.optimiser.items() if name.endswith(_EMA)}
    return EngineState(state.trainable, moments), kept


class Conditions:
    """The frozen half of an editor on its device: latents of pictures, states of sentences."""

    def __init__(self, parts: EditorParts, device: str, dtype: torch.dtype) -> None:
        """dtype: what autoencoder and text tower compute in."""
        self.parts, self._device = parts, device
        parts.vae.to(device, dtype)
        parts.words.to(device, dtype)
        self._said: OrderedDict[str, Tensor] = OrderedDict()

    @torch.no_grad()
    def latents(self, batch: EditBatch, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """[B, C, h, w] of the input and of the image without the object, unscaled."""
        if batch.latents is not None:
            before, after = batch.latents.to(dtype)
            return before, after
        assert batch.pixels is not None
        flat = batch.pixels.flatten(0, 1).float() / 127.5 - 1
        parts = [image_latents(self.parts.vae, flat[at : at + _ENCODED]) for at in range(0, len(flat), _ENCODED)]
        before, after = torch.cat(parts).to(dtype).chunk(2)
        return before, after

    @torch.no_grad()
    def states(self, texts: list[str], dtype: torch.dtype) -> Tensor:
        """[B, T, W]; each distinct sentence goes through the text tower once."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._said]:
            # one by one: what a sentence gives does not depend on which others came with it
            self._said.update((text, text_states(self.parts, [text], self._device)) for text in new)
        found = torch.cat([self._said[text] for text in texts]).to(dtype)
        while len(self._said) > _TEXTS:
            self._said.popitem(last=False)
        return found


def step_loss(
    batch: EditBatch, engine: Engine, conditions: Conditions, dtype: torch.dtype
) -> tuple[Tensor, dict[str, float]]:
    """This worker's share of the mean over rows, and the figures of the global batch. dtype: of the UNet's weights."""
    parts = conditions.parts
    before, after = conditions.latents(batch, dtype)
    wanted = torch.where(batch.stays_B[:, None, None, None], before, after) * parts.vae.config.scaling_factor
    noise = batch.noise_BChw.to(dtype)
    noisy = parts.scheduler.add_noise(wanted, noise, batch.times_B)
    velocity = parts.scheduler.config.prediction_type == "v_prediction"
    target = parts.scheduler.get_velocity(wanted, noise, batch.times_B) if velocity else noise
    inputs: Any = (
        noisy, before * batch.sees_B[:, None, None, None], batch.times_B, conditions.states(batch.texts, dtype)
    )  # fmt: skip
    found: Any = engine.encode(inputs)
    rows = (found.to(dtype) - target).square().mean((1, 2, 3))
    # where() and not a product: what an empty slot computes must not matter, be it infinite
    loss = torch.where(batch.valid_B, rows, torch.zeros_like(rows)).sum() / max(1, batch.global_rows)
    used = torch.tensor([int(batch.valid_B.sum()), batch.unreadable], dtype=dtype, device=loss.device)
    value, rows_used, unreadable = engine.total(torch.cat([loss.detach()[None], used])).tolist()
    return loss, {"loss": value, "rows": rows_used, "unreadable_images": unreadable}


def train(
    batches: Iterable[EditBatch], engine: Engine, conditions: Conditions, dtype: torch.dtype, schedule: Schedule,
    averages: Averages | None, report: Callable[[Progress], None], done_steps: int = 0,
) -> int:  # fmt: skip
    """Take a step for every batch; returns the number of steps done. Raises LossError for a loss that is no number.

    batches: from the position at which step `done_steps` is to be taken. Ends early at `schedule.total_steps`.
    """
    step = done_steps
    for batch in batches:
        if step >= schedule.total_steps:
            break
        began = time.perf_counter()
        batch = batch.to(engine.device)
        loss, values = step_loss(batch, engine, conditions, dtype)
        if not math.isfinite(values["loss"]):
            failed: Any = batch
            raise LossError(step, failed, values)
        rate = schedule.at(step)
        engine.update(loss, rate)
        step += 1
        if averages is not None:
            averages.update(step)
        ends = batch.after["rows"].epoch > batch.epoch
        metrics = {**values, "learning_rate": rate, "seconds": time.perf_counter() - began}
        report(Progress(step, batch.epoch, batch.after, metrics, ends))
    return step


def evaluate(
    batches: Iterable[EditBatch], engine: Engine, conditions: Conditions, dtype: torch.dtype
) -> dict[str, float]:
    """Mean loss of held-out rows at drawn times; nothing is learnt."""
    total, rows = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            _, values = step_loss(batch.to(engine.device), engine, conditions, dtype)
            total, rows = total + values["loss"] * batch.global_rows, rows + batch.global_rows
    return {"held_out_loss": total / rows} if rows else {}
