"""Image hashes of a run kept shard by shard, so that a guard that was stopped goes on where it was.

Reading and decoding the images is nearly all of a guard's time, and what it finds does not depend on the benchmarks: the
parts also serve the next guard of the same run. A part belongs to one attempt of one shard and to one image root; another
attempt (a retry) or another root hashes anew. Images that could not be read are tried again each time. The bytes behind a
reference without sha256 may change unseen: delete the folder (RUN/guard/images) to hash all of them anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.image import ImageError
from negscale.datasets.images import ImageReader
from negscale.guard.reference import ImageFacts, read_facts
from negscale.storage.folder import Folder
from negscale.storage.parts import Commit

VERSION = 1  # of the hashes: raise it when `perceptual_hash` changes
HASHES = pa.schema([
    pa.field("place", pa.string(), nullable=False),  # the image's reference: uri@offset
    ("sha256", pa.binary(32)), ("perceptual", pa.uint64()), ("mirrored", pa.uint64()),
])  # fmt: skip


class HashParts:
    """Parts of image hashes in a folder, one for each shard of a run."""

    def __init__(self, folder: Folder, reader: ImageReader) -> None:
        """folder: where the parts lie; reader: of the run's images."""
        self._folder, self._reader = folder, reader
        roots = "\n".join((reader.root, *reader.more_roots))
        self._root = blake2b(roots.encode(), digest_size=4).hexdigest()
        self.reused = 0  # images whose hashes were there

    def facts(self, commit: Commit, refs: Mapping[str, Any]) -> dict[str, ImageFacts | ImageError]:
        """Hashes of the images `refs` (place -> IMAGE reference) of a shard, or why they cannot be read.

        What is not in the shard's part is read and hashed, and the part is written before this returns.
        """
        path = f"{commit.shard}.g{commit.generation:04d}.{commit.attempt}.{self._root}.v{VERSION}.parquet"
        known = {place: facts for place, facts in self._read(path).items() if place in refs}
        self.reused += len(known)
        open_ = [place for place in refs if place not in known]
        found: dict[str, ImageFacts | ImageError] = dict(known)
        found |= zip(open_, read_facts(self._reader, [refs[place] for place in open_]), strict=True)
        if any(isinstance(found[place], ImageFacts) for place in open_):
            self._write(path, found)
        return {place: found[place] for place in refs}

    def _read(self, path: str) -> dict[str, ImageFacts]:
        try:
            with self._folder.open(path) as file:
                # one thread: an Arrow thread that still holds a Python file at exit aborts the interpreter
                table = pq.ParquetFile(file).read(use_threads=False)
            if table.schema.remove_metadata() != HASHES:
                return {}
        except (FileNotFoundError, pa.ArrowInvalid):  # a damaged part is no loss: its images are read again
            return {}
        return {
            row["place"]: ImageFacts(row["sha256"], row["perceptual"], row["mirrored"]) for row in table.to_pylist()
        }

    def _write(self, path: str, found: Mapping[str, ImageFacts | ImageError]) -> None:
        rows = [
            {"place": place, "sha256": one.sha256, "perceptual": one.perceptual, "mirrored": one.mirrored}
            for place, one in found.items()
            if isinstance(one, ImageFacts)
        ]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, HASHES), sink, compression="zstd")
        self._folder.write(path, sink.getvalue().to_pybytes(), durable=False)
