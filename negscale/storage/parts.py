"""The commit of a shard: one object, and the first committer wins (architecture, decision 2).

``rejected/`` and ``quarantine/`` parts carry the attempt in their name and are written first. The part in ``data/`` is
written last with put-if-absent; its Parquet metadata names its attempt and its sisters, so that readers accept only
parts that belong to the winner. A higher generation of a shard (a retry) replaces the lower one whole.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.arrow import compute as pc
from negscale.core.errors import AuditError
from negscale.core.stage import TRIED, WAKE
from negscale.storage.folder import Folder, attempt_name

_KEY = b"negscale.commit"
_PART = re.compile(r"^data/(?P<shard>.+)\.g(?P<generation>\d{4})\.parquet$")
_COMPRESS_FROM_BYTES = 16_384  # below, starting a compressor for each column costs more than it saves
KINDS = ("data", "rejected", "quarantine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What the part in ``data/`` says of its shard. ``rows_read + rows_added = kept + rejected + quarantined``."""

    shard: str
    generation: int
    attempt: str
    rows_read: int
    rows_added: int  # by Explode: the sum of (children - 1)
    kept: int
    rejected: int
    quarantined: int
    digest: str  # order-independent sum of the hashes of all rows, 32 hex digits
    reasons: Mapping[str, int] = field(default_factory=dict)  # "verify_absent/object_present": 3
    faults: Mapping[str, int] = field(default_factory=dict)  # "read/empty_caption": 1
    stages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # stage -> {"rows": n, "seconds": s}

    @property
    def rows_out(self) -> int:
        return self.kept + self.rejected + self.quarantined


def part_path(kind: str, shard: str, generation: int, attempt: str = "") -> str:
    """Where a part lies in the run folder; only ``data/`` parts have a name that all attempts share."""
    middle = "" if kind == "data" else f".{attempt}"
    return f"{kind}/{shard}.g{generation:04d}{middle}.parquet"


def commit_shard(
    folder: Folder, shard: str, generation: int, table: pa.Table, *, rows_read: int,
    stages: Mapping[str, Mapping[str, float]] | None = None,
) -> tuple[Commit, bool]:  # fmt: skip
    """Write the rows of a finished shard. Returns (the commit that holds, whether this call was the one that won).

    table: all rows with their envelope. Rows are sorted by id, children of one parent in order.
    """
    table = _sorted_by_id(table.drop_columns([name for name in (WAKE, TRIED) if name in table.column_names]))
    masks = _masks(table)
    tables = {kind: table.filter(masks[kind]) for kind in KINDS}
    commit = Commit(
        shard=shard, generation=generation, attempt=attempt_name(), rows_read=rows_read,
        rows_added=len(table) - rows_read, kept=len(tables["data"]), rejected=len(tables["rejected"]),
        quarantined=len(tables["quarantine"]), digest=content_digest(table), stages=dict(stages or {}),
        reasons=_count(tables["rejected"]["rejection"], "reason"), faults=_count(tables["quarantine"]["quarantine"], "kind"),
    )  # fmt: skip
    for kind in ("rejected", "quarantine"):
        if len(tables[kind]):
            folder.write(part_path(kind, shard, generation, commit.attempt), _parquet(tables[kind], commit))
    if folder.put_if_absent(part_path("data", shard, generation), _parquet(tables["data"], commit)):
        return commit, True
    for kind in (
        "rejected",
        "quarantine",
    ):  # the loser's sisters; whatever a kill leaves is swept at the end of the run
        if len(tables[kind]):
            folder.delete(part_path(kind, shard, generation, commit.attempt))
    return read_commit(folder, shard, generation), False


def committed(folder: Folder) -> dict[str, int]:
    """shard -> highest committed generation, from one listing of ``data/``."""
    highest: dict[str, int] = {}
    for entry in folder.list("data"):
        if match := _PART.match(entry.path):
            shard, generation = match["shard"], int(match["generation"])
            highest[shard] = max(generation, highest.get(shard, -1))
    return highest


def read_commit(folder: Folder, shard: str, generation: int) -> Commit:
    """The commit record of a shard. Raises AuditError when the part is not one of ours or is damaged."""
    path = part_path("data", shard, generation)
    try:
        with folder.open(path) as file:
            metadata = pq.read_metadata(file).metadata or {}
    except pa.ArrowInvalid as error:
        raise AuditError(
            f"{path} in {folder.uri} is damaged ({error}); delete it and run the same command again to make it anew"
        ) from error
    if _KEY not in metadata:
        raise AuditError(f"{path} in {folder.uri} was not written by a commit; move it away")
    return Commit(**json.loads(metadata[_KEY]))


def read_part(folder: Folder, kind: str, commit: Commit, columns: Iterable[str] | None = None) -> pa.Table | None:
    """Rows of one kind of a committed shard; None when the shard has none of that kind."""
    count = {"data": commit.kept, "rejected": commit.rejected, "quarantine": commit.quarantined}[kind]
    if count == 0 and kind != "data":
        return None
    path = part_path(kind, commit.shard, commit.generation, commit.attempt)
    try:
        with folder.open(path) as file:
            # one thread: an Arrow thread that still holds a Python file at exit aborts the interpreter
            names = list(columns) if columns is not None else None
            return pq.ParquetFile(file).read(columns=names, use_threads=False)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise AuditError(f"{path} in {folder.uri} belongs to a committed shard but cannot be read: {error}") from error


def content_digest(table: pa.Table) -> str:
    """Order-independent digest of rows: the sum of their hashes modulo 2**128, as 32 hex digits.

    Fault messages are left out: they may name a process or a path, and describe us, not the data.
    """
    total = 0
    for row in table.to_pylist():
        if row.get("quarantine"):
            row["quarantine"] = {k: row["quarantine"][k] for k in ("stage", "kind")}
        encoded = _CANONICAL.encode(row).encode()
        total += int.from_bytes(blake2b(encoded, digest_size=16).digest(), "big")
    return f"{total % (1 << 128):032x}"


def sum_digests(digests: Iterable[str]) -> str:
    """The digest of the union of disjoint row sets."""
    return f"{sum(int(d, 16) for d in digests) % (1 << 128):032x}"


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a {type(value).__name__} in a row has no canonical form")


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=True, default=_encode, separators=(",", ":"))


def _masks(table: pa.Table) -> dict[str, Any]:
    broken = pc.is_valid(table["quarantine"])
    refused = pc.and_(pc.is_valid(table["rejection"]), pc.invert(broken))
    return {"data": pc.invert(pc.or_(broken, refused)), "rejected": refused, "quarantine": broken}


def _count(marks: pa.ChunkedArray, what: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for mark in marks.to_pylist():
        key = f"{mark['stage']}/{mark[what]}"
        counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def sort_key(row_id: str) -> tuple[Any, ...]:
    """Order of rows in a shard: parents by name, children of a parent by number (#2 before #10)."""
    root, *children = row_id.split("#")
    return (root, *[(0, int(c)) if c.isdigit() else (1, c) for c in children])


def _sorted_by_id(table: pa.Table) -> pa.Table:
    ids = table["id"].to_pylist()
    if len(set(ids)) != len(ids):
        raise AssertionError(f"row ids occur twice in one shard: {sorted({i for i in ids if ids.count(i) > 1})[:5]}")
    order = sorted(range(len(ids)), key=lambda i: sort_key(ids[i]))
    return table if order == list(range(len(ids))) else table.take(pa.array(order, pa.int64()))


def _parquet(table: pa.Table, commit: Commit) -> bytes:
    metadata = {_KEY: json.dumps(asdict(commit), sort_keys=True).encode()}
    buffer = io.BytesIO()
    small = table.nbytes < _COMPRESS_FROM_BYTES
    pq.write_table(
        table.replace_schema_metadata(metadata), buffer, compression="none" if small else "zstd", version="2.6"
    )
    return buffer.getvalue()
