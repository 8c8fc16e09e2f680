"""Vectors of one encoder below a folder shared by many: the finished embed runs there, read by content.

A run holds the things that no run before it held, so that a benchmark that is added later costs its own pictures and texts
only. The layout is that of every run (parts, manifest, quarantine): `negscale status`, `audit` and `retry` work on it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.errors import AuditError, PlanError
from negscale.core.stage import Fault
from negscale.datasets.things import digest_of
from negscale.storage.folder import Folder, open_folder
from negscale.storage.run_folder import RunFolder

RUN = "embed"  # name of the runs, as the recipe's


@dataclass(frozen=True)
class StoredVectors:
    """What a store has of the things that were asked for."""

    rows: Mapping[str, int]  # id of a thing -> row
    vectors: np.ndarray  # float32[n, D]
    cut: np.ndarray  # bool[n]: texts of which the model read only the beginning
    faults: Mapping[str, Fault] = field(default_factory=dict)  # id -> why it has no vector
    runs: tuple[str, ...] = ()  # URIs of the runs that held any of them


class EmbeddingStore:
    """Vectors of one encoder."""

    def __init__(self, root: str, encoder_id: str, identity: Mapping[str, Any] | None = None, version: int = 1) -> None:
        """identity: what else bears on its vectors (precision); version: of how pictures become pixels."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", encoder_id)[:60]
        facts = json.dumps([encoder_id, identity or {}, version], sort_keys=True)
        digest = sha256(facts.encode()).hexdigest()[:12]
        self.encoder_id = encoder_id
        self.folder: Folder = open_folder(f"{root.rstrip('/')}/{slug}-{digest}")

    @property
    def uri(self) -> str:
        """Where the runs lie, as RUN/VERSION."""
        return self.folder.uri

    def put(self, things: pa.Table) -> tuple[str, str]:
        """Keep a list of things for a run; returns (version of the run, URI of the list). Equal lists have equal versions."""
        version = digest_of(things)[:16]
        buffer = io.BytesIO()
        pq.write_table(things, buffer, compression="zstd")
        path = f"things/{version}.parquet"
        self.folder.write(path, buffer.getvalue())  # image names may have changed under equal contents
        return version, f"{self.uri}/{path}"

    def known(self) -> set[str]:
        """Ids of all things that a finished run held, those that broke included: `negscale retry` mends them."""
        return {
            name
            for run in self._finished()
            for kind in ("data", "quarantine")
            for _, table in run.tables(kind, ["id"])
            for name in table["id"].to_pylist()
        }

    def load(self, wanted: Collection[str]) -> StoredVectors:
        """The vectors of those of `wanted` that are there. Raises AuditError for a damaged part, PlanError for mixed sizes."""
        asked = wanted if isinstance(wanted, (set, frozenset)) else set(wanted)
        place: dict[str, int] = {}
        faults: dict[str, Fault] = {}
        parts: list[np.ndarray] = []
        cut: list[bool] = []
        runs = []
        for run in self._finished():
            before = len(place) + len(faults)
            for _, table in run.tables("data", ["id", "vector", "text_cut"]):
                rows = [at for at, name in enumerate(table["id"].to_pylist()) if name in asked and name not in place]
                if rows:
                    chosen = table.take(pa.array(rows, pa.int64()))
                    place |= {name: len(place) + at for at, name in enumerate(chosen["id"].to_pylist())}
                    parts.append(_matrix(chosen["vector"], run.uri))
                    cut += [bool(value) for value in chosen["text_cut"].to_pylist()]
            for _, table in run.tables("quarantine", ["id", "quarantine"]):
                for name, fault in zip(table["id"].to_pylist(), table["quarantine"].to_pylist(), strict=True):
                    if name in asked:
                        faults[name] = Fault(fault["kind"], fault["message"], fault["retryable"])
            if len(place) + len(faults) > before:
                runs.append(run.uri)
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) > 1:
            raise PlanError(
                f"{self.uri} holds vectors of {' and '.join(map(str, widths))} numbers: {self.encoder_id} changed under its "
                f"name; use another store"
            )
        vectors = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
        return StoredVectors(place, vectors, np.array(cut, bool), faults, tuple(runs))

    def _finished(self) -> Iterator[RunFolder]:
        for entry in sorted(self.folder.list("things"), key=lambda entry: entry.path):
            version = entry.path.rpartition("/")[2].removesuffix(".parquet")
            run = RunFolder(f"{self.uri}/{RUN}/{version}")
            if run.manifest() is not None:
                yield run


def _matrix(column: pa.ChunkedArray, uri: str) -> np.ndarray:
    rows = column.to_pylist()
    if any(row is None or len(row) != len(rows[0]) or len(row) % 4 for row in rows):
        raise AuditError(f"{uri} holds a vector of another size than its neighbours; see negscale audit {uri}")
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1).astype(np.float32, copy=False)
