"""Encode once: the union of all benchmarks' pictures and texts, each through the model a single time, kept on disk.

The released evaluators each encode their own images and captions: NegBench's COCO images pass through the model six times
for six files. Here things are named by their contents, so that a photograph or an option that several benchmarks share
costs one pass, and a second evaluation none. Texts are sorted by length before they are divided, so that a model that
cuts its padding (`negscale.backends.text_lengths`) computes little of it. What cannot be encoded is a fault with a kind.

This module says what is to be encoded and reads what was; a run of `negscale.pipelines.embed` does it in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from negscale.benchmarks.embeddings import EmbeddingStore
from negscale.benchmarks.pictures import Picture
from negscale.core.config import Config
from negscale.core.image import ImageError
from negscale.core.stage import Fault
from negscale.datasets.images import ImageReader
from negscale.datasets.things import THINGS_FILE, picture_key, text_key

_READERS = 8
BATCHES = 8  # of a shard: a shard whose worker dies twice is run in eighths, and these are then whole batches


class ThingSizes(Config):
    """How the things of one evaluation are divided into shards of eight batches."""

    text_batch: int = Field(default=128, ge=1)
    """Texts that go through the model together, of like length."""
    picture_batch: int = Field(default=16, ge=1)
    """Pictures that go through the model together."""


SIZES = ThingSizes()


@dataclass(frozen=True)
class Things:
    """Distinct pictures and texts by their ids, and pictures whose file cannot be read."""

    pictures: Mapping[Picture, str]
    texts: Mapping[str, str]
    contents: Mapping[str, bytes] = field(default_factory=dict)  # path -> SHA-256 of the file
    faults: Mapping[Picture, Fault] = field(default_factory=dict)

    @property
    def ids(self) -> set[str]:
        """Ids of all that can be encoded."""
        return {*self.pictures.values(), *self.texts.values()}


@dataclass(frozen=True)
class Vectors:
    """Unit vectors by picture and by text, and why others have none."""

    picture_rows: Mapping[Picture, int]
    text_rows: Mapping[str, int]
    picture_vectors: np.ndarray  # float32[P, D]
    text_vectors: np.ndarray  # float32[T, D]
    faults: Mapping[Picture | str, Fault] = field(default_factory=dict)
    cut: frozenset[str] = frozenset()  # texts of which the model read only the beginning
    runs: tuple[str, ...] = ()  # URIs of the runs that hold them

    def pictures(self, wanted: Sequence[Picture]) -> np.ndarray:
        """int64[n]: rows of `picture_vectors`; -1 where there is none."""
        return np.array([self.picture_rows.get(picture, -1) for picture in wanted], np.int64)

    def texts(self, wanted: Sequence[str]) -> np.ndarray:
        """int64[n]: rows of `text_vectors`; -1 where there is none."""
        return np.array([self.text_rows.get(text, -1) for text in wanted], np.int64)


def pictures_of(items: pa.Table) -> list[list[Picture]]:
    """The pictures of each item: its images, or the boxes of its image."""
    found = []
    for images, boxes in zip(items["images"].to_pylist(), items["boxes_xywh_px"].to_pylist(), strict=True):
        found.append([Picture(images[0], tuple(box)) for box in boxes] if boxes else [Picture(path) for path in images])
    return found


def wanted(tables: Iterable[pa.Table]) -> tuple[list[Picture], list[str]]:
    """The distinct pictures and texts of many benchmarks' items, sorted."""
    pictures: set[Picture] = set()
    texts: set[str] = set()
    for items in tables:
        pictures.update(picture for row in pictures_of(items) for picture in row)
        texts.update(text for row in items["texts"].to_pylist() for text in row)
    return sorted(pictures), sorted(texts)


def things_of(pictures: Iterable[Picture], texts: Iterable[str], reader: ImageReader) -> Things:
    """Name pictures and texts by content; reads every image file once. What cannot be read is a fault."""
    asked = sorted(pictures)

    def content(path: str) -> bytes | Fault:
        try:
            return sha256(reader.read_bytes({"uri": path})).digest()
        except ImageError as error:
            return Fault(error.kind, error.message, error.retryable)

    paths = sorted({picture.path for picture in asked})
    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(paths, pool.map(content, paths), strict=True))
    ids: dict[Picture, str] = {}
    faults: dict[Picture, Fault] = {}
    for picture in asked:
        digest = found[picture.path]
        if isinstance(digest, Fault):
            faults[picture] = digest
        else:
            ids[picture] = f"picture-{picture_key(digest, picture.path, picture.box).hex()}"
    named = {text: f"text-{text_key(text).hex()}" for text in sorted(set(texts))}
    return Things(ids, named, {path: d for path, d in found.items() if not isinstance(d, Fault)}, faults)


def new_things(things: Things, known: Set[str], sizes: ThingSizes = SIZES) -> pa.Table | None:
    """`THINGS_FILE` rows of what is not known yet, None when there is nothing.

    Texts stand by length, pictures by path (regions of one image together).
    """
    rows: list[dict[str, Any]] = []
    texts = sorted((t for t, name in things.texts.items() if name not in known), key=lambda text: (len(text), text))
    pictures: dict[str, Picture] = {}  # id -> one of the pictures that look the same
    for picture, name in sorted(things.pictures.items()):
        if name not in known:
            pictures.setdefault(name, picture)
    for shard, batch, name in _divided("pictures", list(pictures), sizes.picture_batch):
        shown = pictures[name]
        image = {"uri": shown.path, "sha256": things.contents[shown.path]}
        box = list(shown.box) or None
        rows.append({"id": name, "shard": shard, "image": image, "box_xywh_px": box, "text": None, "batch": batch})
    by_id = {things.texts[text]: text for text in texts}
    for shard, batch, name in _divided("texts", list(by_id), sizes.text_batch):
        rows.append({
            "id": name, "shard": shard, "image": None, "box_xywh_px": None, "text": by_id[name], "batch": batch
        })  # fmt: skip
    return pa.Table.from_pylist(rows, THINGS_FILE) if rows else None


def read_vectors(store: EmbeddingStore, things: Things) -> Vectors:
    """What the store has of the things. What a run could not encode, and what no run held, is a fault."""
    held = store.load(things.ids)
    pictures = {picture: held.rows[name] for picture, name in things.pictures.items() if name in held.rows}
    texts = {text: held.rows[name] for text, name in things.texts.items() if name in held.rows}
    absent = Fault("not_encoded", f"no finished run in {store.uri} holds it")
    faults: dict[Picture | str, Fault] = {**things.faults}
    for thing, name in (*things.pictures.items(), *things.texts.items()):
        if name not in held.rows:
            faults[thing] = held.faults.get(name, absent)
    cut = frozenset(text for text, row in texts.items() if held.cut[row])
    return Vectors(pictures, texts, held.vectors, held.vectors, faults, cut, held.runs)


def _divided(kind: str, names: Sequence[str], batch: int) -> Iterator[tuple[str, int, str]]:
    """(shard, batch, id) of each thing: shards of eight batches, of which the last may be smaller."""
    size = BATCHES * batch
    for number, start in enumerate(range(0, len(names), size)):
        rows = names[start : start + size]
        eighth = -(-len(rows) // BATCHES)
        for at, name in enumerate(rows):
            yield f"{kind}-{number:05d}", at // eighth, name
