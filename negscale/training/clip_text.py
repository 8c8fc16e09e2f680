"""Fine-tuning of a CLIP text encoder: a loop over batches with an engine, an objective and a report callback.

NegationCLIP (arXiv 2501.10913) trains 15 epochs of AdamW at 1e-6 without warm-up, schedule or clamp; NegBench warms up and
follows a cosine. Both are settings here. What differs from the released loops: images are vectors made once, the batch
spans all workers, a loss that is no number stops the training before it reaches the weights, and the loop knows nothing
of files: saving is what `report` does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from negscale.core.errors import NegscaleError
from negscale.models.losses import same_image
from negscale.training.batches import Batch
from negscale.training.engine import Engine
from negscale.training.objectives import Objective, Scene
from negscale.training.order import Cursor


class LossError(NegscaleError):
    """The loss is no number. `batch` is the one that gave it; weights and checkpoints are those from before."""

    def __init__(self, step: int, batch: Batch, terms: dict[str, float]) -> None:
        shown = ", ".join(batch.ids[:8]) + (f" and {len(batch.ids) - 8} more" if len(batch.ids) > 8 else "")
        super().__init__(
            f"step {step} (epoch {batch.epoch}): the loss is not finite ({terms}). Rows of this worker: {shown}. The step "
            f"was not taken and the last checkpoint is kept: look at those rows, or resume at a lower learning rate"
        )
        self.step, self.batch = step, batch


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of each step: a linear warm-up, then constant or a cosine to zero."""

    rate: float
    total_steps: int
    warm_up_steps: int = 0
    form: Literal["constant", "cosine"] = "constant"

    def at(self, step: int) -> float:
        """The rate of step number `step`, from 0.

        >>> [round(Schedule(1.0, 6, 2, "cosine").at(step), 3) for step in range(6)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
        """
        if step < self.warm_up_steps:
            return self.rate * (step + 1) / self.warm_up_steps
        if self.form == "constant":
            return self.rate
        share = (step - self.warm_up_steps) / max(1, self.total_steps - self.warm_up_steps)
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


@dataclass(frozen=True, slots=True)
class Progress:
    """What `report` is told after every step."""

    step: int  # steps done
    epoch: int
    after: dict[str, Cursor]  # where each stream stands; together with the engine's state, all that resuming needs
    metrics: dict[str, float]  # over the global batch
    epoch_ends: bool


Report = Callable[[Progress], None]


def train(
    batches: Iterable[Batch],
    engine: Engine,
    objective: Objective,
    schedule: Schedule,
    report: Report,
    done_steps: int = 0,
) -> int:
    """Take a step for every batch; returns the number of steps done. Raises LossError for a loss that is no number.

    batches: from the position at which step `done_steps` is to be taken. Ends early at `schedule.total_steps`.
    """
    step = done_steps
    for batch in batches:
        if step >= schedule.total_steps:
            break
        began = time.perf_counter()
        batch = batch.to(engine.device)
        loss, values = step_loss(batch, engine, objective)
        if not all(map(math.isfinite, values.values())):
            raise LossError(step, batch, values)
        rate = schedule.at(step)
        engine.update(loss, rate)
        step += 1
        ends = batch.after["rows"].epoch > batch.epoch
        metrics = {**values, "learning_rate": rate, "seconds": time.perf_counter() - began}
        report(Progress(step, batch.epoch, batch.after, metrics, ends))
    return step


def step_loss(batch: Batch, engine: Engine, objective: Objective) -> tuple[Tensor, dict[str, float]]:
    """This worker's share of the loss, and the figures of the global batch: `loss`, its terms, `top1`, counts.

    `top1` is what NegationCLIP's script logs as accuracy: images of the batch whose own text is the nearest.
    """
    scene, text = _scene(batch, engine, objective)
    total: Tensor | None = None
    sums: dict[str, Tensor] = {}
    for name, (weight, rows) in objective.terms(scene).items():
        valid = batch.valid_Q if name == "question" else batch.valid_B
        count = batch.global_questions if name == "question" else batch.global_rows
        assert valid is not None
        # where() and not a product: what an empty slot computes must not matter, be it infinite
        share = torch.where(valid, rows, torch.zeros_like(rows)).sum() / max(1, count)
        sums[name] = share
        total = weight * share if total is None else total + weight * share
    assert total is not None
    with torch.no_grad():
        own = scene.first + torch.arange(len(scene.image_BD), device=scene.image_BD.device)
        like = (scene.image_BD @ scene.texts_ND[text].T).masked_fill(~scene.valid_N[None], -torch.inf)
        hits = ((like.argmax(1) == own) & batch.valid_B).sum()
        counts = torch.stack([hits, batch.valid_B.sum()]).to(total.dtype)
        extra = torch.tensor([batch.truncated, batch.unreadable], dtype=total.dtype, device=total.device)
        found = engine.total(torch.cat([torch.stack([total, *sums.values()]), counts, extra])).tolist()
    values = dict(zip(["loss", *sums], found[: len(sums) + 1], strict=True))
    hit, rows_used, truncated, unreadable = found[len(sums) + 1 :]
    values |= {"top1": hit / max(1.0, rows_used), "rows": rows_used, "truncated_texts": truncated}
    return total, {**values, "unreadable_images": unreadable, "logit_scale": float(scene.scale.detach())}


def _scene(batch: Batch, engine: Engine, objective: Objective) -> tuple[Scene, str]:
    features, scale = engine.encode(batch.ids_TL)
    texts_BD = {name: features[rows] for name, rows in batch.pieces.items() if name != "options"}
    names = list(texts_BD)
    # one collective for all texts, one for what has no gradient
    gathered = engine.gather(torch.stack([texts_BD[name] for name in names], 1))
    texts_ND = {name: gathered[:, k] for k, name in enumerate(names)}
    image_BD = batch.image_BD.to(features.dtype)
    with torch.no_grad():
        image_ND = engine.gather(image_BD)
        key_N = engine.gather(batch.key_B)
        flags = engine.gather(torch.stack([batch.valid_B, *[batch.has_B[name] for name in names]], 1))
    options = None
    if "options" in batch.pieces and batch.answer_Q is not None:
        options = features[batch.pieces["options"]].reshape(len(batch.answer_Q), -1, features.shape[1])
    # empty slots of different workers may not pass for pictures of one image
    same = same_image(batch.key_B, key_N) & (batch.valid_B[:, None] & flags[None, :, 0])
    scene = Scene(
        image_BD=image_BD, image_ND=image_ND, valid_N=flags[:, 0], same_BN=same, key_N=key_N,
        first=engine.world.rank * len(image_BD), texts_BD=texts_BD, texts_ND=texts_ND, has_B=batch.has_B,
        has_N={name: flags[:, k + 1] for k, name in enumerate(names)},
        before_BD=None if batch.before_BD is None else batch.before_BD.to(features.dtype),
        question_image_QD=None if batch.question_image_QD is None else batch.question_image_QD.to(features.dtype),
        options_QMD=options, answer_Q=batch.answer_Q, scale=scale,
    )  # fmt: skip
    return scene, objective.positive


def evaluate(batches: Iterable[Batch], engine: Engine, objective: Objective) -> dict[str, float]:
    """Means of the figures over held-out batches, weighted by their rows; nothing is learnt."""
    sums: dict[str, float] = {}
    rows = 0.0
    with torch.no_grad():
        for batch in batches:
            _, values = step_loss(batch.to(engine.device), engine, objective)
            for name, value in values.items():
                if name not in ("rows", "truncated_texts", "unreadable_images", "logit_scale"):
                    sums[name] = sums.get(name, 0.0) + value * batch.global_rows
            rows += batch.global_rows
    return {f"held_out_{name}": value / rows for name, value in sums.items()} if rows else {}
