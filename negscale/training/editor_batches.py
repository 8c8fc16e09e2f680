"""Rows of a nein run to what an editor learns from: two pictures, a sentence, and every draw of the step.

The input is the image with the object. A denial wants the image without it; an affirmative sentence, and a denial of what is
in neither image, want the input back. What differs from InstructPix2Pix's script: the draws (which instruction, what is
left out, mirroring, time, noise) depend on the seed and the row's place in the epoch alone, so that a resumed training
and one of another number of workers make the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from negscale.core.backend import Image
from negscale.core.image import ImageError
from negscale.core.pipeline import Shard
from negscale.core.rng import rng_for, seed_for
from negscale.datasets.images import ImageReader
from negscale.datasets.run import RunSource
from negscale.training.editor_config import DropoutConfig, EditTrainConfig, InstructionKind
from negscale.training.order import Cursor, share
from negscale.training.reader import RowBatch, RowStream, World

SENTENCES: dict[InstructionKind, str] = {
    "negative": "negative_instruction", "affirmative": "affirmative_instruction", "keep": "keep_instruction",
    "two_objects": "two_objects_instruction",
}  # fmt: skip
REMOVING: tuple[InstructionKind, ...] = ("negative", "two_objects")
RUN, BEFORE, AFTER = (
    "run",
    "before",
    "after",
)  # vectors: the row's run; latents of the editor's input, and of what is wanted
_READERS = 4


@dataclass(frozen=True, slots=True)
class EditBatch:
    """One worker's share of a step. B slots; `pixels` or latents are there, not both."""

    ids: list[str]  # of the rows, empty slots left out
    texts: list[str]  # B; "" where the instruction is left out, and in empty slots
    stays_B: Tensor  # bool: the input itself is wanted
    sees_B: Tensor  # bool: the image condition is not left out
    valid_B: Tensor  # bool
    times_B: Tensor  # int64
    noise_BChw: Tensor
    pixels: Tensor | None  # uint8[2, B, 3, H, W]: the input, and the image without the object
    latents: Tensor | None  # float32[2, B, C, h, w], unscaled
    global_rows: int
    epoch: int
    after: dict[str, Cursor]
    unreadable: int

    def to(self, device: str) -> EditBatch:
        """The same on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {
            name: value.to(device, non_blocking=True) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True, slots=True)
class Draw:
    """What is drawn for one place in an epoch."""

    kind: InstructionKind
    text: str
    says: bool  # the instruction is not left out
    sees: bool  # nor is the image
    mirrored: bool
    time: int


def draw(row: Mapping[str, Any], config: EditTrainConfig, times: int, epoch: int, position: int) -> Draw:
    """The draws of a row at a place. A row without any of the wanted sentences learns its denial."""
    chance = rng_for(config.seed, "edit", epoch, position).random(4)
    shares = config.instructions.shares()
    there: list[tuple[InstructionKind, float]] = [
        (k, part) for k, part in shares.items() if part and row.get(SENTENCES[k])
    ]
    only: list[tuple[InstructionKind, float]] = [("negative", 1.0)]
    kinds = there or only
    bounds = np.cumsum([part for _, part in kinds])
    kind: InstructionKind = kinds[int(np.searchsorted(bounds, chance[0] * bounds[-1], "right"))][0]
    says, sees = conditions(config.dropout, float(chance[1]))
    text = row.get(SENTENCES[kind]) or ""
    return Draw(kind, text, says, sees, bool(chance[2] < config.mirror), int(chance[3] * times))


def conditions(dropout: DropoutConfig, chance: float) -> tuple[bool, bool]:
    """(instruction shown, image shown) of a uniform draw; as released: text alone, then both, then image alone.

    >>> [conditions(DropoutConfig(), u) for u in (0.04, 0.07, 0.12, 0.16)]
    [(False, True), (False, False), (True, False), (True, True)]
    """
    no_text = dropout.text + dropout.both
    return chance >= no_text, not dropout.text <= chance < no_text + dropout.image


def resized(image: Image, side_px: int) -> Image:
    """uint8[side, side, 3], whatever the image's form."""
    if image.shape[:2] == (side_px, side_px):
        return image
    return np.asarray(Pillow.fromarray(image).resize((side_px, side_px), Pillow.Resampling.LANCZOS))


class RunNumbers:
    """`PartVectors`: the number of the run that a row comes from, which tells where its images lie."""

    def __init__(self, sources: Sequence[RunSource]) -> None:
        self._sources = sources

    def read(self, run: int, shard: Shard) -> np.ndarray:
        """float32[R, 1]."""
        return np.full((shard.rows, 1), run, np.float32)


def positions(batch: RowBatch, rows: int, world: World) -> range:
    """The places in the epoch of `batch.rows`; rows: of the epoch."""
    stop = batch.after.row if batch.after.epoch == batch.epoch else rows
    return share(stop - batch.global_rows, stop, world.rank, world.size)[0]


class EditCollator:
    """Makes batches of rows; pictures are read by threads, and scaled to one size."""

    def __init__(
        self, config: EditTrainConfig, stream: RowStream, readers: Sequence[tuple[ImageReader, ImageReader]],
        latent_shape: tuple[int, int, int], times: int, world: World,
    ) -> None:  # fmt: skip
        """readers: of `image_with_object` and `image`, one pair a run. latent_shape: C, h, w. times: the scheduler's."""
        self._config, self._readers, self._shape, self._times = config, readers, latent_shape, times
        self._world = world
        self._rows_of = lru_cache(4)(lambda epoch: stream.order(epoch).rows)

    def __call__(self, batch: RowBatch, epoch: int | None = None) -> EditBatch:
        """Tensors of one step. epoch: draws of another epoch (held-out rows have one of their own, -1)."""
        places = positions(batch, self._rows_of(batch.epoch), self._world)
        number = batch.epoch if epoch is None else epoch
        drawn = [
            draw(row, self._config, self._times, number, place) for row, place in zip(batch.rows, places, strict=True)
        ]
        slots, empty = batch.slots, batch.slots - len(batch.rows)
        noise = torch.zeros(slots, *self._shape)
        for k, place in enumerate(places):
            generator = torch.Generator().manual_seed(seed_for(self._config.seed, "noise", number, place))
            noise[k] = torch.randn(self._shape, generator=generator)
        pixels, latents, there = self._pictures(batch, drawn)
        none = [False] * empty
        return EditBatch(
            ids=[row["id"] for row in batch.rows], texts=[d.text if d.says else "" for d in drawn] + [""] * empty,
            stays_B=torch.tensor([d.kind not in REMOVING for d in drawn] + none),
            sees_B=torch.tensor([d.sees for d in drawn] + none), valid_B=torch.tensor(there + none),
            times_B=torch.tensor([d.time for d in drawn] + [0] * empty), noise_BChw=noise, pixels=pixels, latents=latents,
            global_rows=batch.global_rows, epoch=batch.epoch, after={"rows": batch.after},
            unreadable=len(there) - sum(there),
        )  # fmt: skip

    def _pictures(self, batch: RowBatch, drawn: Sequence[Draw]) -> tuple[Tensor | None, Tensor | None, list[bool]]:
        if self._config.precomputed:
            latents = torch.zeros(2, batch.slots, *self._shape)
            there = np.ones(len(batch.rows), bool)
            for side, name in enumerate((BEFORE, AFTER) if batch.rows else ()):
                found = batch.vectors[name]
                there &= np.isfinite(found).all(1)
                latents[side, : len(batch.rows)] = torch.from_numpy(np.nan_to_num(found)).view(-1, *self._shape)
            return None, latents, there.tolist()
        side_px = self._config.size_px
        pixels = torch.zeros(2, batch.slots, 3, side_px, side_px, dtype=torch.uint8)
        runs = batch.vectors[RUN][:, 0].astype(int).tolist() if batch.rows else []
        with ThreadPoolExecutor(_READERS, "negscale-pairs") as pool:
            pairs = list(pool.map(self._pair, batch.rows, runs))
        for k, (pair, one) in enumerate(zip(pairs, drawn, strict=True)):
            if pair is not None:
                found = torch.from_numpy(np.stack(pair)).permute(0, 3, 1, 2)
                pixels[:, k] = found.flip(3) if one.mirrored else found
        return pixels, None, [pair is not None for pair in pairs]

    def _pair(self, row: Mapping[str, Any], run: int) -> tuple[Image, Image] | None:
        """Input and wanted image; None where one cannot be read for good."""
        with_object, without = self._readers[run]
        try:
            images = (
                with_object.read(row["image_with_object"] or {"uri": ""}),
                without.read(row["image"] or {"uri": ""}),
            )
        except ImageError as error:
            if error.retryable:
                raise
            return None
        first, second = (resized(image, self._config.size_px) for image in images)
        return first, second
