"""The annotation file of NegationCLIP (arXiv 2501.10913; `parkquasar/NegationCLIP`, src/data_generation.py).

COCO's captions layout with the kept captions only: ``{info, licenses, images, annotations}``, each annotation
``{image_id, id, caption, updated_caption}``. The authors copy COCO's whole image list; here `images` names those that
have an annotation, and `info` says which run the file comes from.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from negscale.exports.finished import ExportResult, FinishedRun, open_finished, require_columns
from negscale.exports.publish import staged_file
from negscale.storage.run_folder import RunFolder

_MAX_ID = 2**63 - 1
_KEYS = ("id", "image", "image_id", "caption_id")


def export_coco_json(run: RunFolder, out: str, allow_over_budget: bool = False) -> ExportResult:
    """Write the kept rows of a finished run to the file `out` (a path or URI), in a fixed order.

    Image and caption ids that are numbers, and different ones, are kept as they are; otherwise images or annotations are
    numbered from 1 and carry the original as `source_id` or `row_id`. Raises PlanError for unfinished runs, for runs
    over their quarantine budget (unless allowed), and for runs without negated captions.
    """
    finished = open_finished(run, allow_over_budget)
    require_columns(finished.schema(), (*_KEYS, "caption", "negated_caption"), "the coco-json export")
    with staged_file(out) as path, _image_list() as images:
        keep_caption_ids = _collect(finished, images)
        with path.open("w", encoding="utf-8") as file:
            file.write(
                '{"info": ' + json.dumps(_info(finished, images.common_folder)) + ',\n"licenses": [],\n"images": ['
            )
            _write_items(file, images.records())
            file.write('],\n"annotations": [')
            rows = _write_items(file, _annotations(finished, images, keep_caption_ids))
            file.write("]}\n")
        size = path.stat().st_size
    return ExportResult(out, rows, 1, size)


def _info(finished: FinishedRun, folder: str) -> dict[str, Any]:
    manifest = finished.manifest
    return {
        "description": f"Captions with negation, made by negscale (run {manifest.name}/{manifest.version})",
        "fingerprint": manifest.fingerprint, "content_digest": manifest.content_digest, "code": manifest.code,
        "models": manifest.backends, "image_folder": folder,
        "licence_note": "images and original captions keep the licences of their source",
    }  # fmt: skip


def _collect(finished: FinishedRun, images: _ImageList) -> bool:
    """First pass, ids only: fill the image list; whether caption ids are different numbers, so that they can be kept."""
    numbers: list[np.ndarray] = []
    numeric = True
    for table in finished.tables(_KEYS):
        images.add(table)
        numeric = numeric and all(_is_number(text) for text in table["caption_id"].to_pylist())
        if numeric:
            numbers.append(np.array([int(text) for text in table["caption_id"].to_pylist()], np.int64))
    images.decide()
    everything = np.concatenate(numbers) if numeric and numbers else np.empty(0, np.int64)
    return numeric and len(np.unique(everything)) == len(everything)


def _annotations(finished: FinishedRun, images: _ImageList, keep_caption_ids: bool) -> Iterator[dict[str, Any]]:
    number = 0
    for table in finished.tables((*_KEYS, "caption", "negated_caption")):
        found = images.numbers(table)
        for row in table.to_pylist():
            number += 1
            annotation = {
                "image_id": found[_image_key(row)], "id": int(row["caption_id"]) if keep_caption_ids else number,
                "caption": row["caption"], "updated_caption": row["negated_caption"],
            }  # fmt: skip
            yield annotation if keep_caption_ids else {**annotation, "row_id": row["id"]}


def _write_items(file: IO[str], items: Iterator[dict[str, Any]]) -> int:
    count = 0
    for count, item in enumerate(items, 1):
        file.write(("\n" if count == 1 else ",\n") + json.dumps(item))
    return count


def _is_number(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdigit() and int(text) <= _MAX_ID


def _image_key(row: dict[str, Any]) -> str:
    image = row["image"] or {}
    return row["image_id"] if row["image_id"] is not None else f"{image.get('uri')}@{image.get('offset') or 0}"


class _ImageList:
    """The images of a run, in the order of their first row; on disk, since millions of strings need not be in memory."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")  # a scratch file: a crash throws it away
        self._db.execute(
            "CREATE TABLE images (place INTEGER PRIMARY KEY, key TEXT UNIQUE, number INTEGER, uri TEXT, span INTEGER, "
            "length INTEGER, height INTEGER, width INTEGER)"
        )
        self._keep_ids = False
        self._folder: list[str] | None = None

    @property
    def common_folder(self) -> str:
        """The folder in which all images lie; file names are relative to it."""
        return "/".join(self._folder or ())

    def add(self, table: pa.Table) -> None:
        """Note the images of these rows."""
        new: dict[str, tuple[Any, ...]] = {}
        for row in table.select(["image", "image_id"]).to_pylist():
            key, image = _image_key(row), row["image"] or {}
            if key in new:
                continue
            uri: str = image.get("uri") or ""
            self._narrow(uri.split("/")[:-1])
            number = int(key) if _is_number(key) else None
            new[key] = (
                key, number, uri, image.get("offset"), image.get("length"), image.get("height_px"), image.get("width_px"),
            )  # fmt: skip
        self._db.executemany(
            "INSERT OR IGNORE INTO images (key, number, uri, span, length, height, width) VALUES (?,?,?,?,?,?,?)",
            new.values(),
        )

    def _narrow(self, folder: Sequence[str]) -> None:
        if self._folder is None:
            self._folder = list(folder)
        while list(folder[: len(self._folder)]) != self._folder:
            self._folder = self._folder[:-1]

    def decide(self) -> None:
        """After the last `add`: keep the source's numbers when all are different numbers, else count."""
        every, different = self._db.execute("SELECT COUNT(*), COUNT(DISTINCT number) FROM images").fetchone()
        self._keep_ids = every == different

    def numbers(self, table: pa.Table) -> dict[str, int]:
        """Image key -> number in the file, for the images of these rows."""
        keys = {_image_key(row) for row in table.select(["image", "image_id"]).to_pylist()}
        column = "number" if self._keep_ids else "place"
        query = f"SELECT {column} FROM images WHERE key = ?"
        return {key: self._db.execute(query, (key,)).fetchone()[0] for key in keys}

    def records(self) -> Iterator[dict[str, Any]]:
        """COCO image records."""
        skip = len(self.common_folder) + 1 if self._folder else 0
        for place, key, number, uri, span, length, height, width in self._db.execute(
            "SELECT * FROM images ORDER BY place"
        ):
            record: dict[str, Any] = {"id": number if self._keep_ids else place, "file_name": uri[skip:]}
            # offset and length: where the bytes lie in a tar file
            known = {"height": height, "width": width, "offset": span, "length": length}
            record |= {name: value for name, value in known.items() if value is not None}
            yield record if self._keep_ids else {**record, "source_id": key}

    def close(self) -> None:
        self._db.close()


@contextmanager
def _image_list() -> Iterator[_ImageList]:
    handle, name = tempfile.mkstemp(prefix="negscale-images-", suffix=".sqlite")
    os.close(handle)
    images = _ImageList(Path(name))
    try:
        yield images
    finally:
        images.close()
        Path(name).unlink(missing_ok=True)
