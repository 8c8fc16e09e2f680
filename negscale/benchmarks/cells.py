"""What `negscale eval all` leaves behind, one JSON a cell: the contract between an evaluation and whoever shows it.

A folder holds ``suite.json`` (what was asked and found), ``items/BENCHMARK/MODEL.parquet`` (a row an item),
``cells/BENCHMARK/MODEL.json`` (every score of one model on one benchmark, beside its controls and the published figures)
and ``paired/BENCHMARK.json`` (which differences between models are more than luck). The released evaluators print a line
and forget the items; here every number can be traced back to them. A value that is no number is null in the files and NaN
in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isfinite, nan
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from negscale.benchmarks.evaluation import Score
from negscale.core.benchmark import Estimate
from negscale.core.errors import AuditError, ConfigError
from negscale.storage.folder import Folder, open_folder

SUITE = "suite.json"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SuiteModel:
    """One model of a suite: a dual encoder with the way it scores a text."""

    key: str  # file-name safe and unique in the suite
    id: str  # of the encoder, weights included: "open_clip/ViT-B-32@openai"
    scorer: str  # "cosine", or a training-free scorer with its numbers: "repulsion(cosine=0.92, ...)"
    backend: Mapping[str, Any] = field(default_factory=dict)  # the config as it was given
    name: str = ""  # as the user calls it; the key where nothing was said


@dataclass(frozen=True, slots=True)
class NotScored:
    """A benchmark that a model cannot be put to, and why."""

    benchmark: str
    model: str
    why: str


@dataclass(frozen=True, slots=True)
class AbsentBenchmark:
    """A benchmark that the data root lacks."""

    benchmark: str
    advice: str  # which file, and how to get it


@dataclass(frozen=True, slots=True)
class Gain:
    """Value of the model minus the strongest blind control over the same items, in the control's unit."""

    over: str
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Published:
    """One published figure of a benchmark, in the unit of the run's own."""

    model: str
    score: str  # "accuracy", "accuracy/hybrid", "text_to_image/recall@5"
    value: float
    source: str  # citation
    faults: tuple[str, ...] = ()
    evidence: str = ""  # how it was read: paper, file, figure, secondary


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one benchmark."""

    benchmark: str
    benchmark_version: int
    paper: str
    task: str
    model: str  # key
    model_id: str
    scorer: str
    items: int
    missing: int  # items without a score: an image that is not there, a vector that is not finite
    notes: Mapping[str, int]  # what was noticed, by kind, with its count
    skipped: Mapping[str, str]  # control -> why it did not run
    scores: tuple[Score, ...]  # overall, by type, and by the released protocol; the first is the headline
    controls: Mapping[str, Estimate]
    gain: Gain | None = None
    reference: tuple[Published, ...] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)  # embeddings, files, weights, training
    faults: tuple[str, ...] = ()  # known faults of the released file or its scorer

    @property
    def headline(self) -> Score:
        """The score that stands in the table of models and benchmarks: accuracy, group score or recall@5 of images."""
        return headline(self.task, self.scores)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models on the same items: value of b minus a with its interval, and a test of "neither is better"."""

    a: str
    b: str
    score: str
    difference: float
    low: float
    high: float
    p: float
    test: str  # "mcnemar" (exact, of credits) or "paired bootstrap" (over images)


@dataclass(frozen=True, slots=True)
class Suite:
    """A finished evaluation, read from its folder."""

    uri: str
    data_root: str
    image_root: str
    models: tuple[SuiteModel, ...]
    benchmarks: tuple[str, ...]
    absent: tuple[AbsentBenchmark, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    not_scored: tuple[NotScored, ...] = ()  # these have no cell
    negscale: str = ""
    seed: int = 0
    cells: Mapping[tuple[str, str], Cell] = field(default_factory=dict)  # (benchmark, model key)
    paired: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)

    def items(self, benchmark: str, model: str) -> pa.Table:
        """The rows of one cell: `negscale.benchmarks.scoring`'s columns, then `image`, `texts` and what else the items have.

        Raises AuditError when the file is damaged or not there.
        """
        path = items_path(benchmark, model)
        try:
            return pq.read_table(pa.BufferReader(open_folder(self.uri).read(path)))
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise AuditError(f"{self.uri}/{path} cannot be read ({error}); run the evaluation again") from error


HEADLINES = {"retrieve": "text_to_image/recall@5", "two_by_two": "group_score"}  # other tasks: accuracy


def headline(task: str, scores: tuple[Score, ...]) -> Score:
    """The score that sums up a cell; the first where the task names none. Raises ValueError without any score."""
    if not scores:
        raise ValueError(f"a cell of task {task!r} has no score")
    wanted = HEADLINES.get(task, "accuracy")
    return next((score for score in scores if score.name == wanted), scores[0])


def cell_path(benchmark: str, model: str) -> str:
    """Where a cell lies in the folder."""
    return f"cells/{benchmark}/{model}.json"


def items_path(benchmark: str, model: str) -> str:
    """Where the rows of a cell lie in the folder."""
    return f"items/{benchmark}/{model}.parquet"


def paired_path(benchmark: str) -> str:
    """Where the tests between models lie in the folder."""
    return f"paired/{benchmark}.json"


def write_cell(folder: Folder, cell: Cell) -> None:
    """Put one cell into the folder, whole or not at all."""
    folder.write(cell_path(cell.benchmark, cell.model), as_json(asdict(cell)))


def write_paired(folder: Folder, benchmark: str, pairs: tuple[Pair, ...]) -> None:
    """Put the tests of one benchmark into the folder."""
    folder.write(paired_path(benchmark), as_json([asdict(pair) for pair in pairs]))


def write_suite(folder: Folder, suite: Suite) -> None:
    """Put ``suite.json`` into the folder; last, so that it stands only beside whole cells."""
    facts = {name: value for name, value in asdict(suite).items() if name not in ("uri", "cells", "paired")}
    folder.write(SUITE, as_json(facts))


def suite_json(suite: Suite) -> bytes:
    """A suite with all its cells and tests as one JSON object, cells as a list."""
    facts = asdict(replace(suite, cells={}))
    return as_json({**facts, "cells": [asdict(cell) for cell in suite.cells.values()]})


def read_suite(uri: str) -> Suite:
    """The evaluation in a folder or URI. Raises ConfigError when there is none, AuditError for what is damaged."""
    folder = open_folder(uri.rstrip("/"))
    if not folder.exists(SUITE):
        raise ConfigError(
            f"{uri} holds no {SUITE}; give the folder that `negscale eval all` wrote, and let it finish first"
        )
    facts = _read(folder, SUITE, dict[str, Any])
    without = {(one["benchmark"], one["model"]) for one in facts.get("not_scored", ())}
    cells: dict[tuple[str, str], Cell] = {}
    paired: dict[str, tuple[Pair, ...]] = {}
    for benchmark in facts["benchmarks"]:
        for model in facts["models"]:
            if (benchmark, model["key"]) not in without:
                cells[benchmark, model["key"]] = _read(folder, cell_path(benchmark, model["key"]), Cell)
        if folder.exists(paired_path(benchmark)):
            paired[benchmark] = _read(folder, paired_path(benchmark), tuple[Pair, ...])
    return _valid({**facts, "uri": folder.uri, "cells": cells, "paired": paired}, Suite, f"{uri}/{SUITE}")


def as_json(facts: Any) -> bytes:
    """Sorted and indented JSON; numbers that are not finite are null."""
    return (json.dumps(_finite(facts), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _read(folder: Folder, path: str, kind: type[_T]) -> _T:
    try:
        value = json.loads(folder.read(path))
    except (FileNotFoundError, ValueError) as error:
        raise AuditError(f"{folder.uri}/{path} cannot be read ({error}); run the evaluation again") from error
    return _valid(_numbers(value), kind, f"{folder.uri}/{path}")


def _valid(value: Any, kind: type[_T], where: str) -> _T:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise AuditError(
            f"{where}: {place}: {first['msg']}; it was written by another version or changed by hand"
        ) from None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _numbers(value: Any) -> Any:
    """Nulls under "value" become NaN again: an estimate over no item has no value, but it has a count."""
    if isinstance(value, dict):
        return {key: nan if key == "value" and inner is None else _numbers(inner) for key, inner in value.items()}
    return [_numbers(inner) for inner in value] if isinstance(value, list) else value
