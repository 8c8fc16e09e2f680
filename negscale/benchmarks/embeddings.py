"""Vectors of one model on disk: parts named by what they hold, each written once, read by content.

A part is a Parquet file with columns key (32 bytes), vector (float32[D]) and, of texts, whether the model cut it. Parts
come into being whole and never change, so that a run that is killed loses the part it was at, and two runs at once cost
time, not truth. The layout is plain: a training reads the same parts.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.errors import AuditError, PlanError
from negscale.storage.folder import Folder, open_folder

KINDS = ("pictures", "texts")


class EmbeddingStore:
    """Vectors of one encoder below a folder or URI shared by many. `version`: of how pictures become pixels."""

    def __init__(self, root: str, encoder_id: str, version: int = 1) -> None:
        self.encoder_id = encoder_id
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", encoder_id)[:60]
        digest = sha256(f"{encoder_id}\n{version}".encode()).hexdigest()[:12]
        self.folder: Folder = open_folder(f"{root.rstrip('/')}/{slug}-{digest}")

    def add(self, kind: str, keys: Sequence[bytes], vectors: np.ndarray, cut: Sequence[bool]) -> None:
        """Write one part. vectors: float32[n, D], finite. Raises PlanError when the store holds vectors of another size."""
        width = int(vectors.shape[1])
        facts = json.dumps({"encoder": self.encoder_id, "width": width}).encode()
        if not self.folder.put_if_absent("encoder.json", facts):
            held = json.loads(self.folder.read("encoder.json"))["width"]
            if held != width:
                raise PlanError(
                    f"{self.folder.uri} holds vectors of {held} numbers, {self.encoder_id} gives {width}: "
                    "the model changed under its name; use another folder"
                )
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
        table = pa.table({
            "key": pa.array(list(keys), pa.binary(32)), "vector": pa.FixedSizeListArray.from_arrays(flat, width),
            "cut": pa.array(list(cut), pa.bool_()),
        })  # fmt: skip
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="none")  # floats of vectors do not compress
        self.folder.put_if_absent(f"{kind}/{sha256(b''.join(keys)).hexdigest()[:24]}.parquet", buffer.getvalue())

    def known(self, kind: str) -> set[bytes]:
        """Keys of all vectors of a kind; reads no vectors."""
        return {key for entry in self.folder.list(kind) for key in self._read(entry.path, ["key"])["key"].to_pylist()}

    def load(self, kind: str, keys: Sequence[bytes]) -> tuple[Mapping[bytes, int], np.ndarray, np.ndarray]:
        """(key -> row, float32[n, D] vectors, bool[n] cut) of those of `keys` that are there.

        Reads every part once and keeps only what was asked for. Raises AuditError for a damaged part.
        """
        wanted, place = set(keys), {}
        vectors: list[np.ndarray] = []
        cut: list[np.ndarray] = []
        for entry in sorted(self.folder.list(kind), key=lambda entry: entry.path):
            table = self._read(entry.path)
            rows = []
            for at, key in enumerate(table["key"].to_pylist()):
                if key in wanted and key not in place:
                    place[key] = len(place)
                    rows.append(at)
            if rows:
                column = table["vector"].combine_chunks()
                matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
                vectors.append(matrix[rows])
                cut.append(table["cut"].to_numpy(zero_copy_only=False)[rows])
        empty = np.zeros((0, 0), np.float32)
        return place, np.concatenate(vectors) if vectors else empty, np.concatenate(cut) if cut else np.zeros(0, bool)

    def _read(self, path: str, columns: list[str] | None = None) -> pa.Table:
        try:
            with self.folder.open(path) as file:
                return pq.ParquetFile(file).read(columns=columns, use_threads=False)
        except pa.ArrowInvalid as error:
            raise AuditError(f"{path} in {self.folder.uri} is damaged ({error}); delete it and run again") from error
