"""The commit: first committer wins whole, readers accept only the winner's parts, on disks and on S3."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from negscale.core.errors import AuditError
from negscale.core.pipeline import conform
from negscale.core.schema import ENVELOPE, extend
from negscale.storage.folder import LocalFolder, open_folder
from negscale.storage.parts import (
    commit_shard,
    committed,
    content_digest,
    part_path,
    read_commit,
    read_part,
    sort_key,
    sum_digests,
)

SCHEMA = extend(ENVELOPE, pa.schema([("x", pa.int64())]))


def rows(ids: list[str], rejected: tuple[str, ...] = (), broken: tuple[str, ...] = (), x: int = 0) -> pa.Table:
    refused, broke = SCHEMA.field("rejection").type, SCHEMA.field("quarantine").type
    fault = {"stage": "s", "kind": "bad", "message": f"pid {x}", "retryable": False}
    table = pa.table({
        "id": ids, "x": pa.array([x] * len(ids), pa.int64()),
        "rejection": pa.array([{"stage": "s", "reason": "no"} if i in rejected else None for i in ids], refused),
        "quarantine": pa.array([fault if i in broken else None for i in ids], broke),
    })  # fmt: skip
    return conform(table, SCHEMA)


def test_rows_are_routed_by_their_envelope_and_sorted(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    commit, won = commit_shard(folder, "s0", 0, rows(["c", "a", "b", "d"], rejected=("a",), broken=("d",)), rows_read=4)
    assert won
    assert (commit.kept, commit.rejected, commit.quarantined) == (2, 1, 1)
    assert commit.reasons == {"s/no": 1}
    assert commit.faults == {"s/bad": 1}
    assert read_part(folder, "data", commit)["id"].to_pylist() == ["b", "c"]
    assert read_part(folder, "rejected", commit)["id"].to_pylist() == ["a"]
    assert committed(folder) == {"s0": 0}


def test_a_shard_without_kept_rows_commits_an_empty_part(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    commit, _ = commit_shard(folder, "s0", 0, rows(["a"], rejected=("a",)), rows_read=1)
    assert len(read_part(folder, "data", commit)) == 0
    assert committed(folder) == {"s0": 0}


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_one_of_many_writers_wins_whole(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = str(tmp_path) if place == "disk" else request.getfixturevalue("s3_uri")
    results = []

    def write(x: int) -> None:
        table = rows(["a", "b", "c"], rejected=("a",) if x % 2 else ("b",), broken=("c",), x=x)
        results.append(commit_shard(open_folder(uri), "s0", 0, table, rows_read=3))

    threads = [threading.Thread(target=write, args=(x,)) for x in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = open_folder(uri)
    assert sum(won for _, won in results) == 1
    held = read_commit(folder, "s0", 0)
    assert {commit.attempt for commit, _ in results} == {held.attempt}
    kept, refused = read_part(folder, "data", held), read_part(folder, "rejected", held)
    assert {*kept["x"].to_pylist(), *refused["x"].to_pylist()} == {kept["x"][0].as_py()}, (
        "rows of two writers were mixed"
    )
    assert [e.path for e in folder.list("rejected")] == [part_path("rejected", "s0", 0, held.attempt)]


def test_a_higher_generation_is_the_valid_one(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    commit_shard(folder, "s0", 0, rows(["a"], broken=("a",)), rows_read=1)
    commit_shard(folder, "s0", 1, rows(["a"]), rows_read=1)
    assert committed(folder) == {"s0": 1}


def test_damaged_and_foreign_parts_are_named(tmp_path: Path) -> None:
    folder = LocalFolder(str(tmp_path))
    commit_shard(folder, "s0", 0, rows(["a"]), rows_read=1)
    path = tmp_path / part_path("data", "s0", 0)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AuditError, match=r"s0\.g0000\.parquet.*damaged.*delete it"):
        read_commit(folder, "s0", 0)
    pa.parquet.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(AuditError, match="not written by a commit"):
        read_commit(folder, "s0", 0)


def test_digest_ignores_order_and_messages_but_sees_values() -> None:
    one, other = rows(["a", "b"], broken=("a",), x=1), rows(["b", "a"], broken=("a",), x=1)
    assert content_digest(one) == content_digest(other)
    changed = one.set_column(
        1, "rejection", pa.array([None, {"stage": "s", "reason": "no"}], SCHEMA.field("rejection").type)
    )
    assert content_digest(one) != content_digest(changed)
    assert content_digest(rows(["a"], broken=("a",), x=1)) != content_digest(rows(["a"], broken=("a",), x=2))
    assert content_digest(one) == sum_digests([content_digest(one.slice(0, 1)), content_digest(one.slice(1, 1))])


def test_children_sort_by_number() -> None:
    ids = ["r#10", "r#2", "r", "q#1#3", "q#1#11"]
    assert sorted(ids, key=sort_key) == ["q#1#3", "q#1#11", "r", "r#2", "r#10"]


def test_twice_the_same_id_is_our_own_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="twice"):
        commit_shard(open_folder(str(tmp_path)), "s0", 0, rows(["a", "a"]), rows_read=2)
