"""WebDataset: tar files in which key.jpg and key.txt (or key.json) stand side by side.

Listing reads every tar header once, on the driver: 512 bytes per member on a disk; on an object store nearly the whole
tars, since headers lie between the images (256 KiB per request). A shard is a run of samples within one tar, so that a
worker reads only that part. Images are referenced by byte range and read when they are needed.

A broken or cut tar gives its rows up to the break and one quarantined row that names it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import CAPTION
from negscale.datasets.captions import MAX_CAPTION_WORDS, CaptionRows, fault, image_ref
from negscale.datasets.files import must_find_files, open_file
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import safe_name
from negscale.storage.folder import Entry, Folder, open_folder

_THREADS = 8
_BLOCK = tarfile.BLOCKSIZE
_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
    tarfile.GNUTYPE_SPARSE,
)  # fmt: skip
_IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")


class WebDatasetConfig(Config):
    """Tar files of key.jpg + key.txt or key.json."""

    kind: Literal["webdataset"] = "webdataset"
    root: Location
    """Folder or URI below which the tar files lie."""
    files: str = "**/*.tar"
    """Which files, as a pattern of paths below root; compressed tars cannot be read by range."""
    caption_extension: str = "txt"
    """Member that holds the caption as UTF-8 text."""
    json_caption: str = "caption"
    """Key of the caption in key.json, used where a sample has no caption member."""
    max_caption_words: int = Field(default=MAX_CAPTION_WORDS, ge=1)
    """Longer captions are quarantined."""
    shard_rows: int = Field(default=512, ge=1)
    """Samples in a unit of work."""

    def build(self) -> WebDatasetSource:
        """The source."""
        return WebDatasetSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.root)


@dataclass
class Sample:
    """Neighbouring members with one key."""

    key: str
    start: int  # byte of its first header
    stop: int = 0  # byte after its last member
    members: dict[str, tuple[int, int]] = field(default_factory=dict)  # extension -> (offset, length) of the data


class BrokenTarError(Exception):
    """The tar ends or is damaged at `at`."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(at, why)
        self.at, self.why = at, why


def read_samples(file: Any, start: int, stop: int) -> Iterator[Sample]:
    """The samples whose headers lie in bytes [start, stop); raises BrokenTarError after the last whole one."""
    current: Sample | None = None
    try:
        for name, header, data, length in _members(file, start, stop):
            folder, _, base = name.rpartition("/")
            stem, _, extension = base.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            if current is None or key != current.key:
                if current is not None:
                    yield current
                current = Sample(key, header)
            current.members.setdefault(extension.lower(), (data, length))
            current.stop = data + -(-length // _BLOCK) * _BLOCK
    except BrokenTarError:
        if current is not None and len(current.members) > 1:
            yield current  # the image and its caption are whole; a lone member is part of what was cut
        raise
    if current is not None:
        yield current


def _members(file: Any, start: int, stop: int) -> Iterator[tuple[str, int, int, int]]:
    """(name, offset of the header, offset of the data, length) of each regular file."""
    at = start
    while at < stop:
        file.seek(at)
        block = file.read(_BLOCK)
        if not block or (len(block) == _BLOCK and not block.strip(b"\0")):
            return
        try:
            # header by header, since TarFile takes a damaged one in the middle for the end of the archive
            info: tarfile.TarInfo | None = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            data = at + _BLOCK
            if info.type in _EXTENDED:  # long names and the like: the header proper follows
                file.seek(at)
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    info = next(iter(tar), None)
                    data = info.offset_data if info is not None else data
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise BrokenTarError(at, str(error) or type(error).__name__) from None
        if info is None or info.size < 0:
            raise BrokenTarError(at, "no header" if info is None else f"{info.name!r} claims {info.size} bytes")
        after = data + (-(-info.size // _BLOCK) * _BLOCK if info.isreg() else 0)
        if after > stop:
            raise BrokenTarError(at, f"{info.name!r} ends at byte {after}, the file at {stop}")
        if info.isreg() and not info.name.rpartition("/")[2].startswith("."):
            yield info.name, at, data, info.size
        at = after


class _Scan(NamedTuple):
    starts: list[int]  # of every sample, then the end of the last
    repeated: list[int]  # numbers of samples whose key occurred before
    problem: str


class WebDatasetSource:
    """Rows "00000/000000017": tar and key."""

    schema = CAPTION

    def __init__(self, config: WebDatasetConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Reads all tar headers; ConfigError when no sample is found or a file is compressed."""
        folder = open_folder(self.config.root)
        files = must_find_files(folder, self.config.files)
        for entry in files:
            if entry.path.endswith((".gz", ".tgz", ".bz2", ".xz", ".zst")):
                raise ConfigError(f"{entry.path}: a compressed tar cannot be read by byte range; unpack it to .tar")
        with ThreadPoolExecutor(_THREADS) as pool:
            scans = list(pool.map(lambda entry: self._scan(folder, entry), files))
        if not any(len(scan.starts) > 1 for scan in scans):
            raise ConfigError(f"no sample in {len(files)} files; {files[0].path}: {scans[0].problem or 'empty tar'}")
        shards = tuple(
            shard
            for number, (entry, scan) in enumerate(zip(files, scans, strict=True))
            for shard in self._shards(number, entry.path, scan)
        )
        facts = [[entry.path, entry.size_bytes, len(scan.starts) - 1] for entry, scan in zip(files, scans, strict=True)]
        digest = sha256(json.dumps(facts).encode()).hexdigest()
        return Listing(shards, {"files": len(files), "names_sizes_samples_sha256": digest})

    def _scan(self, folder: Folder, entry: Entry) -> _Scan:
        starts: list[int] = []
        repeated: list[int] = []
        keys: set[str] = set()
        problem, end = "", 0
        samples: list[Sample] = []
        with open_file(folder, entry.path, entry.size_bytes) as file:
            walk = read_samples(file, 0, entry.size_bytes)
            try:
                samples.extend(walk)
            except BrokenTarError as error:
                problem = f"broken at byte {error.at} of {entry.size_bytes}: {error.why}"
        for number, sample in enumerate(samples):
            repeated += [number] if sample.key in keys else []
            keys.add(sample.key)
            starts.append(sample.start)
            end = sample.stop
        if not entry.size_bytes:
            problem = "zero bytes"
        return _Scan([*starts, end], repeated, problem)

    def _shards(self, number: int, path: str, scan: _Scan) -> Iterator[Shard]:
        name = f"{number:05d}-{safe_name(path.removesuffix('.tar'))}"
        size = self.config.shard_rows
        count = len(scan.starts) - 1
        for first in range(0, count, size):
            last = min(first + size, count)
            where = {
                "tar": path, "start": scan.starts[first], "stop": scan.starts[last],
                "repeated": {str(k - first): k for k in scan.repeated if first <= k < last},
            }  # fmt: skip
            yield Shard(f"{name}-{first:09d}", last - first, json.dumps(where))
        if scan.problem:
            yield Shard(f"{name}-broken", 1, json.dumps({"tar": path, "problem": scan.problem, "rows": count}))

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's rows with their captions; images stay in the tar."""
        where: dict[str, Any] = json.loads(shard.where)
        path: str = where["tar"]
        stem = path.removesuffix(".tar")
        rows = CaptionRows(self.config.max_caption_words)
        if "problem" in where:
            message = f"{path} is {where['problem']}; the {where['rows']} samples before that are read"
            rows.add(f"{stem}/", None, None, image_id="", caption_id="", broken=fault("broken_tar", message))
            return rows.table()
        with open_file(open_folder(self.config.root), path) as file:
            for k, sample in enumerate(list(read_samples(file, where["start"], where["stop"]))):
                row_id, broken = f"{stem}/{sample.key}", None
                if (number := where["repeated"].get(str(k))) is not None:
                    broken = fault("duplicate_id", f"key {sample.key!r} occurred before in {path}")
                    row_id = f"{row_id}~{number}"
                caption, problem = self._caption(file, sample)
                extension = next((name for name in _IMAGES if name in sample.members), None)
                ref = None
                if extension is None:
                    found = ", ".join(sample.members)
                    broken = broken or fault(
                        "missing_image_entry", f"{path}: {sample.key!r} has no image, only {found}"
                    )
                else:
                    offset, length = sample.members[extension]
                    ref = image_ref(path, offset=offset, length=length)
                rows.add(row_id, ref, caption, image_id=row_id, caption_id="0", broken=broken or problem)
        return rows.table()

    def _caption(self, file: Any, sample: Sample) -> tuple[bytes | str | None, dict[str, Any] | None]:
        config = self.config
        if config.caption_extension in sample.members:
            return _data(file, sample.members[config.caption_extension]), None
        if "json" not in sample.members:
            found = ", ".join(sample.members)
            return None, fault("missing_caption", f"no .{config.caption_extension} or .json member, only {found}")
        try:
            text = _data(file, sample.members["json"]).decode("utf-8-sig", "surrogateescape")
            value = json.loads(text, strict=False)
        except json.JSONDecodeError as error:
            return None, fault("schema", f"{sample.key}.json is not JSON: {error}")
        caption = value.get(config.json_caption) if isinstance(value, dict) else None
        if not isinstance(caption, str):
            return None, fault("schema", f"{sample.key}.json has no text in {config.json_caption!r}")
        return caption, None


def _data(file: Any, where: tuple[int, int]) -> bytes:
    file.seek(where[0])
    return file.read(where[1])
