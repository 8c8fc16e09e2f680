"""Parquet files with an image and a caption per row, as Hugging Face datasets and img2dataset write them.

Planned from the footers alone, which are read in parallel and not kept; a shard is a range of rows of one file. Images
are paths, or embedded bytes that stay in the file until a worker asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Lock
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from negscale.core.config import Config, Location, Locations
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import CAPTION
from negscale.datasets.caption_lists import captions_between, captions_in_groups, is_list
from negscale.datasets.captions import MAX_CAPTION_WORDS, CaptionRows, clean_caption, fault, image_ref
from negscale.datasets.files import must_find_files, open_file
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import safe_name
from negscale.storage.folder import Entry, Folder, open_folder

_THREADS = 16


class ParquetConfig(Config):
    """Parquet files with an image column and a caption column."""

    kind: Literal["parquet"] = "parquet"
    root: Location
    """Folder or URI below which the files lie; relative image paths start here too."""
    files: str = "**/*.parquet"
    """Which files, as a pattern of paths below root."""
    image_column: str = "image"
    """Column with a path or URI, with encoded bytes, or with struct{bytes, path}."""
    caption_column: str = "caption"
    """Column with the caption, text or UTF-8 bytes; or with a list of captions, each of which is a row."""
    id_column: str = ""
    """Column with ids, unique within a shard; empty = file and row number."""
    image_captions_column: str = ""
    """Column with the list of all captions of the image, if there is one."""
    image_roots: Locations = ()
    """Further folders or URI prefixes in which absolute image paths may lie."""
    max_caption_words: int = Field(default=MAX_CAPTION_WORDS, ge=1)
    """Longer captions are quarantined."""
    shard_rows: int = Field(default=512, ge=1)
    """Rows in a unit of work."""

    def build(self) -> ParquetSource:
        """The source."""
        return ParquetSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.root, self.image_roots)


class _Footer(NamedTuple):
    rows: int
    embedded: bool
    problem: str = ""
    groups: tuple[tuple[int, int], ...] | None = None  # (rows, captions) of each row group, where captions are lists


class ParquetSource:
    """Rows "part-0/00000017": file and row number, or the shard and the value of `id_column`."""

    schema = CAPTION

    def __init__(self, config: ParquetConfig) -> None:
        self.config = config
        self._lock = Lock()
        self._group: tuple[tuple[str, tuple[int, ...]], pa.Table] | None = None

    def __reduce__(self) -> tuple[type[ParquetSource], tuple[ParquetConfig]]:
        return ParquetSource, (self.config,)

    def list(self) -> Listing:
        """Reads every footer. A file that is none becomes one quarantined row; ConfigError when all are broken."""
        folder = open_folder(self.config.root)
        files = must_find_files(folder, self.config.files)
        with ThreadPoolExecutor(_THREADS) as pool:
            footers = list(pool.map(lambda entry: self._footer(folder, entry), files))
        if all(footer.problem for footer in footers):
            raise ConfigError(f"none of {len(files)} files is readable; {files[0].path}: {footers[0].problem}")
        shards = tuple(
            shard
            for number, (entry, footer) in enumerate(zip(files, footers, strict=True))
            for shard in self._shards(number, entry.path, footer)
        )
        facts = [[entry.path, entry.size_bytes, footer.rows] for entry, footer in zip(files, footers, strict=True)]
        digest = sha256(json.dumps(facts).encode()).hexdigest()
        return Listing(shards, {"files": len(files), "names_sizes_rows_sha256": digest})

    def _footer(self, folder: Folder, entry: Entry) -> _Footer:
        try:
            with open_file(folder, entry.path, entry.size_bytes) as source, pq.ParquetFile(source) as file:
                rows, schema = file.metadata.num_rows, file.schema_arrow
                self._check(entry.path, schema)
                column = self.config.caption_column
                groups = captions_in_groups(file.metadata, column) if is_list(schema.field(column).type) else None
        except (pa.ArrowInvalid, OSError) as error:
            return _Footer(1, False, f"{error}")
        return _Footer(rows, _is_embedded(schema.field(self.config.image_column).type), groups=groups)

    def _check(self, path: str, schema: pa.Schema) -> None:
        config = self.config
        wanted = {
            "image_column": (config.image_column, _is_image), "caption_column": (config.caption_column, _is_caption),
            "id_column": (config.id_column, None), "image_captions_column": (config.image_captions_column, None),
        }  # fmt: skip
        for key, (name, fits) in wanted.items():
            if not name:
                continue
            if name not in schema.names:
                raise ConfigError(
                    f"source.{key}: {path} has no column {name!r}; its columns are {', '.join(schema.names)}"
                )
            if fits is not None and not fits(schema.field(name).type):
                raise ConfigError(
                    f"source.{key}: column {name!r} of {path} is {schema.field(name).type}; expected "
                    + ("text, or a list of texts" if fits is _is_caption else "a path, bytes or struct{bytes, path}")
                )

    def _shards(self, number: int, path: str, footer: _Footer) -> Iterator[Shard]:
        name = f"{number:05d}-{safe_name(path.removesuffix('.parquet'))}"
        if footer.problem:
            yield Shard(f"{name}-broken", 1, json.dumps({"file": path, "problem": footer.problem}))
            return
        if footer.groups is not None:
            yield from self._list_shards(name, path, footer)
            return
        for start in range(0, footer.rows, self.config.shard_rows):
            stop = min(start + self.config.shard_rows, footer.rows)
            where = {"file": path, "start": start, "stop": stop, "embedded": footer.embedded}
            yield Shard(f"{name}-{start:09d}", stop - start, json.dumps(where))

    def _list_shards(self, name: str, path: str, footer: _Footer) -> Iterator[Shard]:
        """Shards of captions; none spans two row groups, so that each is found from its group alone."""
        first = at = 0
        for rows, captions in footer.groups or ():
            for start in range(0, captions, self.config.shard_rows):
                stop = min(start + self.config.shard_rows, captions)
                where = {
                    "file": path, "start": first, "stop": first + rows, "embedded": footer.embedded,
                    "captions": [start, stop],
                }  # fmt: skip
                yield Shard(f"{name}-{at + start:09d}", stop - start, json.dumps(where))
            first, at = first + rows, at + captions

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's rows; only the row groups and columns that it needs are read, and no image."""
        where: dict[str, Any] = json.loads(shard.where)
        path: str = where["file"]
        rows = CaptionRows(self.config.max_caption_words)
        stem = path.removesuffix(".parquet")
        if "problem" in where:
            broken = fault("unreadable_file", f"{path} is no readable Parquet file: {where['problem']}")
            rows.add(stem, None, None, image_id="", caption_id="", broken=broken)
            return rows.table()
        if "captions" in where:
            self._add_lists(rows, path, where)
            return rows.table()
        numbers = range(where["start"], where["stop"])
        try:
            table = self._rows(path, numbers, where["embedded"])
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError) as error:
            broken = fault("unreadable_file", f"{path}, rows {numbers[0]} to {numbers[-1]}: {error}", retryable=True)
            for number in numbers:
                rows.add(f"{stem}/{number:08d}", None, None, image_id="", caption_id="", broken=broken)
            return rows.table()
        self._add(rows, shard, path, numbers, table)
        return rows.table()

    def _add(self, rows: CaptionRows, shard: Shard, path: str, numbers: range, table: pa.Table) -> None:
        config = self.config
        stem = path.removesuffix(".parquet")
        captions = _bytes(table[config.caption_column])
        paths = _bytes(table[config.image_column]) if config.image_column in table.column_names else None
        ids = table[config.id_column].to_pylist() if config.id_column else None
        said = table[config.image_captions_column].to_pylist() if config.image_captions_column else None
        for k, number in enumerate(numbers):
            row_id, broken = f"{stem}/{number:08d}", None
            if ids is not None and ids[k] is None:
                broken = fault("schema", f"row {number} of {path}: column {config.id_column!r} is null")
            elif ids is not None:
                row_id = f"{shard.name}/{ids[k]}"
            uri: str | None = f"{path}#{config.image_column}:{number}"
            if paths is not None:
                value = paths[k]
                uri = value.decode("utf-8", "surrogateescape") if value else None
                if uri is None:
                    broken = fault("missing_image_entry", f"row {number} of {path} has no image path")
            rows.add(
                row_id, image_ref(uri) if uri else None, captions[k],
                image_id=uri or "", caption_id=str(ids[k]) if ids is not None else str(number),
                image_captions=[text for text in said[k] or () if text] if said is not None else None, broken=broken,
            )  # fmt: skip

    def _add_lists(self, rows: CaptionRows, path: str, where: dict[str, Any]) -> None:
        """Captions `where["captions"]` of a row group whose caption column holds lists."""
        config, numbers = self.config, range(where["start"], where["stop"])
        start, stop = where["captions"]
        stem = path.removesuffix(".parquet")
        try:
            table = self._rows(path, numbers, where["embedded"])
            captions = captions_between(table[config.caption_column], start, stop)
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError) as error:
            broken = fault("unreadable_file", f"{path}, rows {numbers[0]} to {numbers[-1]}: {error}", retryable=True)
            for k in range(start, stop):
                rows.add(f"{stem}/{numbers[0]:08d}+{k}", None, None, image_id="", caption_id="", broken=broken)
            return
        paths = None if where["embedded"] else _bytes(table[config.image_column])
        for row, place, text, said in captions:
            number, broken = numbers[row], None
            uri = f"{path}#{config.image_column}:{number}"
            if paths is not None and not (uri := (paths[row] or b"").decode("utf-8", "surrogateescape")):
                broken = fault("missing_image_entry", f"row {number} of {path} has no image path")
            key = number if not config.id_column else table[config.id_column][row].as_py()
            rows.add(
                f"{stem}/{number:08d}-{place}", image_ref(uri) if uri else None, text, image_id=uri,
                caption_id=f"{key}-{place}", image_captions=[t for other in said if (t := clean_caption(other)[0])],
                broken=broken,
            )  # fmt: skip

    def _rows(self, path: str, numbers: range, embedded: bool) -> pa.Table:
        config = self.config
        columns = [config.caption_column, *([] if embedded else [config.image_column])]
        columns += [name for name in (config.id_column, config.image_captions_column) if name]
        folder = open_folder(config.root)
        with open_file(folder, path) as source, pq.ParquetFile(source) as file:
            groups, first, at = [], 0, 0
            for group in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if at < numbers.stop and at + size > numbers.start:
                    first = first if groups else at
                    groups.append(group)
                at += size
            if at < numbers.stop:
                raise pa.ArrowInvalid(f"the file has {at} rows now, fewer than when it was listed")
            key = (path, tuple(groups))
            with self._lock:
                # neighbouring shards share a row group: a group of a million rows is decoded once, not 2,000 times
                if self._group is None or self._group[0] != key:
                    self._group = (key, file.read_row_groups(groups, columns=columns, use_threads=False))
                table = self._group[1]
        return table.slice(numbers.start - first, len(numbers))


def _is_text(type_: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return (
        types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)
        or types.is_binary(type_) or types.is_large_binary(type_)
    )  # fmt: skip


def _is_caption(type_: pa.DataType) -> bool:
    return _is_text(type_.value_type) if is_list(type_) else _is_text(type_)


def _is_embedded(type_: pa.DataType) -> bool:
    return pa.types.is_struct(type_) or pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


def _is_image(type_: pa.DataType) -> bool:
    if pa.types.is_struct(type_):
        return type_.get_field_index("bytes") >= 0
    return _is_text(type_)


def _bytes(column: pa.ChunkedArray) -> Sequence[bytes | None]:
    # as bytes: one caption that is not UTF-8 must not make the rows around it unreadable
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_binary()).to_pylist()
