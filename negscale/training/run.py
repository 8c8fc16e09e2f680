"""A whole training in a folder: read, embed, train, checkpoint, resume. The same function runs alone and in each Ray worker.

The folder holds run.json (identity and fingerprint), config.yaml, metrics.jsonl, checkpoints/, and manifest.json, written
last, with the lineage: data runs with their fingerprints, model, figures. The same command on it goes on where it stood.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from negscale.backends.hf_weights import device_of
from negscale.core.errors import PlanError
from negscale.core.run import fingerprint
from negscale.models.freezing import text_encoder_only
from negscale.models.towers import TextEncoder
from negscale.storage.folder import Folder, open_folder
from negscale.training.batches import Batch, Collator, ahead, collated
from negscale.training.checkpoint import Checkpoint, Checkpoints
from negscale.training.clip_text import LossError, Progress, Schedule, evaluate, train
from negscale.training.config import TrainConfig
from negscale.training.engine import Adam, Engine, EngineState, TorchEngine
from negscale.training.features import Vectors
from negscale.training.loading import load_text_encoder
from negscale.training.metrics_log import MetricsLog
from negscale.training.objectives import QUESTION_COLUMNS, Objective
from negscale.training.order import Cursor
from negscale.training.reader import RowStream, World, open_streams
from negscale.training.record import claim, finished
from negscale.training.validation import Probe, encode_texts, note_validation

Watch = Callable[[Progress], bool | None]  # True asks for a checkpoint now; all workers must answer alike
CURSORS = {"rows": Cursor(), "questions": Cursor()}


@dataclass(frozen=True, slots=True)
class Data:
    """The streams of a training."""

    rows: RowStream
    held_out: RowStream | None
    questions: RowStream | None

    @property
    def streams(self) -> list[RowStream]:
        """All there are."""
        return [stream for stream in (self.rows, self.held_out, self.questions) if stream is not None]

    def lineage(self) -> list[dict[str, Any]]:
        """The runs that were read: name, fingerprint, content digest, rows, weight."""
        read = [self.rows, *([self.questions] if self.questions else [])]
        return [
            {**source.list().identity, "weight": weight, "uri": source.config.uri}
            for stream in read
            for source, weight in zip(stream.sources, stream.weights, strict=True)
        ]


def open_data(config: TrainConfig) -> Data:
    """The rows, held-out rows and questions. Raises PlanError when a run is unfinished, damaged or of the wrong recipe."""
    objective: Objective = config.objective
    base = ["image", "image_id", *objective.columns]
    there = [set(run.build().schema.names) for run in config.data]
    more = [name for name in objective.optional_columns if there and all(name in names for names in there)]
    rows, held = open_streams(config.data, [*base, *more], config.seed, config.holdout, config.window_rows)
    questions = None
    if objective.uses_questions:
        columns = ["image", "image_id", *QUESTION_COLUMNS]
        questions, _ = open_streams(config.questions, columns, config.seed + 1, config.holdout, config.window_rows)
    _enough(rows, config.batch_rows, "data")
    if questions is not None:
        _enough(questions, 1, "questions")
    if held is not None:
        _enough(held, 2, "the holdout")
    return Data(rows, held, questions)


def _enough(stream: RowStream, least: int, what: str) -> None:
    rows = stream.order(0).rows
    if rows < least:
        raise PlanError(f"{what}: {rows} rows, fewer than one batch of {least}; lower batch_rows or generate more")


def identity_of(config: TrainConfig, data: Data) -> dict[str, Any]:
    """Everything that bears on the weights: config, model files, content of the runs."""
    lineage = [{k: v for k, v in run.items() if k != "uri"} for run in data.lineage()]
    return {"training": 1, "config": config.identity(), "model": config.model.build().id, "data": lineage}


def training_uri(name: str, config: TrainConfig) -> str:
    """The folder of a training."""
    return f"{config.runtime.run_root.rstrip('/')}/train/{name}/{config.runtime.version}"


def embed(config: TrainConfig, data: Data, world: World) -> int:
    """Embed what the runs show (and what captions were before training) where that was not done yet; returns shards made."""
    where = config.runtime.vectors or f"{config.runtime.run_root.rstrip('/')}/vectors"
    encoder = config.model.build()
    made, loaded = 0, False
    for stream in data.streams:
        kinds = {"image": "image"}
        if config.objective.uses_before and stream is not data.questions:
            kinds["before"] = "caption"
        for name, column in kinds.items():
            vectors = Vectors(open_folder(where), column, f"{encoder.id} {config.model.dtype}", stream.sources)
            stream.vectors[name] = vectors
            if not vectors.missing():
                continue
            if not loaded:
                encoder.load()
                loaded = True
            made += vectors.ensure(encoder.encode_images if column == "image" else encoder.encode_texts, world)
    encoder.close()
    return made


def total_steps(config: TrainConfig, rows: RowStream) -> int:
    """Steps of the whole training."""
    epochs = sum(-(-rows.order(epoch).rows // config.batch_rows) for epoch in range(config.epochs))
    return min(epochs, config.max_steps or epochs)


def batches_from(
    config: TrainConfig, data: Data, collate: Collator, cursors: dict[str, Cursor], world: World
) -> Iterator[Batch]:
    """Every batch from a position to the end of the last epoch, made ahead in the background."""

    def epochs() -> Iterator[Any]:
        cursor = cursors["rows"]
        while cursor.epoch < config.epochs:
            for batch in data.rows.epoch(cursor, config.batch_rows, world):
                cursor = batch.after
                yield batch

    questions = None
    if data.questions is not None:
        questions = data.questions.endless(cursors["questions"], config.question_rows, world)
    return ahead(collated(collate, epochs(), questions))


def make_engine(config: TrainConfig, encoder: TextEncoder, device: str) -> Engine:
    """The engine that the config names. Raises ConfigError for a library that is not there."""
    optimiser = config.optimiser
    table = text_encoder_only(encoder.model, config.freeze, optimiser.decay_everything)
    adam = Adam(optimiser.weight_decay, optimiser.betas, optimiser.eps)
    more: dict[str, Any] = {
        "device": device, "precision": config.precision, "clamp_logit_scale": optimiser.clamp_logit_scale,
        "max_grad_norm": optimiser.max_grad_norm,
    }  # fmt: skip
    if config.runtime.engine == "torch":
        return TorchEngine(encoder, table, adam, **more)
    from negscale.training.deepspeed_engine import DeepSpeedEngine

    return DeepSpeedEngine(encoder, table, adam, **more, config=config.runtime.deepspeed)


def train_run(name: str, config: TrainConfig, watch: Watch | None = None, validate_here: bool = True) -> dict[str, Any]:
    """Train, or go on, in the folder `training_uri`; returns the manifest. Every worker calls this; torch.distributed,
    where it is initialised, says which of them this is. validate_here: False where somebody else validates checkpoints.

    Raises PlanError when the folder belongs to another training, LossError for a loss that is no number.
    """
    data = open_data(config)
    folder = open_folder(training_uri(name, config))
    identity = identity_of(config, data)
    if (manifest := finished(folder)) is not None:
        claim(folder, name, identity, config, chief=False)  # is it this training's?
        return manifest
    encoder, tokenizer, width = load_text_encoder(config.model)
    engine = make_engine(config, encoder, device_of(config.runtime.device))
    claim(folder, name, identity, config, chief=engine.world.rank == 0)
    embed(config, data, engine.world)
    collate = Collator(config.objective, tokenizer, width, config.seed)
    probe = None
    if validate_here and config.runtime.validation != "off" and data.held_out is not None:
        probe = Probe(data.held_out, config.runtime.validation_rows, config.holdout.seed)
        if not probe.kinds:
            probe = None
    pins = not validate_here and config.runtime.validation != "off" and data.held_out is not None
    return Session(config, folder, data, collate, engine, identity, watch, probe, pins).run()


class Session:
    """One incarnation of a training: from its newest checkpoint to the end."""

    def __init__(
        self, config: TrainConfig, folder: Folder, data: Data, collate: Collator, engine: Engine,
        identity: dict[str, Any], watch: Watch | None, probe: Probe | None = None, pins: bool = False,
    ) -> None:  # fmt: skip
        """probe: what is asked after every epoch. pins: checkpoints of epochs wait for somebody else to ask it."""
        self._config, self._folder, self._data, self._collate, self._engine = config, folder, data, collate, engine
        self._identity, self._watch, self._probe, self._pins = identity, watch, probe, pins
        self._chief = engine.world.rank == 0
        self._checkpoints = Checkpoints(folder, config.runtime.keep_checkpoints)
        self._best = float("inf")
        self._held: dict[str, float] = {}
        self._log: MetricsLog | None = None
        self._began = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the manifest."""
        config, world = self._config, self._engine.world
        cursors, step = dict(CURSORS), 0
        if (found := self._newest()) is not None:
            checkpoint, state = found
            self._engine.restore(state)
            step, cursors = checkpoint.step, {**CURSORS, **checkpoint.cursors}
            self._best = checkpoint.facts.get("best", float("inf"))
            self._held = checkpoint.facts.get("held_out", {})
        steps = total_steps(config, self._data.rows)
        optimiser = config.optimiser
        schedule = Schedule(optimiser.rate, steps, optimiser.warm_up_steps, optimiser.schedule)
        if self._chief:
            self._log = MetricsLog(self._folder, step)
        try:
            if step < steps:
                batches = batches_from(config, self._data, self._collate, cursors, world)
                step = train(batches, self._engine, config.objective, schedule, self._report(steps), step)
        except LossError as error:
            self._note_failure(error)
            raise
        finally:
            if self._log is not None:
                self._log.close()
        return self._finish(step)

    def _newest(self) -> tuple[Checkpoint, EngineState] | None:
        """The checkpoint to go on from; the first worker chooses, so that all take the same one."""
        found = self._checkpoints.latest() if self._chief else None
        chosen = torch.tensor(found[0].step if found else 0, device=self._engine.device)
        step = int(self._engine.total(chosen))
        return found or (self._checkpoints.load(step) if step else None)

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
            if (progress.epoch_ends or last) and self._probe is not None:
                figures |= self._validate(self._probe, progress.step)
            if self._log is not None and (progress.step % runtime.report_every == 0 or last or progress.epoch_ends):
                self._log.add(progress.step, {"epoch": progress.epoch, **figures})
            due = progress.step % runtime.checkpoint_every == 0 or progress.epoch_ends or last
            told = replace(progress, metrics=figures, epoch_ends=progress.epoch_ends or last)
            if due:
                self._save(told, better)
            if self._watch is not None and self._watch(told) and not due:
                self._save(told, better)

        return report

    def evaluate(self) -> dict[str, float]:
        """The figures of the held-out rows."""
        config, held = self._config, self._data.held_out
        assert held is not None
        rows = held.epoch(Cursor(), config.batch_rows, self._engine.world)
        questions = None
        if self._data.questions is not None:
            questions = self._data.questions.endless(Cursor(), config.question_rows, self._engine.world)
        batches = (self._collate(batch, next(questions) if questions else None) for batch in rows)
        return evaluate(batches, self._engine, config.objective)

    def _validate(self, probe: Probe, step: int) -> dict[str, float]:
        figures = probe.figures(lambda texts: encode_texts(self._engine, self._collate.tokenizer, texts))
        if self._chief:
            note_validation(self._folder, step, figures)
        return figures

    def _save(self, progress: Progress, best: bool) -> None:
        state = self._engine.state()
        if self._chief:
            facts = {"fingerprint": fingerprint(self._identity), "best": self._best, "held_out": self._held}
            pinned = self._pins and progress.epoch_ends
            self._checkpoints.save(progress.step, state, progress.after, facts, best, pinned)
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
            "fingerprint": fingerprint(self._identity), "steps": step,
            "model": self._identity["model"], "data": self._data.lineage(), "config": self._config.identity(),
            "held_out": self._held, "best_step": self._checkpoints.best(), "last_step": step,
            "workers": self._engine.world.size, "seconds": round(time.monotonic() - self._began, 1),
        }  # fmt: skip
        if self._chief:
            self._folder.write("manifest.json", json.dumps(manifest, indent=1).encode())
        return manifest
