"""Where captions lie: files, folders and patterns on disks and object stores, cut into units of work.

A unit is a run of row groups of a Parquet file, or one whole file of another format: a restart loses at most the units that
were being read.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.errors import ConfigError
from negscale.datasets.files import open_file
from negscale.storage.folder import Folder, LocalFolder, open_folder

Format = Literal["parquet", "csv", "tsv", "jsonl", "txt", "json", "tar"]
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
_FORMATS: dict[str, Format] = {
    ".parquet": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "txt",
    ".json": "json", ".tar": "tar", ".tgz": "tar",
}  # fmt: skip
CAPTION_COLUMNS = ("caption", "captions", "text", "alt_text", "sentence", "sentences", "title", "description")
UNIT_ROWS = 1 << 18
_THREADS = 16


@dataclass(frozen=True, slots=True)
class Reading:
    """How captions are found in a file. Bears identity."""

    column: str = ""  # name, or number from 0 for tables without a header; empty = the first of CAPTION_COLUMNS
    lists: bool = False  # a cell that is a Python or JSON list of strings is several captions


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a file that one worker reads. `groups` are the row groups [first, last) of a Parquet file."""

    key: str  # unique within the scan, safe as a file name
    folder: str
    path: str
    size_bytes: int
    format: Format
    groups: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """For people: the file, and which row groups."""
        return f"{self.folder.rstrip('/')}/{self.path}" + (f"#{self.groups[0]}" if self.format == "parquet" else "")


@dataclass(frozen=True, slots=True)
class Found:
    """A file of captions, with the time of its last change where the storage tells (a disk)."""

    folder: str
    path: str
    size_bytes: int
    changed_ns: int = 0


def format_of(path: str) -> tuple[Format, str] | None:
    """(format, compression) by the file's endings; None for others."""
    name = path.lower()
    compression = next((end for end in COMPRESSED if name.endswith(end)), "")
    kind = _FORMATS.get(Path(name.removesuffix(compression)).suffix)
    return (kind, COMPRESSED.get(compression, "")) if kind else None


def find_sources(sources: Sequence[str]) -> list[Found]:
    """The files that the arguments name, in a stable order, each once. Raises ConfigError for what is not there."""
    found: dict[tuple[str, str], Found] = {}
    for source in sources:
        for file in _expand(source):
            found.setdefault((file.folder, file.path), file)
    return list(found.values())


def _expand(source: str) -> Iterator[Found]:
    start = re.search(r"[*?\[]", source)
    if start is None:
        folder, path = _split(source)
        is_folder = isinstance(folder, LocalFolder) and (folder.path / path).is_dir()
        if path and not is_folder and format_of(path) is not None and folder.exists(path):
            yield _fact(folder, path)
            return
        base, pattern = source.rstrip("/"), "*"
    else:
        base, _, rest = source[: start.start()].rpartition("/")
        pattern = rest + source[start.start() :]
        base = base or ("/" if source.startswith("/") else ".")
    folder = open_folder(base)
    shapes = {pattern, pattern.replace("**/", "")}
    count = 0
    for path in sorted(entry.path for entry in folder.walk()):
        deep = pattern == "*" or any(
            fnmatch.fnmatchcase(path, shape) and (path.count("/") == shape.count("/") or "**" in pattern)
            for shape in shapes
        )
        if deep and format_of(path) is not None:
            count += 1
            yield _fact(folder, path)
    if not count:
        raise ConfigError(
            f"source {source!r}: no file of captions is there; looked for {', '.join(_FORMATS)} (also .gz, .zst) at {base}"
        )


def _split(source: str) -> tuple[Folder, str]:
    if "://" not in source:
        path = Path(source).expanduser().absolute()
        return open_folder(str(path.parent)), path.name
    parent, _, name = source.rstrip("/").rpartition("/")
    return (open_folder(source), "") if parent.endswith(":/") else (open_folder(parent), name)


def _fact(folder: Folder, path: str) -> Found:
    if isinstance(folder, LocalFolder):
        stat = (folder.path / path).stat()
        return Found(folder.uri, path, stat.st_size, stat.st_mtime_ns)
    return Found(folder.uri, path, folder.size(path))


def units_of(files: Sequence[Found]) -> Iterator[Unit]:
    """Units in the order of the files. A Parquet file whose footer cannot be read is one unit, which will say so."""
    with ThreadPoolExecutor(_THREADS) as pool:  # footers come one request each
        for number, (file, groups) in enumerate(zip(files, pool.map(_group_rows, files), strict=True)):
            kind = format_of(file.path)
            assert kind is not None
            stem = f"{number:06d}"
            if groups:
                yield from _row_groups(stem, file, groups)
            else:
                yield Unit(stem, file.folder, file.path, file.size_bytes, kind[0])


def _group_rows(file: Found) -> list[int]:
    """Rows of each row group; none for other formats and for footers that cannot be read."""
    if format_of(file.path) != ("parquet", ""):
        return []
    try:
        with open_file(open_folder(file.folder), file.path, file.size_bytes) as source:
            footer = pq.read_metadata(source)
            return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    except (pa.ArrowException, OSError):
        return []


def _row_groups(stem: str, file: Found, groups: Sequence[int]) -> Iterator[Unit]:
    first, rows = 0, 0
    for group, count in enumerate(groups):
        rows += count
        if rows >= UNIT_ROWS or group == len(groups) - 1:
            yield Unit(f"{stem}-{first:06d}", file.folder, file.path, file.size_bytes, "parquet", (first, group + 1))
            first, rows = group + 1, 0


def digest_of(files: Sequence[Found], options: object) -> str:
    """Names the scan of these files, as they are now, with these options."""
    return sha256(json.dumps([[asdict(file) for file in files], options], sort_keys=True).encode()).hexdigest()[:16]
