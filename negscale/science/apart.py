"""A recipe that takes out of a finished run what belongs to the tests: refused rows carry the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.config import Config
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Outcome, Reject, Resources, Row, Stage
from negscale.datasets.run import RunConfig
from negscale.pipelines.recipe import Recipe
from negscale.science.sentences import exam_frames
from negscale.science.split import Split, split_objects, why_not

TRAINED_COLUMNS = (
    "image", "image_id", "caption", "negated_caption", "absent_object", "positive_objects", "extracted_objects", "options",
    "answer",
)  # fmt: skip


class KeepApart(Stage):
    """Refuses rows with a cue, a frame or a pair of objects of the tests."""

    name = "keep_apart"
    version = 1
    writes = pa.schema([])
    resources = Resources()

    def __init__(self, split: Split, reads: pa.Schema) -> None:
        self._split, self.reads = split, reads

    def identity(self) -> Mapping[str, Any]:
        return {"groups": [list(group) for group in self._split.groups], "frames": sorted(exam_frames())}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        reasons = [why_not(self._split, exam_frames(), row) for row in rows]
        return [Reject(reason) if reason else {} for reason in reasons]


class ApartConfig(Config):
    """Which run, and which objects belong together in the tests."""

    source: RunConfig
    split_seed: int = 0
    """Seed of `negscale.science.split.split_objects`."""
    runtime: RuntimeConfig = RuntimeConfig()


def apart(config: ApartConfig) -> Pipeline:
    """The run's columns that training reads, without the rows of the tests."""
    source = config.source.build()
    reads = pa.schema([field for field in source.schema if field.name not in ("image", "image_id", "answer")])
    return Pipeline("science/apart", source, (KeepApart(split_objects(config.split_seed), reads),))


def _no_models(config: ApartConfig) -> Mapping[str, Any]:
    return {}


def _as_it_is(config: ApartConfig, listing: Listing) -> ApartConfig:
    return config


APART = Recipe(
    name="science_apart", config=ApartConfig, source=lambda config: config.source.build(), build=apart,
    backends=_no_models, prepare=_as_it_is,
)  # fmt: skip
