"""The kept rows of a finished run as the input of another recipe.

Only committed parts of the highest generation count; what a killed or losing writer left does not. The run's fingerprint
and the digest of its content bear identity, so that a run that was retried since is another input.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import pyarrow as pa

from negscale.core.config import Config, Location, Locations
from negscale.core.errors import AuditError, ConfigError, PlanError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import ENVELOPE, extend
from negscale.datasets.images import ImageReader
from negscale.storage.parts import read_commit, read_part, sum_digests
from negscale.storage.run_folder import RunFolder


class RunConfig(Config):
    """A run folder that is complete."""

    kind: Literal["run"] = "run"
    uri: Location
    """The run folder that `negscale generate` printed."""
    columns: tuple[str, ...] = ()
    """Columns to take; empty = all. A recipe refuses columns that it writes itself: leave those out."""
    image_root: Location = ""
    """Folder that the rows' images are relative to: empty = the run folder (right for `fetch`), else that run's
    source.root."""
    image_roots: Locations = ()
    """Further folders in which absolute image names may lie."""
    allow_over_budget: bool = False
    """Read a run in which more rows broke than its budget allows."""

    def build(self) -> RunSource:
        """The source."""
        return RunSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.image_root or self.uri, self.image_roots)


class RunSource:
    """Rows with the ids that they have in the run; a shard for each shard there that kept any."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self._schema: pa.Schema | None = None

    def __reduce__(self) -> tuple[type[RunSource], tuple[RunConfig]]:
        return RunSource, (self.config,)

    @property
    def schema(self) -> pa.Schema:
        """Columns of the run's data without the envelope, read from one part. Raises PlanError, ConfigError."""
        if self._schema is None:
            run = RunFolder(self.config.uri)
            run.record()
            generations = run.committed()
            if not generations:
                raise PlanError(f"source.uri: run {run.uri} has no finished shard; finish it with negscale generate")
            shard = min(generations)
            part = read_part(run.folder, "data", read_commit(run.folder, shard, generations[shard]))
            assert part is not None  # every commit has a part in data/, be it without rows
            there = [field for field in part.schema.remove_metadata() if field.name not in ENVELOPE.names]
            self._schema = _chosen(pa.schema(there), self.config.columns, run.uri)
        return self._schema

    def list(self) -> Listing:
        """The shards that kept rows. Raises PlanError unless the run is complete and its parts agree with its manifest."""
        run = RunFolder(self.config.uri)
        record, manifest = run.record(), run.manifest()
        if manifest is None:
            done, of = len(run.committed()), len(run.shards()) if run.folder.exists("shards.parquet") else 0
            raise PlanError(
                f"source.uri: run {run.uri} is not finished ({done} of {of} shards); finish it with negscale generate first"
            )
        if manifest.status == "over_budget" and not self.config.allow_over_budget:
            raise PlanError(
                f"source.uri: run {run.uri} is over its quarantine budget ({manifest.rows_quarantined} rows broke); mend it "
                f"with negscale retry, or set source.allow_over_budget=true"
            )
        commits = run.commits()
        if sum_digests(c.digest for c in commits) != manifest.content_digest or len(commits) != manifest.shards:
            raise PlanError(
                f"source.uri: the parts of run {run.uri} are not those of its manifest (a retry in progress, or a damaged "
                f"folder): see negscale status and negscale audit"
            )
        if not manifest.rows_kept:
            raise PlanError(f"source.uri: run {run.uri} kept no row: see negscale status {run.uri}")
        shards = tuple(
            Shard(c.shard, c.kept, json.dumps({"generation": c.generation, "attempt": c.attempt}))
            for c in commits
            if c.kept
        )
        identity = {
            "run": record["name"], "run_fingerprint": record["fingerprint"], "content_digest": manifest.content_digest,
            "rows": manifest.rows_kept,
        }  # fmt: skip
        return Listing(shards, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The kept rows of a shard. Raises AuditError when the run changed since it was listed."""
        where: dict[str, Any] = json.loads(shard.where)
        folder = RunFolder(self.config.uri).folder
        try:
            commit = read_commit(folder, shard.name, where["generation"])
        except FileNotFoundError:
            commit = None
        if commit is None or commit.attempt != where["attempt"]:
            raise AuditError(
                f"run {folder.uri} changed since it was listed (shard {shard.name!r}); start under another version=NAME"
            )
        wanted = extend(ENVELOPE, self.schema)
        table = read_part(folder, "data", commit, wanted.names)
        assert table is not None
        return table.replace_schema_metadata(None).cast(wanted)


def _chosen(schema: pa.Schema, columns: tuple[str, ...], uri: str) -> pa.Schema:
    for name in columns:
        if name not in schema.names:
            raise ConfigError(f"source.columns: run {uri} has no column {name!r}; its columns are {schema.names}")
    return pa.schema([schema.field(name) for name in columns]) if columns else schema
