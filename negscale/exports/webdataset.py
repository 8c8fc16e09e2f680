"""WebDataset tar files: key.jpg, key.txt (the caption to train on) and key.json (every column) of each kept row.

Where a row has several images, the others stand beside the first under their column's name: key.image_with_object.png.

Images are the source's own bytes, not encoded anew. The same run gives the same bytes: members in the order of the rows,
no times, no owners.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.errors import ConfigError, PlanError
from negscale.core.image import ImageError
from negscale.core.schema import IMAGE
from negscale.exports.card import Layout, Tally, write_card
from negscale.exports.finished import ExportResult, FinishedRun, open_finished, require_columns
from negscale.exports.image_files import MissingImages, ReadsBytes, image_suffix, safe_key
from negscale.exports.parquet import flat_schema, flatten
from negscale.exports.publish import staged_folder
from negscale.storage.run_folder import RunFolder

ROWS_PER_TAR = 1000
_AHEAD = 16  # images read ahead: hides the latency of object stores, bounds the memory
_CAPTIONS = ("negated_caption", "caption")


def export_webdataset(
    run: RunFolder, out: str, reader: ReadsBytes, allow_over_budget: bool = False, license_id: str = "",
    rows_per_tar: int = ROWS_PER_TAR, reader_of: Callable[[str], ReadsBytes] | None = None,
) -> ExportResult:  # fmt: skip
    """Write the kept rows to the folder `out` (a path or URI): data/train-*.tar, README.md, recipe.yaml.

    reader: reads the column `image`; reader_of: gives the reader of each further image column (None: those stay
    references). Rows with an image that cannot be read are left out and listed in ``missing_images.jsonl``; the result
    counts samples. Raises PlanError for runs that are unfinished, over their quarantine budget (unless allowed), or
    without image or caption.
    """
    if rows_per_tar < 1:
        raise ConfigError(f"{rows_per_tar} rows per tar: expected a positive whole number")
    finished = open_finished(run, allow_over_budget)
    schema = finished.schema()
    require_columns(schema, ("image",), "the webdataset export")
    caption = next((name for name in _CAPTIONS if name in schema.names), None)
    if caption is None:
        raise PlanError(
            f"the webdataset export needs one of the columns {list(_CAPTIONS)}; this run has {schema.names}"
        )
    flat, tally = flat_schema(schema), Tally()
    readers = {"image": reader}
    if reader_of is not None:
        readers |= {f.name: reader_of(f.name) for f in schema if f.type == IMAGE and f.name not in readers}
    with staged_folder(out) as folder:
        tars = _Tars(folder / "data", rows_per_tar)
        missing = MissingImages(folder)
        try:
            for row, columns, images in _with_images(finished, flat, tally, readers):
                if isinstance(images, _Unreadable):
                    missing.add(row["id"], row[images.column], images.error)
                    continue
                tars.add(safe_key(row["id"]), {
                    **images, "txt": (row[caption] or "").encode(),
                    "json": json.dumps(columns, sort_keys=True).encode(),
                })  # fmt: skip
        finally:
            tars.close()
        files = tars.publish()
        write_card(folder, finished, flat, tally, license_id, _layout(caption, tars.samples, missing))
        size = sum(path.stat().st_size for path in files)
    return ExportResult(out, tars.samples, len(files), size)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Which image of a row cannot be had, and why."""

    column: str
    error: ImageError


_Images = dict[str, bytes] | _Unreadable  # member suffix -> bytes


def _with_images(
    finished: FinishedRun, flat: pa.Schema, tally: Tally, readers: Mapping[str, ReadsBytes]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], _Images]]:
    """(row, its flat columns, its images or why there are none), in order, images read ahead by threads."""

    def fetch(row: Mapping[str, Any]) -> _Images:
        members: dict[str, bytes] = {}
        for column, reader in readers.items():
            try:
                data = reader.read_bytes(row[column] or {"uri": None})
                suffix = image_suffix(data)
            except ImageError as error:
                return _Unreadable(column, error)
            members[suffix if column == "image" else f"{column}.{suffix}"] = data
        return members

    waiting: deque[tuple[Mapping[str, Any], Mapping[str, Any], Future[_Images]]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        for table in finished.tables():
            plain = flatten(table, flat)
            tally.add(plain)
            for row, columns in zip(table.to_pylist(), plain.to_pylist(), strict=True):
                waiting.append((row, columns, pool.submit(fetch, row)))
                if len(waiting) > _AHEAD:
                    first, its_columns, image = waiting.popleft()
                    yield first, its_columns, image.result()
        while waiting:
            first, its_columns, image = waiting.popleft()
            yield first, its_columns, image.result()


def _layout(caption: str, samples: int, missing: MissingImages) -> Layout:
    return Layout(
        data_files="data/train-*.tar",
        images=f"Each sample holds the image's own bytes, `{caption}` as text and all columns as JSON.",
        notes=(f"{samples:,} samples are in the tar files.", *missing.notes()),
    )  # fmt: skip


class _Tars:
    """Tar files of at most so many samples; written under a number, named when the count is known."""

    def __init__(self, folder: Path, rows: int) -> None:
        folder.mkdir()
        self._folder, self._rows = folder, rows
        self._tar: tarfile.TarFile | None = None
        self._files: list[Path] = []
        self.samples = 0

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Append the members key.suffix of one sample."""
        if self.samples % self._rows == 0:
            self._begin()
        assert self._tar is not None
        for suffix, data in members.items():
            info = tarfile.TarInfo(f"{key}.{suffix}")  # time 0, owner 0, no names
            info.size, info.mode = len(data), 0o644
            self._tar.addfile(info, io.BytesIO(data))
        self.samples += 1

    def _begin(self) -> None:
        self.close()
        self._files.append(self._folder / f"{len(self._files):05d}.tar")
        self._tar = tarfile.open(self._files[-1], "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - see close()

    def close(self) -> None:
        """End the tar that is open."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    def publish(self) -> list[Path]:
        """00000.tar -> train-00000-of-00003.tar; an export without samples has one empty tar."""
        if not self._files:
            self._begin()
            self.close()
        count = len(self._files)
        return [
            path.rename(self._folder / f"train-{number:05d}-of-{count:05d}.tar")
            for number, path in enumerate(self._files)
        ]
