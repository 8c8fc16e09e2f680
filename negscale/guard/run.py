"""The guard: rows in, overlaps with benchmarks out; for a stream of Arrow tables or a finished run.

Every way of looking is reported with how much it looked at: a guard that could read no image must not look like a clean run.
The image hashes of a run are kept shard by shard (see `hash_parts`): the same command goes on where a killed one was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.errors import NegscaleError, PlanError
from negscale.core.image import ImageError
from negscale.datasets.images import ImageReader
from negscale.exports.publish import staged_folder
from negscale.guard.benchmarks import BenchmarkFile, read_benchmark
from negscale.guard.hash_parts import HashParts
from negscale.guard.reference import GuardConfig, ImageFacts, Match, Reference, read_facts
from negscale.storage.run_folder import RunFolder

OVERLAPS = pa.schema([
    ("id", pa.string()), ("image_id", pa.string()), ("reason", pa.string()), ("benchmark", pa.string()), ("item", pa.string()),
    ("benchmark_image", pa.string()), ("distance", pa.float32()),
])  # fmt: skip

_Shard = TypeVar("_Shard")
# a shard and the distinct images of its rows (reference by name) -> their hashes, or why they cannot be read
_Hashed: TypeAlias = Callable[[_Shard, Mapping[str, Any]], Mapping[str, ImageFacts | ImageError]]


class LeakError(NegscaleError):
    """Rows overlap with a benchmark, and the caller asked to be stopped."""


@dataclass(slots=True)
class GuardReport:
    """What was compared and what overlaps; JSON values, made to be embedded in a manifest."""

    benchmarks: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    rows_overlapping: int = 0
    images_overlapping: int = 0
    reasons: dict[str, int] = field(default_factory=dict)  # rows by reason; a row may have several
    by_benchmark: dict[str, int] = field(default_factory=dict)  # rows
    images_read: int = 0
    images_reused: int = 0  # of these: hashed by an earlier guard of the run
    images_unread: dict[str, int] = field(default_factory=dict)  # images of the rows, by kind of fault
    benchmark_images_named: int = 0
    benchmark_images_hashed: int = 0
    benchmark_images_unread: dict[str, int] = field(default_factory=dict)
    benchmark_captions: int = 0

    @property
    def clean(self) -> bool:
        """Whether no row overlaps."""
        return not self.rows_overlapping


@dataclass(frozen=True, slots=True)
class GuardResult:
    """The report with the overlaps, one row per (id, reason), as `OVERLAPS`."""

    report: GuardReport
    overlaps: pa.Table

    def ids(self) -> frozenset[str]:
        """Rows that overlap for any reason."""
        return frozenset(self.overlaps["id"].to_pylist())


def guard(
    tables: Iterable[pa.Table], files: Sequence[BenchmarkFile], config: GuardConfig | None = None, *,
    reader: ImageReader | None = None, image_folders: Sequence[str] = (),
) -> GuardResult:  # fmt: skip
    """Compare rows with benchmarks by image name, by image bytes and pixels, and by caption.

    tables: `id` and any of `image` (IMAGE), `image_id` and columns of captions (their names end in "caption").
    reader: reads the rows' images; pixels are compared when it is given together with `image_folders`, where the benchmarks'
    images lie. Memory holds the benchmarks, one table, and the overlaps.
    """

    def hashed(_: None, refs: Mapping[str, Any]) -> Mapping[str, ImageFacts | ImageError]:
        assert reader is not None
        return dict(zip(refs, read_facts(reader, list(refs.values())), strict=True))

    shards = ((None, table) for table in tables)
    return _guard(shards, files, config or GuardConfig(), hashed if reader is not None else None, image_folders)


def _guard(
    shards: Iterable[tuple[_Shard, pa.Table]], files: Sequence[BenchmarkFile], config: GuardConfig,
    hashed: _Hashed[_Shard] | None, image_folders: Sequence[str],
) -> GuardResult:  # fmt: skip
    """`guard` of tables that come with what `hashed` knows their shard by."""
    reference = Reference(files, config, image_folders)
    found: list[dict[str, Any]] = []
    unread: Counter[str] = Counter()
    rows = images = 0
    for shard, table in shards:
        rows += len(table)
        by_image, seen = _image_matches(shard, table, reference, hashed if reference.images_hashed else None, unread)
        images += seen
        found += _table_overlaps(table, reference, by_image)
    overlaps = pa.Table.from_pylist(found, OVERLAPS)
    report = GuardReport(
        benchmarks=[
            {"name": file.name, "path": file.path, "sha256": file.sha256, "items": len(file.entries)} for file in files
        ],
        config=config.model_dump(), rows=rows, rows_overlapping=len({row["id"] for row in found}),
        images_overlapping=len({row["image_id"] for row in found if row["reason"].startswith("image")}),
        reasons=dict(sorted(Counter(row["reason"] for row in found).items())),
        by_benchmark=dict(sorted(Counter(name for _, name in {(r["id"], r["benchmark"]) for r in found}).items())),
        images_read=images, images_unread=dict(unread), benchmark_images_named=reference.images_named,
        benchmark_images_hashed=reference.images_hashed, benchmark_images_unread=dict(+reference.unread),
        benchmark_captions=reference.texts,
    )  # fmt: skip
    return GuardResult(report, overlaps)


def _image_matches(
    shard: _Shard, table: pa.Table, reference: Reference, hashed: _Hashed[_Shard] | None, unread: Counter[str]
) -> tuple[dict[str, list[Match]], int]:
    """(matches by image reference, images read) of the distinct images of a table."""
    if hashed is None or "image" not in table.column_names:
        return {}, 0
    refs = {_place(ref): ref for ref in table["image"].to_pylist() if ref and ref.get("uri")}
    known: dict[str, ImageFacts] = {}
    for place, facts in hashed(shard, refs).items():
        if isinstance(facts, ImageError):
            unread[facts.kind] += 1
        else:
            known[place] = facts
    return dict(zip(known, reference.match_images(list(known.values())), strict=True)), len(known)


def _place(ref: dict[str, Any]) -> str:
    return f"{ref['uri']}@{ref.get('offset')}"


def _table_overlaps(
    table: pa.Table, reference: Reference, by_image: dict[str, list[Match]]
) -> Iterable[dict[str, Any]]:
    captions = [f.name for f in table.schema if f.name.endswith("caption") and pa.types.is_string(f.type)]
    names = [name for name in ("id", "image_id", "image") if name in table.column_names]
    for row in table.select([*names, *captions]).to_pylist():
        ref = row.get("image") or {}
        matches = list(by_image.get(_place(ref), ())) if ref.get("uri") else []
        uri = ref.get("uri") if ref.get("offset") is None else None  # a tar's name says nothing of its members
        if (by_name := reference.match_names(uri, row.get("image_id"))) is not None:
            matches.append(by_name)
        said = (reference.match_caption(row[name]) for name in captions if row[name])
        matches += {match.reason: match for match in said if match is not None}.values()
        for match in matches:
            yield {
                "id": row["id"], "image_id": row.get("image_id") or ref.get("uri") or "", "reason": match.reason,
                "benchmark": match.entry.benchmark, "item": match.entry.item, "benchmark_image": match.entry.image,
                "distance": match.distance,
            }  # fmt: skip


def guard_run(
    run: RunFolder, benchmarks: Sequence[str], config: GuardConfig | None = None, *, reader: ImageReader | None = None,
    image_folders: Sequence[str] = (), drop: str = "", refuse: bool = False,
) -> tuple[GuardReport, str]:  # fmt: skip
    """Guard a finished run's kept rows; returns the report and the build folder, RUN/guard/DIGEST.

    The folder holds overlaps.parquet and manifest.json (report, fingerprints of run and benchmarks). drop: a new folder for a
    Parquet copy of the rows that do not overlap. Raises PlanError for unfinished runs; LeakError, after writing, when `refuse`
    is set and rows overlap.
    """
    config = config or GuardConfig()
    manifest = run.manifest()
    if manifest is None:
        raise PlanError(f"run {run.uri} is not finished; finish it with negscale generate first")
    if drop and refuse:
        raise PlanError("drop and refuse exclude each other: a refused run gives no rows")
    files = [read_benchmark(path) for path in benchmarks]
    parts = HashParts(run.folder.child("guard/images"), reader) if reader is not None else None
    result = _guard(run.tables("data"), files, config, parts.facts if parts else None, image_folders)
    result.report.images_reused = parts.reused if parts else 0
    identity = {
        "run_fingerprint": manifest.fingerprint, "run_digest": manifest.content_digest, "images": bool(image_folders),
        "benchmarks": [file.sha256 for file in files], "config": config.model_dump(),
    }  # fmt: skip
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    record = {**identity, "run": run.uri, "image_folders": list(image_folders), "report": asdict(result.report)}
    sink = pa.BufferOutputStream()
    pq.write_table(result.overlaps, sink, compression="zstd")
    run.folder.write(f"guard/{digest}/overlaps.parquet", sink.getvalue().to_pybytes())
    if drop:
        record["dropped"] = {"to": drop, "rows_kept": _write_without(run, result.ids(), drop)}
    run.folder.write(f"guard/{digest}/manifest.json", json.dumps(record, indent=1).encode())
    build = f"{run.uri}/guard/{digest}"
    if refuse and not result.report.clean:
        raise LeakError(
            f"{result.report.rows_overlapping:,} of {result.report.rows:,} rows of {run.uri} overlap with "
            f"{', '.join(result.report.by_benchmark)}; they are listed in {build}/overlaps.parquet; --drop writes the others"
        )
    return result.report, build


def _write_without(run: RunFolder, overlapping: frozenset[str], out: str) -> int:
    """Write the kept rows but these to OUT/data-*.parquet, a file a shard; returns how many."""
    rows = 0
    with staged_folder(out) as folder:
        for number, (_, table) in enumerate(run.tables("data")):
            keep = pa.array([row_id not in overlapping for row_id in table["id"].to_pylist()], pa.bool_())
            kept = table.filter(keep)
            if len(kept):
                pq.write_table(kept, folder / f"data-{number:06d}.parquet", compression="zstd")
                rows += len(kept)
    return rows
