"""Readers of the corpora that a co-occurrence build is fitted on: captions, annotated objects, or both.

One record per image, merged over all corpora by the image's key: COCO's 12-digit number (2014 and 2017 splits share
it), else the file's name. Lists inside a CSV cell are Python literals in NegBench's released files and are read with
``ast.literal_eval``.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import fsspec

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError

_COCO_NUMBER = re.compile(r"(?:^|[_/])(\d{12})$|^(\d{1,12})$")
_CELL_BYTES = 1 << 24  # the csv module's default of 128 KiB is shorter than some caption lists


class CorpusConfig(Config):
    """One file of captions or annotated objects."""

    kind: Literal["coco_captions", "coco_instances", "captions_csv", "captions_tsv"]
    path: Location
    """File or URI."""
    image_column: str = "image"
    """CSV and TSV: the column that names the image (id, file name or URL)."""
    caption_column: str = "caption"
    """CSV and TSV: the column with a caption, or with a Python or JSON list of captions."""
    objects_column: str = ""
    """CSV and TSV: the column with a list of annotated objects; empty = the corpus has captions only."""

    def content(self) -> dict[str, Any]:
        """The hash of the file's bytes."""
        return {"sha256": hashlib.sha256(read_bytes(self.path, "corpus path")).hexdigest()}


@dataclass(slots=True)
class CorpusImage:
    """What the corpora say of one image. `objects` is None where no corpus annotates it."""

    captions: list[str] = field(default_factory=list)
    objects: set[str] | None = None


def image_key(name: str | int) -> str:
    """The key that names one image in every corpus: COCO's number in 12 digits, else the file's name.

    >>> image_key("COCO_val2014_000000000139.jpg") == image_key(139) == image_key("val2017/000000000139.jpg")
    True
    """
    path = PurePosixPath(str(name).replace("\\", "/"))
    stem = path.stem if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else path.name
    found = _COCO_NUMBER.search(stem)
    return f"{int(found.group(1) or found.group(2)):012d}" if found else stem


def read_bytes(location: str, what: str) -> bytes:
    """The bytes at a path or URI. Raises ConfigError naming `what` when there are none."""
    if not location:
        raise ConfigError(f"{what} is empty; set it to the file's path or URI")
    try:
        with fsspec.open(location, "rb") as handle:
            return handle.read()  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what}: {location!r} cannot be read ({error}); give the path or URI of the file") from error


def read_corpora(
    corpora: Iterable[CorpusConfig], exclude_image_ids: Collection[str | int] = ()
) -> dict[str, CorpusImage]:
    """Images by key, sorted, without the excluded ones. Raises ConfigError where a file is not of its kind."""
    excluded = {image_key(name) for name in exclude_image_ids}
    images: dict[str, CorpusImage] = {}
    for corpus in corpora:
        for key, captions, objects in _records(corpus):
            if key in excluded:
                continue
            image = images.setdefault(key, CorpusImage())
            image.captions += [text for text in captions if text and text not in image.captions]
            if objects is not None:
                image.objects = (image.objects or set()) | set(objects)
    return {key: images[key] for key in sorted(images)}


Record = tuple[str, list[str], list[str] | None]


def _records(corpus: CorpusConfig) -> Iterator[Record]:
    data = read_bytes(corpus.path, f"corpus of kind {corpus.kind!r}: path")
    try:
        if corpus.kind == "coco_captions":
            yield from _coco_captions(json.loads(data))
        elif corpus.kind == "coco_instances":
            yield from coco_instances(json.loads(data))
        else:
            yield from _table(data.decode("utf-8"), corpus)
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        shown = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{Path(corpus.path).name!r} is not a corpus of kind {corpus.kind!r} ({shown})") from error


def _coco_captions(document: Mapping[str, Any]) -> Iterator[Record]:
    for note in document["annotations"]:
        yield image_key(note["image_id"]), [note["caption"].strip()], None


def coco_instances(document: Mapping[str, Any]) -> Iterator[Record]:
    """(key, no captions, category names) of each image of a COCO instances file; crowds count as present.

    An image with an entry but without a box gives an empty list: COCO's annotators looked and found none of the 80.
    """
    names = {category["id"]: category["name"] for category in document["categories"]}
    found: dict[str, list[str]] = {image_key(image["id"]): [] for image in document["images"]}
    for note in document["annotations"]:
        found.setdefault(image_key(note["image_id"]), []).append(names[note["category_id"]])
    for key, objects in found.items():
        yield key, [], objects


def _table(text: str, corpus: CorpusConfig) -> Iterator[Record]:
    csv.field_size_limit(_CELL_BYTES)
    rows = csv.DictReader(io.StringIO(text), delimiter="\t" if corpus.kind == "captions_tsv" else ",")
    wanted = [corpus.image_column, corpus.caption_column, *([corpus.objects_column] if corpus.objects_column else [])]
    absent = [name for name in wanted if name not in (rows.fieldnames or [])]
    if absent:
        raise ConfigError(
            f"{Path(corpus.path).name!r} has no column {absent[0]!r}; its columns are {list(rows.fieldnames or [])}. "
            f"Name the right ones with image_column, caption_column and objects_column"
        )
    for row in rows:
        objects = _listed(row[corpus.objects_column] or "") if corpus.objects_column else None
        captions = [text.strip() for text in _listed(row[corpus.caption_column] or "")]
        yield image_key(row[corpus.image_column] or ""), captions, objects


def _listed(cell: str) -> list[str]:
    """The strings of a list literal, or the cell itself."""
    stripped = cell.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        return [stripped] if stripped else []
    try:
        values = ast.literal_eval(stripped)
    except (ValueError, SyntaxError):  # a caption that merely stands in brackets
        return [stripped]
    return [value for value in values if isinstance(value, str) and value]
