"""A run folder: what every verb reads, and the driver writes. Works with Ray dead.

config.yaml      the resolved config, as it ran        shards.parquet   the shard list, written at the start
run.json         identity and fingerprint              index.parquet    rows of one-file sources, a row group a shard
data/ rejected/ quarantine/   parts                    manifest.json    written last
attempts/        journal of running shards (gone at the end)            lock/   the driver that holds the folder
review/          answers of people who checked rows, and what they come to
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.errors import PlanError
from negscale.core.pipeline import Listing, Shard
from negscale.core.run import Manifest, fingerprint, first_difference
from negscale.storage.folder import Folder, LocalFolder, open_folder
from negscale.storage.parts import KINDS, Commit, committed, part_path, read_commit, read_part

_IO_THREADS = 16


class RunFolder:
    """Reader and writer of one run folder at a path or URI."""

    def __init__(self, uri: str) -> None:
        self.folder: Folder = open_folder(uri)
        self.uri = self.folder.uri

    # -- start and resume ---------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether a run was ever started here."""
        return self.folder.exists("run.json")

    def open(
        self, name: str, version: str, identity: Mapping[str, Any], config_yaml: str, listing: Listing
    ) -> tuple[Shard, ...]:
        """Start the run, or come back to it; returns its shard list.

        Raises PlanError when the folder was made by another recipe: both fingerprints and the first differing key.
        """
        if self.exists():
            self.check_same(identity)
            if self.folder.exists("shards.parquet"):
                return self.shards()
        else:
            record = {
                "name": name, "version": version, "fingerprint": fingerprint(identity), "identity": dict(identity),
                "created": time.time(),
            }  # fmt: skip
            self.folder.put_if_absent("run.json", json.dumps(record, indent=1).encode())
            self.check_same(identity)  # another driver may have been faster
        self.folder.write("config.yaml", config_yaml.encode())
        if listing.index is not None:
            self._write_index(listing)
        table = pa.table({
            "shard": [s.name for s in listing.shards], "rows": [s.rows for s in listing.shards],
            "where": [s.where for s in listing.shards],
        })  # fmt: skip
        self.folder.write("shards.parquet", _to_parquet(table))  # last: its existence means that the index is whole
        return listing.shards

    def check_same(self, identity: Mapping[str, Any]) -> None:
        """Refuse a folder that another recipe made."""
        record = self.record()
        if record["fingerprint"] == fingerprint(identity):
            return
        found = first_difference(record["identity"], json.loads(json.dumps(identity)))
        key, old, new = found or ("(unknown)", None, None)
        raise PlanError(
            f"run folder {self.uri} was made by another recipe: its fingerprint is {record['fingerprint']}, this one's is "
            f"{fingerprint(identity)}; first difference: {key} was {_brief(old)}, is {_brief(new)}. "
            f"Use the old value, another version=NAME, or --fork to start a new version."
        )

    def _write_index(self, listing: Listing) -> None:
        assert listing.index is not None
        buffer = io.BytesIO()
        with pq.ParquetWriter(buffer, listing.index.schema, compression="zstd") as writer:
            start = 0
            for shard in listing.shards:
                writer.write_table(listing.index.slice(start, shard.rows), row_group_size=max(1, shard.rows))
                start += shard.rows
        self.folder.write("index.parquet", buffer.getvalue())

    # -- what is there ------------------------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """run.json. Raises PlanError when the folder holds no run."""
        try:
            return json.loads(self.folder.read("run.json"))
        except FileNotFoundError:
            raise PlanError(
                f"{self.uri} holds no run (no run.json): give the folder that `negscale generate` printed"
            ) from None

    def config_yaml(self) -> str:
        return self.folder.read("config.yaml").decode()

    def shards(self) -> tuple[Shard, ...]:
        """The shard list as it was when the run started."""
        table = pq.ParquetFile(pa.BufferReader(self.folder.read("shards.parquet"))).read(use_threads=False)
        return tuple(
            Shard(*row) for row in zip(*(table[c].to_pylist() for c in ("shard", "rows", "where")), strict=True)
        )

    def committed(self) -> dict[str, int]:
        """shard -> generation of what is done."""
        return committed(self.folder)

    def commits(self, generations: Mapping[str, int] | None = None) -> list[Commit]:
        """Commit records of all finished shards (footers only), in the order of the names."""
        todo = sorted((self.committed() if generations is None else generations).items())
        with ThreadPoolExecutor(_IO_THREADS) as pool:
            return list(pool.map(lambda item: read_commit(self.folder, *item), todo))

    def manifest(self) -> Manifest | None:
        """None while the run has not ended."""
        try:
            return Manifest(**json.loads(self.folder.read("manifest.json")))
        except FileNotFoundError:
            return None

    def tables(self, kind: str, columns: Sequence[str] | None = None) -> Iterator[tuple[Commit, pa.Table]]:
        """Rows of one kind (data, rejected, quarantine), shard by shard, in the order of the names."""
        for commit in self.commits():
            table = read_part(self.folder, kind, commit, columns)
            if table is not None:
                yield commit, table

    # -- end ----------------------------------------------------------------------------------------------------------

    def write_manifest(self, manifest: Manifest) -> None:
        self.folder.write("manifest.json", json.dumps(asdict(manifest), indent=1, sort_keys=True).encode())

    def forget_manifest(self) -> None:
        """Make the run unfinished again."""
        self.folder.delete("manifest.json")

    def orphans(self, commits: Sequence[Commit]) -> list[str]:
        """Parts that no valid commit names: what killed or losing writers left, and superseded generations."""
        valid = {part_path(kind, c.shard, c.generation, c.attempt) for c in commits for kind in KINDS}
        newest = {c.shard: c.generation for c in commits}
        found = []
        for kind in KINDS:
            for entry in self.folder.list(kind):
                shard, generation = _shard_of(entry.path)
                # a higher generation is a retry that is being written: not ours to judge
                if entry.path not in valid and generation <= newest.get(shard, -1):
                    found.append(entry.path)
        return found

    def sweep(self, commits: Sequence[Commit]) -> int:
        """Delete orphans, the journal and temporary files; returns how many objects went."""
        doomed = self.orphans(commits) + [entry.path for entry in self.folder.list("attempts")]
        for path in doomed:
            self.folder.delete(path)
        if isinstance(self.folder, LocalFolder):
            return len(doomed) + sum(
                self.folder.sweep_temporary(kind, older_than_s=60.0) for kind in (*KINDS, "attempts", "")
            )
        return len(doomed)


class IndexReader:
    """Row groups of ``index.parquet``, the footer read once per process."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._file: pq.ParquetFile | None = None

    def read(self, number: int) -> pa.Table:
        """Rows of shard number `number`."""
        if self._file is None:
            self._file = pq.ParquetFile(self._folder.open("index.parquet"))
        return self._file.read_row_group(number, use_threads=False)


def _shard_of(path: str) -> tuple[str, int]:
    name = path.partition("/")[2].removesuffix(".parquet")
    parts = name.split(".")
    generation = next((p for p in reversed(parts) if len(p) == 5 and p[0] == "g" and p[1:].isdigit()), "g0000")
    return name[: name.rfind(f".{generation}")], int(generation[1:])


def _to_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."
