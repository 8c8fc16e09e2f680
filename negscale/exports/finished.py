"""A finished run, as exports read it: refused when it is not whole, then streamed shard by shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from negscale.core.errors import PlanError
from negscale.core.run import Manifest
from negscale.storage.parts import Commit, read_part, sum_digests
from negscale.storage.run_folder import RunFolder

_AHEAD = 8  # shards read ahead: hides the latency of object stores, bounds the memory


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote."""

    path: str
    rows: int
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run whose manifest and parts agree."""

    run: RunFolder
    manifest: Manifest
    commits: tuple[Commit, ...]

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Kept rows, shard by shard in the order of the shards' names, rows in the order of their ids."""
        waiting: deque[Future[pa.Table | None]] = deque()
        with ThreadPoolExecutor(_AHEAD) as pool:
            for commit in self.commits:
                waiting.append(pool.submit(read_part, self.run.folder, "data", commit, columns))
                if len(waiting) >= _AHEAD and (table := waiting.popleft().result()) is not None:
                    yield table.replace_schema_metadata(None)
            while waiting:
                if (table := waiting.popleft().result()) is not None:
                    yield table.replace_schema_metadata(None)

    def schema(self) -> pa.Schema:
        """Columns of the kept rows, the envelope included."""
        first = read_part(self.run.folder, "data", self.commits[0])
        assert first is not None  # every commit has a part in data/, be it without rows
        return first.schema.remove_metadata()


def open_finished(run: RunFolder, allow_over_budget: bool = False) -> FinishedRun:
    """The run, ready to export. Raises PlanError when it is unfinished, being changed, or over its quarantine budget."""
    record = run.record()
    manifest = run.manifest()
    if manifest is None:
        listed = len(run.shards()) if run.folder.exists("shards.parquet") else 0
        raise PlanError(
            f"run {record['name']}/{record['version']} in {run.uri} is not finished ({len(run.committed())} of {listed} "
            f"shards are done): run its generate command again, then export"
        )
    if manifest.status == "over_budget" and not allow_over_budget:
        rows = manifest.rows_read + manifest.rows_added
        raise PlanError(
            f"run {manifest.name}/{manifest.version} is over its quarantine budget: {manifest.rows_quarantined} of {rows} "
            f"rows broke. Mend the cause and `negscale retry` the run, or pass --allow-over-budget to export what it kept."
        )
    commits = tuple(run.commits())
    if len(commits) != manifest.shards or sum_digests(c.digest for c in commits) != manifest.content_digest:
        raise PlanError(
            f"the parts of {run.uri} are not those that its manifest.json names: a retry is running or was interrupted; "
            f"let it finish (run the same retry again), then export"
        )
    return FinishedRun(run, manifest, commits)


def require_columns(schema: pa.Schema, wanted: Sequence[str], what: str) -> None:
    """Raise PlanError when the run lacks a column that the export is made of."""
    missing = [name for name in wanted if name not in schema.names]
    if missing:
        raise PlanError(f"{what} needs the columns {missing}; this run has {schema.names}")
