"""CC12M and CC3M: text files with a URL and a caption per line, gzipped or not (Changpinyo et al. 2021; Sharma et al. 2018).

CC12M is url<TAB>caption, CC3M's Train_GCC-training.tsv is caption<TAB>url. Listing streams every file once and keeps
nothing but the byte at which each shard begins, so that 12 million rows cost no memory. A worker reads its own range; a
gzipped file has no ranges, so that a worker decompresses up to its shard and goes on from there for the next one.

Every line is a row: one without a tab, one that is not UTF-8 and an empty one are quarantined, each with its kind.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from hashlib import sha256
from threading import Lock
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import ENVELOPE, URL_CAPTION
from negscale.datasets.captions import MAX_CAPTION_WORDS, clean_caption, fault, storable
from negscale.datasets.files import must_find_files, open_file
from negscale.datasets.indexed import safe_name
from negscale.storage.folder import Entry, Folder, open_folder

_BLOCK = 1 << 20
_MAX_LINE = 1 << 16  # bytes; a file without line breaks must not become one row in memory
_BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)
TABLE = pa.schema([*ENVELOPE, *URL_CAPTION])


class CC12MConfig(Config):
    """Lines of a URL and a caption."""

    kind: Literal["cc12m"] = "cc12m"
    root: Location
    """Folder or URI below which the files lie."""
    files: str = "**/*.tsv*"
    """Which files, as a pattern of paths below root; those that end in .gz are decompressed."""
    columns: Literal["url_caption", "caption_url"] = "url_caption"
    """Order of a line: CC12M has the URL first, CC3M the caption."""
    max_caption_words: int = Field(default=MAX_CAPTION_WORDS, ge=1)
    """Longer captions are quarantined."""
    shard_rows: int = Field(default=1000, ge=1)
    """Lines in a unit of work."""

    def build(self) -> CC12MSource:
        """The source."""
        return CC12MSource(self)


class _Scan(NamedTuple):
    starts: list[int]  # byte (of the decompressed text) at which each shard begins
    lines: int
    end: int
    sha256: str  # of the text
    problem: str = ""


class CC12MSource:
    """Rows "cc12m/000000017": file and line number, the first line is 1."""

    schema = URL_CAPTION

    def __init__(self, config: CC12MConfig) -> None:
        self.config = config
        self._lock = Lock()
        self._open: tuple[str, Any] | None = None  # the gzipped file that was read last, where it was left

    def __reduce__(self) -> tuple[type[CC12MSource], tuple[CC12MConfig]]:
        return CC12MSource, (self.config,)

    def list(self) -> Listing:
        """Streams each file once. Raises ConfigError when there is no file, or no line in any of them."""
        folder = open_folder(self.config.root)
        files = must_find_files(folder, self.config.files)
        scans = [self._scan(folder, entry) for entry in files]
        shards = [
            shard
            for number, (entry, scan) in enumerate(zip(files, scans, strict=True))
            for shard in self._shards(number, entry.path, scan)
        ]
        if not any(scan.lines for scan in scans):
            raise ConfigError(f"no line in {len(files)} files; {files[0].path}: {scans[0].problem or 'empty'}")
        facts = [[entry.path, scan.lines, scan.sha256] for entry, scan in zip(files, scans, strict=True)]
        digest = sha256(json.dumps(facts).encode()).hexdigest()
        return Listing(tuple(shards), {"files": len(files), "names_lines_contents_sha256": digest})

    def _scan(self, folder: Folder, entry: Entry) -> _Scan:
        starts, lines, at, digest, size = [0], 0, 0, sha256(), self.config.shard_rows
        last, problem = b"\n", ""
        with _text(folder, entry.path, entry.size_bytes) as file:
            while True:
                try:
                    block = file.read1(_BLOCK)  # what a broken gzip gives before it breaks, too
                except _BROKEN_GZIP as error:
                    problem = f"broken gzip after {at} bytes of text: {error}"
                    break
                if not block:
                    break
                digest.update(block)
                breaks = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
                first = size - lines % size - 1  # index of the next line break that ends a shard
                starts += (at + 1 + breaks[first::size]).tolist()
                lines, at, last = lines + len(breaks), at + len(block), block[-1:]
        lines += last != b"\n"
        starts = [start for start in starts if start < at]
        return _Scan(starts, lines, at, digest.hexdigest(), problem)

    def _shards(self, number: int, path: str, scan: _Scan) -> Iterator[Shard]:
        name = f"{number:05d}-{safe_name(_stem(path))}"
        size = self.config.shard_rows
        for k, start in enumerate(scan.starts):
            stop = scan.starts[k + 1] if k + 1 < len(scan.starts) else scan.end
            where = {"file": path, "start": start, "stop": stop, "line": k * size + 1}
            yield Shard(f"{name}-{k * size:09d}", min(size, scan.lines - k * size), json.dumps(where))
        if scan.problem:
            where = {"file": path, "problem": scan.problem, "lines": scan.lines}
            yield Shard(f"{name}-broken", 1, json.dumps(where))

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The lines of a shard."""
        where: dict[str, Any] = json.loads(shard.where)
        stem = storable(_stem(where["file"]))
        if "problem" in where:
            message = f"{where['file']} is a {where['problem']}; the {where['lines']} lines before that are read"
            return _table([_row(f"{stem}/", "", "", fault("broken_gzip", message))])
        lines = self._lines(where["file"], where["start"], where["stop"])
        return _table([self._row(f"{stem}/{number:09d}", line) for number, line in enumerate(lines, where["line"])])

    def _lines(self, path: str, start: int, stop: int) -> list[bytes]:
        """The lines in bytes [start, stop) of a file's text, each cut after `_MAX_LINE` bytes."""
        folder = open_folder(self.config.root)
        if not path.endswith(".gz"):
            with open_file(folder, path) as file:
                file.seek(start)
                return list(_split(file, stop - start))
        with self._lock:
            if self._open is None or self._open[0] != path:
                self._close()
                self._open = (path, _text(folder, path, None))
            try:
                file = self._open[1]
                file.seek(start)  # backwards: from the beginning; forwards: decompresses what lies between
                return list(_split(file, stop - start))
            except _BROKEN_GZIP:
                self._close()
                raise

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _row(self, row_id: str, line: bytes) -> dict[str, Any]:
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        text = line.decode("utf-8", "surrogateescape")
        if not text.strip():
            return _row(row_id, "", "", fault("empty_line", "the line is empty"))
        if len(line) >= _MAX_LINE:
            return _row(row_id, "", text[:200], fault("line_too_long", f"the line has {_MAX_LINE} bytes or more"))
        url_first = self.config.columns == "url_caption"
        left, tab, right = text.partition("\t") if url_first else text.rpartition("\t")
        if not tab:
            return _row(row_id, "", text, fault("schema", "the line has no tab between URL and caption"))
        url, raw = (left, right) if url_first else (right, left)
        caption, problem = clean_caption(raw, self.config.max_caption_words)
        url = url.strip()
        if url != storable(url):
            problem = fault("not_utf8", "the URL has bytes that are not UTF-8")
        elif not url:
            problem = fault("missing_url", "the line has no URL")
        return _row(row_id, url, caption, problem)


def _row(row_id: str, url: str, caption: str, problem: dict[str, Any] | None) -> dict[str, Any]:
    url, caption = storable(url), storable(caption)
    return {
        "id": row_id, "rejection": None, "quarantine": problem, "url": url, "caption": caption,
        "image_captions": [caption] if caption else [], "caption_id": row_id.rpartition("/")[2],
        "image_id": sha256(url.encode()).hexdigest()[:32],  # rows that share an image share it
    }  # fmt: skip


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLE)


def _split(file: Any, size: int) -> Iterator[bytes]:
    """Lines of the next `size` bytes; the tail of a line that is too long is skipped, not held."""
    while size > 0:
        line = file.readline(min(size, _MAX_LINE))
        if not line:
            raise EOFError("the file is shorter than when it was listed; list it anew")
        size -= len(line)
        rest = line
        while size > 0 and not rest.endswith(b"\n"):
            rest = file.readline(min(size, _MAX_LINE))
            if not rest:
                break
            size -= len(rest)
        yield line


def _text(folder: Folder, path: str, size_bytes: int | None) -> Any:
    file = open_file(folder, path, size_bytes)
    return gzip.GzipFile(fileobj=file, mode="rb") if path.endswith(".gz") else file


def _stem(path: str) -> str:
    return path.removesuffix(".gz").removesuffix(".tsv")
