"""A whole editor training in a folder: read, make latents, train, checkpoint, resume; alone or in each of several workers.

The folder holds what a text-encoder training's does (run.json, config.yaml, metrics.jsonl, checkpoints/, manifest.json), and
the averaged weights in every checkpoint. Rows of the run's eval split never train: their loss is the held-out figure.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from negscale.backends.hf_weights import device_of
from negscale.core.backend import Image
from negscale.core.errors import PlanError
from negscale.core.run import fingerprint
from negscale.datasets.images import ImageReader
from negscale.datasets.run import RunSource
from negscale.storage.folder import Folder, open_folder
from negscale.training.batches import ahead
from negscale.training.checkpoint import Checkpoint, Checkpoints
from negscale.training.clip_text import LossError, Progress, Schedule
from negscale.training.editor import Averages, Conditions, evaluate, parted, train, with_averages
from negscale.training.editor_batches import AFTER, BEFORE, RUN, SENTENCES, EditBatch, EditCollator, RunNumbers, resized
from negscale.training.editor_config import EditTrainConfig
from negscale.training.editor_model import EditorParts, EditorUnet, image_latents, load_editor
from negscale.training.engine import Adam, Engine, EngineState, TorchEngine
from negscale.training.features import Vectors
from negscale.training.metrics_log import MetricsLog
from negscale.training.order import Cursor
from negscale.training.reader import HoldoutConfig, Part, RowStream, World, open_streams
from negscale.training.record import claim, finished

Watch = Callable[[Progress], bool | None]  # True asks for a checkpoint now; all workers must answer alike
COLUMNS = ("image", "image_with_object", "image_id", "split", "negative_instruction")
_HELD_OUT = -1  # the epoch number with which held-out rows draw, the same ones at every look
_ENCODED = 8  # pictures of one pass of the autoencoder


@dataclass(frozen=True, slots=True)
class EditData:
    """The rows that train, those of the eval split, and who reads their images (with the object, without)."""

    rows: RowStream
    held_out: RowStream | None
    readers: list[tuple[ImageReader, ImageReader]]

    def lineage(self) -> list[dict[str, Any]]:
        """The runs that were read: name, fingerprint, content digest, rows, weight."""
        return [
            {**source.list().identity, "weight": weight, "uri": source.config.uri}
            for source, weight in zip(self.rows.sources, self.rows.weights, strict=True)
        ]


def open_edit_data(config: EditTrainConfig) -> EditData:
    """The streams. Raises PlanError when a run is unfinished, damaged, of another recipe, or has no row to train on."""
    wanted = [SENTENCES[kind] for kind, part in config.instructions.shares().items() if part]
    there = [set(run.build().schema.names) for run in config.data]
    # runs without an extractor have no sentence of two objects; every other one is there or refused
    columns = [name for name in wanted if name != SENTENCES["two_objects"] or all(name in names for names in there)]
    both, _ = open_streams(
        config.data, list(dict.fromkeys([*COLUMNS, *columns])), config.seed, HoldoutConfig(), config.window_rows
    )
    rows = _of_split(both, "train")
    held = _of_split(both, "eval", config.held_out_rows) if config.held_out_rows else None
    if (count := rows.order(0).rows) < config.batch_rows:
        raise PlanError(
            f"data: {count} rows of split train, fewer than one batch of {config.batch_rows}; lower batch_rows or generate more"
        )
    readers = [(ImageReader(run.edited_root or run.uri, run.image_roots), run.reader()) for run in config.data]
    return EditData(rows, held if held is not None and held.parts else None, readers)


def _of_split(stream: RowStream, split: str, most: int | None = None) -> RowStream:
    """The rows of one split, the first `most` of them; reads one column."""
    parts: list[Part] = []
    left = most
    for part in stream.parts:
        names = stream.sources[part.run].config.model_copy(update={"columns": ("split",)}).build()
        column = names.read(part.shard, None)["split"].to_pylist()
        chosen = np.flatnonzero(np.array([value == split for value in column], bool))[:left].astype(np.uint32)
        if len(chosen):
            parts.append(Part(part.run, part.shard, chosen))
        if left is not None and (left := left - len(chosen)) <= 0:
            break
    weights = stream.weights if split == "train" else [1.0] * len(stream.weights)
    return replace(stream, parts=parts, weights=weights, vectors=dict(stream.vectors))


def make_latents(config: EditTrainConfig, data: EditData, parts: EditorParts, device: str, world: World) -> int:
    """Give the streams their vectors; where latents are to be precomputed, make those that are missing. Returns shards made."""
    streams = [stream for stream in (data.rows, data.held_out) if stream is not None]
    sources: list[RunSource] = list(data.rows.sources)
    if not config.precomputed:
        for stream in streams:
            stream.vectors[RUN] = RunNumbers(sources)
        return 0
    where = open_folder(config.runtime.vectors or f"{config.runtime.run_root.rstrip('/')}/vectors")
    encoder = f"{config.model.backend_id()} latents {config.size_px} {parts.vae.dtype}"
    made = 0
    for name, column, side in ((BEFORE, "image_with_object", 0), (AFTER, "image", 1)):
        roots = [" ".join((pair[side].root, *pair[side].more_roots)) for pair in data.readers]
        vectors = Vectors(where, column, f"{encoder} {roots}", sources, [pair[side] for pair in data.readers])
        made += vectors.ensure(lambda images: _latents(parts, images, config.size_px, device), world)
        for stream in streams:
            stream.vectors[name] = vectors
    return made


@torch.no_grad()
def _latents(parts: EditorParts, images: Any, side_px: int, device: str) -> np.ndarray:
    """float32[N, C * h * w]."""
    channels, latent_px = parts.latent_shape
    found = [np.zeros((0, channels * (side_px // latent_px) ** 2), np.float32)]
    for at in range(0, len(images), _ENCODED):
        some: list[Image] = [resized(image, side_px) for image in images[at : at + _ENCODED]]
        pixels = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        found.append(image_latents(parts.vae, pixels).float().flatten(1).cpu().numpy())
    return np.concatenate(found)


def edit_training_uri(name: str, config: EditTrainConfig) -> str:
    """The folder of a training."""
    return f"{config.runtime.run_root.rstrip('/')}/train/{name}/{config.runtime.version}"


def make_edit_engine(config: EditTrainConfig, module: EditorUnet, device: str) -> Engine:
    """The engine that the config names. Raises ConfigError for a library that is not there."""
    optimiser = config.optimiser
    trained: Any = module  # an engine trains any module with `trainable`
    adam = Adam(optimiser.weight_decay, optimiser.betas, optimiser.eps)
    more: dict[str, Any] = {
        "device": device, "precision": config.precision, "clamp_logit_scale": False,
        "max_grad_norm": optimiser.max_grad_norm,
    }  # fmt: skip
    if config.runtime.engine == "torch":
        return TorchEngine(trained, module.table(), adam, **more)
    from negscale.training.deepspeed_engine import DeepSpeedEngine

    return DeepSpeedEngine(trained, module.table(), adam, **more, config=config.runtime.deepspeed, stages=(0, 1, 2, 3))


def train_editor(
    name: str, config: EditTrainConfig, watch: Watch | None = None, validate_here: bool = True
) -> dict[str, Any]:
    """Train, or go on, in the folder `edit_training_uri`; returns the manifest. Every worker calls this; torch.distributed,
    where it is initialised, says which of them this is. A watch that returns True asks for a checkpoint now.
    validate_here: as for text encoders; there is no validation beside the held-out loss, which is always taken here.

    Raises PlanError when the folder belongs to another training, LossError for a loss that is no number.
    """
    data = open_edit_data(config)
    folder = open_folder(edit_training_uri(name, config))
    device = device_of(config.runtime.device)
    lineage = [{k: v for k, v in run.items() if k != "uri"} for run in data.lineage()]
    identity = {"training": 1, "config": config.identity(), "model": config.model.backend_id(), "data": lineage}
    parts = load_editor(config.model, config.lora, config.runtime.gradient_checkpointing, config.seed)
    _, latent_px = parts.latent_shape
    if config.size_px % latent_px:
        raise PlanError(f"size_px={config.size_px} must be a multiple of the autoencoder's {latent_px} pixels a latent")
    module = EditorUnet(parts.unet)
    engine = make_edit_engine(config, module, device)
    claim(folder, name, identity, config, engine.world.rank == 0)
    if (ended := finished(folder)) is not None:
        return ended
    half = config.precision == "bfloat16" and device.startswith("cuda")
    conditions = Conditions(parts, device, torch.bfloat16 if half else torch.float32)
    make_latents(config, data, parts, device, engine.world)
    return EditSession(config, folder, data, module, engine, conditions, identity, watch).run()


class EditSession:
    """One incarnation of a training: from its newest checkpoint to the end."""

    def __init__(
        self, config: EditTrainConfig, folder: Folder, data: EditData, module: EditorUnet, engine: Engine,
        conditions: Conditions, identity: dict[str, Any], watch: Watch | None,
    ) -> None:  # fmt: skip
        self._config, self._folder, self._data, self._engine = config, folder, data, engine
        self._conditions, self._identity, self._watch = conditions, identity, watch
        self._chief = engine.world.rank == 0
        self._checkpoints = Checkpoints(folder, config.runtime.keep_checkpoints)
        # under ZeRO 3 a parameter is empty between steps, and DeepSpeed says how large it is
        self._trained = sum(getattr(p, "ds_numel", p.numel()) for p in module.trainable().values())
        self._averages = Averages(config.ema, engine.held) if config.ema is not None else None
        self._dtype = torch.float64 if config.precision == "float64" else torch.float32
        self._best, self._held = float("inf"), dict[str, float]()
        self._log: MetricsLog | None = None
        self._began = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the manifest."""
        config, cursor, step = self._config, Cursor(), 0
        if (found := self._newest()) is not None:
            checkpoint, state = found
            self._restore(state)
            step, cursor = checkpoint.step, checkpoint.cursors["rows"]
            self._best = checkpoint.facts.get("best", float("inf"))
            self._held = checkpoint.facts.get("held_out", {})
        steps = self._steps()
        optimiser = config.optimiser
        schedule = Schedule(optimiser.rate, steps, optimiser.warm_up_steps, optimiser.schedule)
        if self._chief:
            self._log = MetricsLog(self._folder, step)
        try:
            if step < steps:
                step = train(
                    ahead(self._batches(cursor)), self._engine, self._conditions, self._dtype, schedule, self._averages,
                    self._report(steps), step,
                )  # fmt: skip
        except LossError as error:
            self._note_failure(error)
            raise
        finally:
            if self._log is not None:
                self._log.close()
        return self._finish(step)

    def _steps(self) -> int:
        epochs = sum(
            -(-self._data.rows.order(epoch).rows // self._config.batch_rows) for epoch in range(self._config.epochs)
        )
        return min(epochs, self._config.max_steps or epochs)

    def _newest(self) -> tuple[Checkpoint, EngineState] | None:
        """The checkpoint to go on from; the first worker chooses, so that all take the same one."""
        found = self._checkpoints.latest() if self._chief else None
        chosen = torch.tensor(found[0].step if found else 0, device=self._engine.device)
        step = int(self._engine.total(chosen))
        return found or (self._checkpoints.load(step) if step else None)

    def _restore(self, state: EngineState) -> None:
        plain, averages = parted(state)
        self._engine.restore(plain)
        if self._averages is not None:
            for name, value in self._engine.share(averages).items():
                self._averages.values[name].copy_(value)

    def _collator(self, stream: RowStream) -> EditCollator:
        channels, latent_px = self._conditions.parts.latent_shape
        side = self._config.size_px // latent_px
        times = self._conditions.parts.scheduler.config.num_train_timesteps
        return EditCollator(self._config, stream, self._data.readers, (channels, side, side), times, self._engine.world)

    def _batches(self, cursor: Cursor) -> Iterator[EditBatch]:
        """Every batch from a position to the end of the last epoch."""
        rows, collate = self._data.rows, self._collator(self._data.rows)
        while cursor.epoch < self._config.epochs:
            for batch in rows.epoch(cursor, self._config.batch_rows, self._engine.world):
                cursor = batch.after
                yield collate(batch)

    def evaluate(self) -> dict[str, float]:
        """The figures of the held-out rows."""
        held = self._data.held_out
        assert held is not None
        collate = self._collator(held)
        batches = held.epoch(Cursor(), self._config.batch_rows, self._engine.world)
        return evaluate((collate(b, _HELD_OUT) for b in batches), self._engine, self._conditions, self._dtype)

    def _report(self, steps: int) -> Callable[[Progress], None]:
        runtime = self._config.runtime

        def report(progress: Progress) -> None:
            last = progress.step == steps
            figures: dict[str, Any] = dict(progress.metrics)
            better = False
            if (progress.epoch_ends or last) and self._data.held_out is not None:
                self._held = self.evaluate()
                figures |= self._held
                better = self._held["held_out_loss"] < self._best
                self._best = min(self._best, self._held["held_out_loss"])
            if self._log is not None and (progress.step % runtime.report_every == 0 or last or progress.epoch_ends):
                self._log.add(progress.step, {"epoch": progress.epoch, **figures})
            due = progress.step % runtime.checkpoint_every == 0 or progress.epoch_ends or last
            if due:
                self._save(progress, better)
            if self._watch is not None:
                told = replace(progress, metrics=figures, epoch_ends=progress.epoch_ends or last)
                if self._watch(told) and not due:
                    self._save(progress, better)

        return report

    def _save(self, progress: Progress, best: bool) -> None:
        state = self._engine.state()
        if self._averages is not None:
            state = with_averages(state, self._engine.whole(self._averages.values))
        if self._chief:
            facts = {"fingerprint": fingerprint(self._identity), "best": self._best, "held_out": self._held}
            self._checkpoints.save(progress.step, state, progress.after, facts, best)
            if self._log is not None:
                self._log.flush()

    def _note_failure(self, error: LossError) -> None:
        """Leave the ids of the whole global batch in the folder, not only this worker's."""
        if self._chief:
            batch = error.batch
            end = batch.after["rows"]
            stop = end.row if end.epoch == batch.epoch else self._data.rows.order(batch.epoch).rows
            ids = self._data.rows.ids(batch.epoch, stop - batch.global_rows, stop)
            record = {"step": error.step, "epoch": batch.epoch, "ids": ids, "message": str(error)}
            self._folder.write("failed_batch.json", json.dumps(record, indent=1).encode())

    def _finish(self, step: int) -> dict[str, Any]:
        manifest = {
            "fingerprint": fingerprint(self._identity), "steps": step, "model": self._identity["model"],
            "data": self._data.lineage(), "config": self._config.identity(), "held_out": self._held,
            "best_step": self._checkpoints.best(), "last_step": step, "workers": self._engine.world.size,
            "trained_parameters": self._trained,
            "seconds": round(time.monotonic() - self._began, 1),
        }  # fmt: skip
        if self._chief:
            self._folder.write("manifest.json", json.dumps(manifest, indent=1).encode())
        return manifest
