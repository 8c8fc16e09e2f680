"""A folder of images with a captions file: CSV or TSV with a header, JSON lines, or Flickr8k's token file.

Several captions per image are several rows, side by side. Rows whose image is missing are kept: the stage that reads
pixels quarantines them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location, Locations
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import CAPTION
from negscale.datasets.captions import MAX_CAPTION_WORDS, CaptionRows, clean_caption, fault, image_ref
from negscale.datasets.images import ImageReader, is_absolute
from negscale.datasets.indexed import indexed_listing, read_config_file, slice_of_index
from negscale.storage.folder import Folder, open_folder

CAPTION_FILES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.txt")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
_TOKEN = re.compile(r"(?P<image>\S[^\t]*)#(?P<number>\d+)\t(?P<caption>.*)")


class FolderConfig(Config):
    """A folder of images and a captions file."""

    kind: Literal["image_folder"] = "image_folder"
    root: Location
    """Folder or URI that holds the images and the captions file."""
    captions: Location = ""
    """Captions file (.csv, .tsv, .jsonl, .txt), relative to root or absolute; empty = captions.* in root."""
    image_folder: Location = ""
    """Folder below root to which image names are relative; empty = images/ if there is one, else root."""
    image_column: str = "image"
    """Column with the image's file name."""
    caption_column: str = "caption"
    """Column with the caption (in JSON lines a list is several captions)."""
    id_column: str = ""
    """Column with ids of captions; empty = image name and caption number."""
    image_roots: Locations = ()
    """Further folders in which absolute image names may lie."""
    max_caption_words: int = Field(default=MAX_CAPTION_WORDS, ge=1)
    """Longer captions are quarantined."""
    shard_rows: int = Field(default=512, ge=1)
    """Captions in a unit of work."""

    def build(self) -> FolderSource:
        """The source."""
        return FolderSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.root, self.image_roots)


class _Line(NamedTuple):
    number: int
    image: str
    caption: str | None
    id: str
    problem: str = ""


class FolderSource:
    """Rows "name.jpg-0": image name, number of the caption within the image."""

    schema = CAPTION

    def __init__(self, config: FolderConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Parses the captions file and lists the images once."""
        config = self.config
        folder = open_folder(config.root)
        path = config.captions or _default_captions(folder)
        data = read_config_file(folder, path, "source.captions")
        files = [entry.path for entry in folder.walk() if entry.path.lower().endswith(IMAGE_SUFFIXES)]
        base = config.image_folder.strip("/")
        if not base and any(file.startswith("images/") for file in files):
            base = "images"
        lines = list(read_captions(data, path, config))
        captioned = {_below(base, line.image) for line in lines}
        identity = {
            "captions_sha256": sha256(data).hexdigest(),
            "images_without_captions": sum(file not in captioned for file in files),
        }
        return indexed_listing("folder", _rows(lines, base, config), config.shard_rows, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)


def _default_captions(folder: Folder) -> str:
    there = [entry.path for entry in folder.list()]
    for name in CAPTION_FILES:
        if name in there:
            return name
    raise ConfigError(
        f"source.root {folder.uri!r} holds none of {', '.join(CAPTION_FILES)}; name the file in source.captions. "
        f"There is: {', '.join(sorted(there)[:8]) or 'no file'}"
    )


def _below(base: str, image: str) -> str:
    return f"{base}/{image}" if base and not is_absolute(image) else image


def read_captions(data: bytes, path: str, config: FolderConfig) -> Iterator[_Line]:
    """The lines of a captions file in its order; raises ConfigError naming the columns when one is missing."""
    text = data.decode("utf-8-sig", "surrogateescape")
    if path.lower().endswith((".jsonl", ".ndjson")):
        return _json_lines(text, path, config)
    first = text.partition("\n")[0]
    if _TOKEN.fullmatch(first.rstrip("\r")):
        return _token_lines(text)
    tabs = path.lower().endswith(".tsv") or (path.lower().endswith(".txt") and "\t" in first)
    return _table_lines(text, path, config, tabs)


def _token_lines(text: str) -> Iterator[_Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if found := _TOKEN.fullmatch(line.rstrip("\r")):
            yield _Line(number, found["image"], found["caption"], "")
        elif line.strip():
            yield _Line(number, "", line, "", f"line {number} is not 'image#number<TAB>caption'")


def _table_lines(text: str, path: str, config: FolderConfig, tabs: bool) -> Iterator[_Line]:
    usual = csv.field_size_limit(max(len(text), csv.field_size_limit()))  # a caption of any length is a row
    try:
        stream = io.StringIO(text, newline="")
        reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(stream)
        header = [name.strip() for name in next(reader, [])]
        wanted = [config.image_column, config.caption_column, *([config.id_column] if config.id_column else [])]
        for name in wanted:
            if name not in header:
                raise ConfigError(f"{path}: no column {name!r}; the columns are {', '.join(header) or '(none)'}")
        at = [header.index(name) for name in wanted]
        for cells in reader:
            number = reader.line_num
            if len(cells) == len(header):
                image, caption, *rest = (cells[i] for i in at)
                yield _Line(number, image.strip(), caption, rest[0].strip() if rest else "")
            elif cells:
                problem = f"line {number} has {len(cells)} cells, the header {len(header)}: quote captions with commas"
                yield _Line(number, cells[at[0]].strip() if len(cells) > at[0] else "", ",".join(cells), "", problem)
    finally:
        csv.field_size_limit(usual)


def _json_lines(text: str, path: str, config: FolderConfig) -> Iterator[_Line]:
    seen = False
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            item: Any = json.loads(line, strict=False)
        except json.JSONDecodeError as error:
            yield _Line(number, "", line, "", f"line {number} is not JSON: {error}")
            continue
        if not isinstance(item, dict) or not isinstance(item.get(config.image_column), str):
            if not seen and isinstance(item, dict) and config.image_column not in item:
                raise ConfigError(f"{path}: no key {config.image_column!r}; line {number} has {', '.join(item)}")
            yield _Line(number, "", line, "", f"line {number} has no image name in {config.image_column!r}")
            continue
        if not seen and config.caption_column not in item:
            raise ConfigError(f"{path}: no key {config.caption_column!r}; line {number} has {', '.join(item)}")
        seen = True
        value = item.get(config.caption_column)
        row_id = str(item.get(config.id_column, "")) if config.id_column else ""
        for k, caption in enumerate(value if isinstance(value, list) else [value]):
            own = f"{row_id}-{k}" if row_id and isinstance(value, list) else row_id
            bad = "" if caption is None or isinstance(caption, str) else f"line {number}: the caption is {caption!r}"
            yield _Line(number, item[config.image_column], None if bad else caption, own, bad)


def _rows(lines: list[_Line], base: str, config: FolderConfig) -> pa.Table:
    images: dict[str, list[_Line]] = {}
    for line in lines:
        images.setdefault(line.image, []).append(line)
    rows = CaptionRows(config.max_caption_words)
    for image, group in images.items():
        ref = image_ref(_below(base, image)) if image else None
        said = tuple(text for line in group if not line.problem and (text := clean_caption(line.caption)[0]))
        for k, line in enumerate(group):
            broken = fault("schema", line.problem) if line.problem else None
            if not image:
                broken = broken or fault("missing_image_entry", f"line {line.number} names no image")
            rows.add(
                line.id or (f"{image}-{k}" if image else f"line-{line.number:09d}"), ref, line.caption,
                image_id=image, caption_id=line.id or str(k), image_captions=said, broken=broken,
            )  # fmt: skip
    return rows.table()
