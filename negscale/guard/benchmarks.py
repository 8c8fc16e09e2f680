"""Benchmark files as entries (item, image name, texts): NegBench CSV, NegRefCOCOg and VALSE JSON, COCO JSON, JSON lines, Parquet.

Files differ in their column names only, so columns are found by name; a file in which none is found is refused.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow.parquet as pq

from negscale.core.errors import ConfigError
from negscale.storage.folder import open_folder

IMAGE_FIELDS = ("image_path", "filepath", "image_file", "filename", "file_name", "image", "image_id")
_TEXT_FIELD = re.compile(r"caption(_\d+|s)?|.*_captions?|phrase|foil|foils|sentence\d?|text|expression")
_COCO = re.compile(r"(?:^|_)(\d{12})$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a benchmark."""

    benchmark: str
    item: str
    image: str  # as the file names it, "" for none
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BenchmarkFile:
    """A benchmark file that was read, with what it is known by."""

    name: str
    path: str
    sha256: str
    entries: tuple[Entry, ...]


def image_key(name: str) -> str:
    """What an image is known by over files and splits: COCO's 12-digit number ("coco:374391"), else the file name's stem.

    COCO's 2014 and 2017 splits share their numbers: COCO_train2014_000000374391.jpg is 000000374391.jpg. A shorter bare
    number ("004070") names a different image in every dataset and gives "", no key.
    """
    stem = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    stem = re.sub(r"\.[A-Za-z]{3,4}$", "", stem)
    if found := _COCO.search(stem):
        return f"coco:{int(found[1])}"
    return f"name:{stem.lower()}" if stem and not stem.isdigit() else ""


def read_benchmark(path: str) -> BenchmarkFile:
    """The entries of a file at a path or URI. Raises ConfigError when it is absent or has neither images nor texts."""
    parent, _, name = path.rpartition("/")
    try:
        data = open_folder(parent or ("/" if path.startswith("/") else ".")).read(name)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"benchmark {path!r}: there is no such file") from None
    stem = name.rpartition(".")[0] or name
    try:
        items = list(_items(name.lower(), data))
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"benchmark {path!r} cannot be read: {type(error).__name__}: {error}") from None
    entries = tuple(_entry(stem, key, item) for key, item in items)
    if not any(entry.image or entry.texts for entry in entries):
        keys = sorted(items[0][1]) if items else "nothing"
        raise ConfigError(
            f"benchmark {path!r}: no column of images ({', '.join(IMAGE_FIELDS)}) or texts (caption, phrase, ...); it has {keys}"
        )
    return BenchmarkFile(stem, path, sha256(data).hexdigest(), entries)


def _items(name: str, data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(item's name, its fields)."""
    if name.endswith(".parquet"):
        schema = pq.read_schema(io.BytesIO(data))
        wanted = [c for c in schema.names if c in IMAGE_FIELDS or _TEXT_FIELD.fullmatch(c)]
        yield from _numbered(pq.read_table(io.BytesIO(data), columns=wanted).to_pylist())
        return
    text = data.decode("utf-8-sig", "replace")
    if name.endswith((".csv", ".tsv")):
        usual = csv.field_size_limit(max(len(text), csv.field_size_limit()))
        try:
            rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if name.endswith(".tsv") else ",")
            yield from _numbered(rows)
        finally:
            csv.field_size_limit(usual)
        return
    try:
        content = json.loads(text, strict=False)
    except json.JSONDecodeError:  # JSON lines, whatever the ending
        yield from _numbered(json.loads(line, strict=False) for line in text.splitlines() if line.strip())
        return
    if isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content:
        yield from _coco(content)
    elif isinstance(content, dict) and content and all(isinstance(item, dict) for item in content.values()):
        yield from content.items()
    else:
        yield from _numbered(content if isinstance(content, list) else [content])


def _numbered(items: Iterable[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise ValueError(f"item {number} is {type(item).__name__}, expected fields with names")
        yield str(item.get("id", number)), item


def _coco(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    texts: dict[Any, list[str]] = {}
    for note in content["annotations"]:
        if isinstance(note.get("caption"), str):
            texts.setdefault(note.get("image_id"), []).append(note["caption"])
    for image in content["images"]:
        number = image.get("id")
        yield str(number), {"file_name": image.get("file_name", ""), "captions": texts.get(number, [])}


def _entry(benchmark: str, item: str, fields: Mapping[str, Any]) -> Entry:
    image = next((str(fields[name]) for name in IMAGE_FIELDS if _is_name(fields.get(name))), "")
    texts = tuple(
        text for name, value in fields.items() if name and _TEXT_FIELD.fullmatch(name) for text in _texts(value)
    )
    return Entry(benchmark, item, image, tuple(dict.fromkeys(texts)))


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and str(value) != ""


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if not isinstance(value, str):
        return []
    if value.startswith("[") and value.endswith("]"):  # NegBench's lists are Python literals in a cell
        try:
            found = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [value]
        return [text for item in found for text in _texts(item)] if isinstance(found, list) else [value]
    return [value]
