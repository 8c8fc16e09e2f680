"""`audit`: prove by counting that nothing was lost, nothing came twice, and every part is what its commit says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from negscale.core.errors import AuditError
from negscale.core.rng import seed_for
from negscale.storage.parts import KINDS, Commit, content_digest, read_part, sort_key, sum_digests
from negscale.storage.run_folder import RunFolder


@dataclass(slots=True)
class AuditReport:
    """What was counted, and every problem found; `passed` when there is none."""

    shards: int = 0
    committed: int = 0
    rows_read: int = 0
    rows_added: int = 0
    kept: int = 0
    rejected: int = 0
    quarantined: int = 0
    content_digest: str = ""
    orphans: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.problems


def audit(run: RunFolder) -> AuditReport:
    """Read every row of every part. Checks, for each shard and for the run:

    input + sum(children - 1) = kept + rejected + quarantined; the counts in the commit are the rows in the parts; the
    digest is the rows' digest; no id occurs twice; the children of a parent are 0..k-1; the manifest says the same.
    """
    report = AuditReport()
    shards = run.shards()
    listed = {shard.name: shard.rows for shard in shards}
    report.shards = len(shards)
    generations = run.committed()
    report.problems += [
        f"shard {name!r} is committed but not in the shard list" for name in sorted(generations.keys() - listed)
    ]
    missing = [shard.name for shard in shards if shard.name not in generations]
    if missing:
        report.problems.append(
            f"{len(missing)} of {len(shards)} shards are not committed, e.g. {missing[0]!r}: resume the run"
        )
    opened = _opened_columns(run)
    commits: list[Commit] = []
    digests: list[str] = []
    hashes: list[np.ndarray] = []
    for commit in _readable(run, generations, report):
        commits.append(commit)
        try:
            ids, digest = _check_shard(run, commit, listed.get(commit.shard, commit.rows_read), opened, report)
        except AuditError as error:
            report.problems.append(str(error))
            continue
        digests.append(digest)
        hashes.append(np.fromiter((seed_for(0, i) for i in ids), np.int64, len(ids)))
    _check_unique(hashes, report)
    report.committed = len(commits)
    report.content_digest = sum_digests(digests)
    report.rows_read, report.rows_added = sum(c.rows_read for c in commits), sum(c.rows_added for c in commits)
    report.kept, report.rejected = sum(c.kept for c in commits), sum(c.rejected for c in commits)
    report.quarantined = sum(c.quarantined for c in commits)
    report.orphans = len(run.orphans(commits))
    _check_manifest(run, report)
    return report


def _readable(run: RunFolder, generations: dict[str, int], report: AuditReport) -> list[Commit]:
    try:
        return run.commits(generations)
    except AuditError:
        found = []
        for shard, generation in sorted(generations.items()):
            try:
                found += run.commits({shard: generation})
            except AuditError as error:
                report.problems.append(str(error))
        return found


def _opened_columns(run: RunFolder) -> list[str] | None:
    """The columns that Explode steps write, for runs over the rows of another run; None for all others.

    There an id may end in #k before this run begins: a row has a child's number of ours for each such column that it fills.
    """
    identity = run.record()["identity"]
    if "run" not in identity.get("input", {}):
        return None
    return [facts["into"] for facts in identity["steps"].values() if "into" in facts]


def _check_shard(
    run: RunFolder, commit: Commit, listed_rows: int, opened: Sequence[str] | None, report: AuditReport
) -> tuple[list[str], str]:
    problem = report.problems.append
    parts = {kind: read_part(run.folder, kind, commit) for kind in KINDS}
    counts = {"data": commit.kept, "rejected": commit.rejected, "quarantine": commit.quarantined}
    for kind, part in parts.items():
        found = 0 if part is None else len(part)
        if found != counts[kind]:
            problem(f"shard {commit.shard!r}: {found} rows in {kind}/, its commit says {counts[kind]}")
    table = pa.concat_tables([part.replace_schema_metadata(None) for part in parts.values() if part is not None])
    if commit.rows_read != listed_rows:
        problem(f"shard {commit.shard!r}: read {commit.rows_read} rows, the shard list says {listed_rows}")
    if commit.rows_read + commit.rows_added != commit.rows_out:
        problem(f"shard {commit.shard!r}: {commit.rows_read} read + {commit.rows_added} added != {commit.rows_out} out")
    digest = content_digest(table)
    if digest != commit.digest:
        problem(f"shard {commit.shard!r}: its rows' digest is {digest}, its commit says {commit.digest}")
    for kind, part in parts.items():
        if part is None:
            continue
        envelope = zip(part["rejection"].to_pylist(), part["quarantine"].to_pylist(), strict=True)
        place = {"data": (True, True), "rejected": (False, True), "quarantine": (True, False)}[kind]
        if any((r is None, q is None) != place and not (kind == "quarantine" and q is not None) for r, q in envelope):
            problem(f"shard {commit.shard!r}: a row in {kind}/ belongs elsewhere by its envelope")
    ids = table["id"].to_pylist()
    filled = None if opened is None else [table[name].is_valid().to_pylist() for name in opened]
    depths = (
        [len(sort_key(i)) - 1 for i in ids] if filled is None else [sum(f[n] for f in filled) for n in range(len(ids))]
    )
    _check_families(commit, ids, depths, report)
    return ids, digest


def _check_families(commit: Commit, ids: Sequence[str], depths: Sequence[int], report: AuditReport) -> None:
    """Roots = rows read; children of each parent are numbered 0..k-1 with no gap. depths: numbers that an id got here."""
    roots = {row_id.rsplit("#", depth)[0] for row_id, depth in zip(ids, depths, strict=True)}
    if len(roots) != commit.rows_read:
        report.problems.append(
            f"shard {commit.shard!r}: {len(roots)} different input rows among its rows, {commit.rows_read} were read"
        )
    children: dict[str, set[int]] = {}
    for row_id, depth in zip(ids, depths, strict=True):
        parent = row_id
        for _ in range(depth):
            parent, _, number = parent.rpartition("#")
            children.setdefault(parent, set()).add(int(number))
    for parent, numbers in children.items():
        if numbers != set(range(len(numbers))):
            report.problems.append(
                f"shard {commit.shard!r}: children of {parent!r} are {sorted(numbers)}, not 0..{len(numbers) - 1}"
            )


def _check_unique(hashes: Sequence[np.ndarray], report: AuditReport) -> None:
    if not hashes:
        return
    everything = np.concatenate(hashes)
    twice = len(everything) - len(np.unique(everything))
    if twice:
        report.problems.append(f"{twice} row ids occur in more than one shard")


def _check_manifest(run: RunFolder, report: AuditReport) -> None:
    manifest = run.manifest()
    if manifest is None:
        return
    for name, said, counted in (
        ("content_digest", manifest.content_digest, report.content_digest), ("rows_kept", manifest.rows_kept, report.kept),
        ("rows_read", manifest.rows_read, report.rows_read), ("rows_rejected", manifest.rows_rejected, report.rejected),
        ("rows_quarantined", manifest.rows_quarantined, report.quarantined), ("shards", manifest.shards, report.committed),
    ):  # fmt: skip
        if said != counted:
            report.problems.append(f"manifest.json says {name}={said}, the parts hold {counted}")
