"""The life of a run: open the folder, take the lock, do what is not done, write the manifest last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from negscale.core.errors import PlanError, RunLockedError
from negscale.core.pipeline import Listing, Pipeline, PipelineFactory, Shard
from negscale.core.run import Manifest, identity_of, judge_budget
from negscale.core.runtime import RuntimeConfig
from negscale.executors.job import Executor, Job, Retry, Task
from negscale.storage.lock import RunLock
from negscale.storage.parts import Commit, sum_digests
from negscale.storage.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A run before it starts: address, recipe, pipeline."""

    name: str
    version: str
    recipe: Mapping[str, Any]  # identity of the config
    config_yaml: str
    pipeline: Pipeline
    factory: PipelineFactory
    runtime: RuntimeConfig
    code: str = ""

    @property
    def uri(self) -> str:
        """Where the run folder lies."""
        return f"{self.runtime.run_root.rstrip('/')}/{self.name}/{self.version}"


class Watcher(Protocol):
    """Told how a run goes."""

    def started(self, todo: Sequence[Shard], done: int, names: Sequence[str]) -> None: ...

    def committed(self, commit: Commit) -> None: ...

    def ended(self) -> None: ...


class Silence:
    """A watcher that ignores it all."""

    def started(self, todo: Sequence[Shard], done: int, names: Sequence[str]) -> None:
        return

    def committed(self, commit: Commit) -> None:
        return

    def ended(self) -> None:
        return


def generate(spec: RunSpec, executor: Executor, listing: Listing, watcher: Watcher | None = None) -> Manifest:
    """Start or resume a run and carry it to its manifest. A finished run is returned as it is, with no model call.

    Raises PlanError for a folder of another recipe, RunLockedError while another driver lives.
    """
    watcher = watcher or Silence()
    spec.pipeline.plan()
    if not listing.shards:
        raise PlanError(f"the source of {spec.name!r} is empty: check source.root, source.split and filters")
    run = RunFolder(spec.uri)
    identity = identity_of(spec.pipeline, spec.recipe, listing)
    if run.exists():
        run.check_same(identity)
        if (manifest := run.manifest()) is not None and len(run.committed()) == manifest.shards:
            return manifest
    with RunLock(run.folder) as lock:
        shards = run.open(spec.name, spec.version, identity, spec.config_yaml, listing)
        generations = run.committed()
        tasks = [Task(s, i) for i, s in enumerate(shards) if s.name not in generations]
        job = Job(spec.factory, run.uri, lock.incarnation, spec.runtime, has_index=listing.index is not None)
        with _clock(run, lock) as seconds:
            _execute(job, tasks, executor, lock, watcher, spec, len(shards) - len(tasks))
        return _finish(run, spec, identity, shards, seconds)


def retry(spec: RunSpec, executor: Executor, conditions: Retry, watcher: Watcher | None = None) -> tuple[Manifest, int]:
    """Run quarantined rows again and merge them; returns (manifest, rows that were tried).

    Only rows that match `conditions` run, from the step that broke; every other row of their shards is copied as it is
    into the next generation of the shard.
    """
    watcher = watcher or Silence()
    spec.pipeline.plan()
    run = RunFolder(spec.uri)
    record = run.record()
    with RunLock(run.folder) as lock:
        identity = {**record["identity"]}
        shards = run.shards()
        generations = run.committed()
        if len(generations) < len(shards):
            raise PlanError(
                f"run {run.uri} is not finished ({len(generations)} of {len(shards)} shards): finish it with generate first"
            )
        wanted = _matching(run, conditions)
        tasks = [Task(s, i, generations[s.name] + 1) for i, s in enumerate(shards) if s.name in wanted]
        job = Job(
            spec.factory, run.uri, lock.incarnation, spec.runtime, has_index=run.folder.exists("index.parquet"),
            retry=conditions,
        )  # fmt: skip
        if tasks:
            run.forget_manifest()  # from here on the run is unfinished again, whatever kills this driver
        with _clock(run, lock) as seconds:
            _execute(job, tasks, executor, lock, watcher, spec, len(shards) - len(tasks))
        return _finish(run, spec, identity, shards, seconds), sum(wanted.values())


def _execute(
    job: Job, tasks: Sequence[Task], executor: Executor, lock: RunLock, watcher: Watcher, spec: RunSpec, done: int
) -> None:
    def on_commit(commit: Commit) -> None:
        if lock.lost:
            raise RunLockedError(f"run folder {job.run_uri} was taken over by another driver; this one stops")
        watcher.committed(commit)

    if not tasks:
        return
    watcher.started([task.shard for task in tasks], done, [step.name for step in spec.pipeline.steps])
    try:
        executor.execute(job, tasks, on_commit)
    finally:
        watcher.ended()


def _matching(run: RunFolder, conditions: Retry) -> dict[str, int]:
    """shard -> quarantined rows that the retry wants."""
    wanted: dict[str, int] = {}
    for commit, table in run.tables("quarantine", ["id", "quarantine"]):
        count = sum(
            conditions.wants(row_id, fault)
            for row_id, fault in zip(table["id"].to_pylist(), table["quarantine"].to_pylist(), strict=True)
        )
        if count:
            wanted[commit.shard] = count
    return wanted


@contextmanager
def _clock(run: RunFolder, lock: RunLock) -> Iterator[Callable[[], tuple[float, int]]]:
    """Seconds and incarnations of the run, this one included; kept in the folder, so that a killed driver counts too."""
    begin = time.time()
    key = f"incarnations/{lock.incarnation}.json"
    run.folder.write(key, f"{begin} {begin}".encode())

    def seconds() -> tuple[float, int]:
        run.folder.write(key, f"{begin} {time.time()}".encode())
        spans = [run.folder.read(entry.path).split() for entry in run.folder.list("incarnations")]
        return sum(float(end) - float(start) for start, end in spans), len(spans)

    try:
        yield seconds
    finally:
        run.folder.write(key, f"{begin} {time.time()}".encode())


def _finish(
    run: RunFolder, spec: RunSpec, identity: Mapping[str, Any], shards: Sequence[Shard],
    seconds: Callable[[], tuple[float, int]],
) -> Manifest:  # fmt: skip
    commits = run.commits()
    missing = {s.name for s in shards} - {c.shard for c in commits}
    if missing:
        raise PlanError(
            f"{len(missing)} shards of {run.uri} have no commit, {sorted(missing)[:3]} among them; run the same command again"
        )
    run.sweep(commits)
    elapsed, incarnations = seconds()
    manifest = summarize(run, commits, spec.runtime, identity, spec.pipeline.facts, spec.code, elapsed, incarnations)
    run.write_manifest(manifest)
    return manifest


def summarize(
    run: RunFolder, commits: Sequence[Commit], runtime: RuntimeConfig, identity: Mapping[str, Any],
    backends: Mapping[str, str], code: str, seconds: float, incarnations: int,
) -> Manifest:  # fmt: skip
    """The manifest of a run whose shards are all committed."""
    record = run.record()
    quarantined, rows = sum(c.quarantined for c in commits), sum(c.rows_out for c in commits)
    return Manifest(
        name=record["name"], version=record["version"], fingerprint=record["fingerprint"],
        status=judge_budget(quarantined, rows, runtime.quarantine_budget),
        content_digest=sum_digests(c.digest for c in commits), rows_read=sum(c.rows_read for c in commits),
        rows_added=sum(c.rows_added for c in commits), rows_kept=sum(c.kept for c in commits),
        rows_rejected=sum(c.rejected for c in commits), rows_quarantined=quarantined, shards=len(commits),
        rejected=_total(c.reasons for c in commits), quarantined=_total(c.faults for c in commits),
        backends=dict(backends), inputs=dict(identity["input"]), recipe=dict(identity["recipe"]),
        runtime=runtime.model_dump(mode="json"), stages=_stage_totals(commits), code=code, seconds=round(seconds, 3),
        incarnations=incarnations,
    )  # fmt: skip


def _total(counts: Iterator[Mapping[str, int]] | Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for key, number in count.items():
            total[key] = total.get(key, 0) + number
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _stage_totals(commits: Sequence[Commit]) -> dict[str, dict[str, float]]:
    totals: dict[str, dict[str, float]] = {}
    for commit in commits:
        for stage, numbers in commit.stages.items():
            total = totals.setdefault(stage, {"rows": 0, "seconds": 0.0})
            for key in total:
                total[key] = round(total[key] + numbers[key], 6)
    return totals
