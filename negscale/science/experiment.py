"""The experiment: for every seed worlds, data, exams and trainings; for every row of the table its credits, kept on disk.

A seed draws everything anew: the worlds, the split of the objects, the runs, the order of training. A cell (seed, row)
that is there is not computed again, and neither is a run or a training, so that a killed experiment goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from negscale.backends.dual_encoders import HfDualEncoderConfig
from negscale.backends.negation_scoring import (
    NegationAwareConfig,
    NegationScoring,
    ProjectionConfig,
    RepulsionConfig,
    needed_texts,
)
from negscale.benchmarks.pictures import Picture
from negscale.benchmarks.tuning import tune
from negscale.core.config import Config, Location
from negscale.core.errors import PlanError
from negscale.science.data import Made, make_runs
from negscale.science.exams import Exam, ExamSizes, scene_exams
from negscale.science.methods import BASE, BLIND, FREE, ORDER, TRAINED, Tuning, training
from negscale.science.referring import referring_exam
from negscale.science.scoring import blind_credits, credits_of, seen, texts_of, vectors_of
from negscale.science.sentences import exam_frames
from negscale.science.split import Split, breaches, split_objects
from negscale.science.texts import trained_texts
from negscale.tiny_models.files import folder_of
from negscale.training.config import TrainConfig
from negscale.training.export import export_checkpoint
from negscale.training.run import train_run, training_uri

Tell = Callable[[str], None]
_FINE_TUNING, _TEST, _TUNING = 20_000, 30_000, 40_000  # drawn worlds; a seed adds one


class ScienceConfig(Config):
    """One experiment."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    methods: tuple[str, ...] = ORDER
    """Rows of the table."""
    images: int = Field(default=4000, ge=100)
    """Scenes of the fine-tuning data."""
    exams: ExamSizes = ExamSizes()
    tuning: Tuning = Tuning()
    encoder: Location = ""
    """Folder of a transformers CLIP to start from; empty = the tiny encoder of this package."""
    root: Location = "runs/science"
    """Folder below which runs, trainings and cells lie."""
    processes: int = Field(default=0, ge=0)
    """Seeds at work side by side, each with its share of the cores (each takes about 1.3 GB of memory); 0 = all of them."""

    def model(self) -> HfDualEncoderConfig:
        """The CLIP that all rows start from."""
        return HfDualEncoderConfig(model="negscale/tiny-encoder", path=self.encoder or str(folder_of("encoder")))


@dataclass
class Seed:
    """What all rows of one seed share."""

    number: int
    config: ScienceConfig
    tell: Tell

    def __post_init__(self) -> None:
        self.root = f"{self.config.root.rstrip('/')}/seed-{self.number}"
        self.split: Split = split_objects(self.number)
        self._made: Mapping[str, Made] | None = None
        self._exams: list[Exam] | None = None
        self._base = self.config.model().build()
        self._pictures: tuple[dict[Picture, int], np.ndarray] | None = None

    @property
    def exams(self) -> list[Exam]:
        """The exams, made once."""
        if self._exams is None:
            self.tell(f"seed {self.number}: exams")
            sizes, world = self.config.exams, _TEST + self.number
            self._exams = [
                *scene_exams(self.split, self.number, world, sizes),
                referring_exam(self.split, self.root, self.number, world, sizes.referring_scenes),
            ]
        return self._exams

    @property
    def made(self) -> Mapping[str, Made]:
        """The runs that may be trained on, made once."""
        if self._made is None:
            self.tell(f"seed {self.number}: runs")
            self._made = make_runs(self.root, self.number, _FINE_TUNING + self.number, self.config.images)
        return self._made

    def credits(self, name: str) -> pa.Table:
        """The `CREDIT` rows of one row of the table, from its cell where it is there."""
        cell = Path(self.root) / "cells" / f"{name}.parquet"
        if cell.is_file():
            return pq.read_table(cell)
        self.tell(f"seed {self.number}: {name}")
        found = self._credits(name)
        cell.parent.mkdir(parents=True, exist_ok=True)
        partial = cell.with_suffix(".partial")
        pq.write_table(found, partial)
        partial.replace(cell)
        return found

    def _credits(self, name: str) -> pa.Table:
        if name == BLIND:
            return blind_credits(self.exams)
        if name == BASE:
            return self._scored(self.config.model())
        if name == FREE:
            return self._scored(NegationAwareConfig(encoder=self.config.model(), scoring=self._tuned()))
        return self._scored(self._trained(name))

    def _scored(self, model: HfDualEncoderConfig | NegationAwareConfig) -> pa.Table:
        if self._pictures is None:
            self._base.load()
            self._pictures = seen(self._base, self.exams)
        encoder = model.build()
        encoder.load()
        found = credits_of(self.exams, vectors_of(self._pictures, texts_of(self.exams), encoder))
        encoder.close()
        return found

    def _trained(self, name: str) -> HfDualEncoderConfig:
        """Train, and give the checkpoint as transformers reads it. Raises PlanError where the split does not hold."""
        config = training(
            TRAINED[name], self.made, self.config.model(), self.config.tuning, self.number, self.root, "v1"
        )
        check_split(self.split, config)
        train_run(name, config)
        out = Path(self.root) / "exports" / name
        if out.is_dir():
            shutil.rmtree(out)
        export_checkpoint(training_uri(name, config), "clip", str(out))
        return HfDualEncoderConfig(model=f"science/{name}", path=str(out))

    def _tuned(self) -> NegationScoring:
        """Kind and value of the training-free scorer, chosen on questions about a world of its own."""
        sizes = self.config.exams
        exam = scene_exams(self.split, self.number, _TUNING + self.number, sizes)[2]
        self._base.load()
        pictures = seen(self._base, [exam])
        kinds = (RepulsionConfig(), ProjectionConfig())
        texts = sorted({text for kind in kinds for text in needed_texts(texts_of([exam]), kind)})
        vectors = vectors_of(pictures, texts, self._base)
        tried = [tune(kind, exam.items, vectors) for kind in kinds]
        return max(tried, key=lambda tuned: tuned.credit).scoring


def check_split(split: Split, config: TrainConfig) -> None:
    """Raise PlanError when a text of this training, made ones included, has a cue, frame or pair of the tests."""
    if found := breaches(split, exam_frames(), trained_texts(config)):
        reason, texts = next(iter(found.items()))
        raise PlanError(f"{len(texts)} fine-tuning texts belong to the tests ({reason}), the first is {texts[0]!r}")


def run(config: ScienceConfig, tell: Tell) -> dict[str, dict[int, pa.Table]]:
    """Row -> seed -> `CREDIT` rows. Raises PlanError for a method that there is not, or a folder of another experiment."""
    if unknown := [name for name in config.methods if name not in ORDER]:
        raise PlanError(f"no row is called {unknown[0]!r}; there are {', '.join(ORDER)}")
    _claim(config)
    found: dict[str, dict[int, pa.Table]] = {name: {} for name in config.methods}
    for number, cells in zip(config.seeds, _cells(config, tell), strict=True):
        for name, table in cells.items():
            found[name][number] = table
    return found


def _cells(config: ScienceConfig, tell: Tell) -> Iterator[dict[str, pa.Table]]:
    """Row -> `CREDIT` rows of every seed, in the order of the seeds."""
    cores = len(os.sched_getaffinity(0))
    processes = min(config.processes or len(config.seeds), len(config.seeds))
    if processes < 2:
        yield from (_of_seed(config, number, 0, tell) for number in config.seeds)
        return
    # spawned and not forked: torch's threads do not live through a fork
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        share = max(1, cores // processes)
        waiting = [pool.submit(_of_seed, config, number, share) for number in config.seeds]
        for number, one in zip(config.seeds, waiting, strict=True):
            yield one.result()
            tell(f"seed {number}: done")


def _of_seed(config: ScienceConfig, number: int, threads: int, tell: Tell | None = None) -> dict[str, pa.Table]:
    """All cells of one seed. threads: of torch; 0 leaves them as they are."""
    if threads:
        from negscale.models.threads import use_threads

        use_threads(threads)
    seed = Seed(number, config, tell or _to_stderr)
    return {name: seed.credits(name) for name in config.methods}


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _claim(config: ScienceConfig) -> None:
    """Note what the folder holds, or refuse one whose cells are of another experiment; seeds and rows may be added."""
    facts = {name: value for name, value in config.identity().items() if name not in ("seeds", "methods", "processes")}
    facts = json.loads(json.dumps({**facts, "model_id": config.model().build().id}))
    path = Path(config.root) / "experiment.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts, indent=1) + "\n")
    elif (held := json.loads(path.read_text())) != facts:
        other = sorted(name for name in {*held, *facts} if held.get(name) != facts.get(name))
        raise PlanError(f"{config.root} holds another experiment (other {', '.join(other)}); name another root")
