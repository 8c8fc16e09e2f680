"""Source, pipeline and the plan that checks every column before a worker starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from negscale.core.errors import PlanError
from negscale.core.explode import Explode, apply_explode
from negscale.core.schema import ENVELOPE, extend
from negscale.core.stage import Stage, apply_stage, set_column


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work, of commit and of resume, named by the source."""

    name: str  # safe as a file name; depends on the input alone
    rows: int  # rows that `read` will give
    where: str = ""  # for the source's eyes only (JSON), e.g. file and row range


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds, listed once on the driver when a run starts."""

    shards: tuple[Shard, ...]
    identity: Mapping[str, Any]  # names, sizes or hashes of the input: bears identity, whatever folder it lies in
    index: pa.Table | None = None  # rows of a source whose metadata is one big file; stored in the run folder

    @property
    def rows(self) -> int:
        """Rows over all shards."""
        return sum(shard.rows for shard in self.shards)


class Source(Protocol):
    """Rows with stable ids, divided into logical shards.

    Sources whose metadata is one file (COCO JSON, a captions CSV) give it as `Listing.index`, with shard number i
    being rows [i * shard_rows, (i + 1) * shard_rows); the executor hands `read` that slice, so that no worker
    parses the whole file. Other sources get `index=None` and read their own files.
    """

    @property
    def schema(self) -> pa.Schema: ...  # columns of `read`, without the envelope

    def list(self) -> Listing: ...  # driver only

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The envelope and `schema`'s columns. A bad row comes with `quarantine` set; no row is left out."""
        ...


Step = Stage | Explode


def apply_step(step: Step, table: pa.Table, number: int = 0) -> pa.Table:
    """One step of a pipeline on the rows of one shard."""
    return apply_explode(step, table, number) if isinstance(step, Explode) else apply_stage(step, table, number)


@dataclass(frozen=True)
class Pipeline:
    """A source and the steps that its rows go through."""

    name: str  # "negationclip/p1"
    source: Source
    steps: tuple[Step, ...]
    facts: Mapping[str, str] = field(default_factory=dict)  # role -> backend id with revision, for the manifest

    def plan(self) -> pa.Schema:
        """Check each column of each step before any worker starts; return the output schema."""
        try:
            schema = extend(ENVELOPE, self.source.schema)
            names: set[str] = set()
            for step in self.steps:
                if step.name in names:
                    raise PlanError(f"two steps are named {step.name!r}; give one of them another name")
                names.add(step.name)
                schema = _after(step, schema)
        except ValueError as error:
            raise PlanError(f"pipeline {self.name!r}: {error}") from error
        return schema

    def step_number(self, name: str) -> int:
        """Position of the step called `name`; 0 for names that are no step (a row that broke while being read)."""
        return next((i for i, step in enumerate(self.steps) if step.name == name), 0)


def _after(step: Step, schema: pa.Schema) -> pa.Schema:
    if isinstance(step, Explode):
        if step.column not in schema.names:
            raise PlanError(f"explode reads {step.column!r}; upstream has {schema.names}")
        type_ = schema.field(step.column).type
        if not pa.types.is_list(type_):
            raise PlanError(f"explode needs a list in {step.column!r}, upstream writes {type_}")
        return extend(schema, pa.schema([(step.into, type_.value_type)]))
    for column in step.reads:
        if column.name not in schema.names:
            raise PlanError(f"stage {step.name!r} reads {column.name!r}; upstream has {schema.names}")
        if (found := schema.field(column.name).type) != column.type:
            raise PlanError(f"stage {step.name!r} reads {column.name!r} as {column.type}, upstream writes {found}")
    return extend(schema, step.writes)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly `schema`'s columns in order; absent ones become null."""
    for column in schema:
        if column.name not in table.column_names:
            table = set_column(table, column, pa.nulls(len(table), column.type))
    return table.select(schema.names).cast(schema)


PipelineFactory = Callable[[], Pipeline]  # small and picklable: workers build their own stages from the config
