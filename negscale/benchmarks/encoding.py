"""Encode once: the union of all benchmarks' pictures and texts, each through the model a single time, kept on disk.

The released evaluators each encode their own images and captions: NegBench's COCO images pass through the model six times
for six files. Here keys are contents, so that a photograph or an option that several benchmarks share costs one pass, a
second run costs none, and a killed one goes on. Texts are sorted by length before they are batched, so that a model that
cuts its padding (`negscale.backends.text_lengths`) computes little of it. What cannot be encoded is a fault with a kind,
never a silent zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from negscale.benchmarks.embeddings import EmbeddingStore
from negscale.benchmarks.pictures import Picture, text_key
from negscale.core.backend import DualEncoder, Image
from negscale.core.image import MAX_PIXELS, ImageError
from negscale.core.stage import Fault
from negscale.datasets.images import ImageReader

TEXT_PART, PICTURE_PART = 2048, 128


@runtime_checkable
class KnowsLimit(Protocol):
    """An encoder that can tell which texts it cuts."""

    def too_long(self, texts: Sequence[str]) -> Sequence[bool]: ...


@dataclass(frozen=True)
class Vectors:
    """Unit vectors by picture and by text, and why others have none."""

    picture_rows: Mapping[Picture, int]
    text_rows: Mapping[str, int]
    picture_vectors: np.ndarray  # float32[P, D]
    text_vectors: np.ndarray  # float32[T, D]
    faults: Mapping[Picture | str, Fault] = field(default_factory=dict)
    cut: frozenset[str] = frozenset()  # texts of which the model read only the beginning

    def pictures(self, wanted: Sequence[Picture]) -> np.ndarray:
        """int64[n]: rows of `picture_vectors`; -1 where there is none."""
        return np.array([self.picture_rows.get(picture, -1) for picture in wanted], np.int64)

    def texts(self, wanted: Sequence[str]) -> np.ndarray:
        """int64[n]: rows of `text_vectors`; -1 where there is none."""
        return np.array([self.text_rows.get(text, -1) for text in wanted], np.int64)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors, and what it cost."""

    vectors: Vectors
    new_pictures: int
    new_texts: int


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


def encode(
    encoder: DualEncoder, pictures: Sequence[Picture], texts: Sequence[str], reader: ImageReader, store: EmbeddingStore,
) -> Encoded:  # fmt: skip
    """Vectors of all pictures and texts, from the store where it has them. The encoder is loaded when it is needed.

    A missing or unreadable picture and a vector that is not finite become faults; the latter are tried again next time.
    """
    state = _State(encoder, store)
    new_texts = state.add_texts(texts)
    keys, faults, new_pictures = state.add_pictures(pictures, reader)
    text_keys = {text: text_key(text) for text in texts}
    text_place, text_vectors, cut = store.load("texts", list(text_keys.values()))
    picture_place, picture_vectors, _ = store.load("pictures", list(keys.values()))
    text_rows = {text: text_place[key] for text, key in text_keys.items() if key in text_place}
    picture_rows = {picture: picture_place[key] for picture, key in keys.items() if key in picture_place}
    odd = Fault("not_finite", f"{encoder.id} gave a vector that is not finite")
    lost: dict[Picture | str, Fault] = {**faults}
    lost |= {text: odd for text in texts if text not in text_rows}
    lost |= {picture: odd for picture in keys if picture not in picture_rows}
    cut_texts = frozenset(text for text, row in text_rows.items() if cut[row])
    vectors = Vectors(picture_rows, text_rows, picture_vectors, text_vectors, lost, cut_texts)
    return Encoded(vectors, new_pictures, new_texts)


class _State:
    """One run of `encode`: what is new goes through the model and into the store, part by part."""

    def __init__(self, encoder: DualEncoder, store: EmbeddingStore) -> None:
        self._encoder, self._store, self._loaded = encoder, store, False

    def _model(self) -> DualEncoder:
        if not self._loaded:
            self._encoder.load()
            self._loaded = True
        return self._encoder

    def add_texts(self, texts: Sequence[str]) -> int:
        held = self._store.known("texts")
        new = [text for text in dict.fromkeys(texts) if text_key(text) not in held]
        for part in _parts(sorted(new, key=lambda text: (len(text), text)), TEXT_PART):
            model = self._model()
            vectors = np.asarray(model.encode_texts(part), np.float32)
            cut = list(model.too_long(part)) if isinstance(model, KnowsLimit) else [False] * len(part)
            self._keep("texts", [text_key(text) for text in part], vectors, cut)
        return len(new)

    def add_pictures(
        self, pictures: Sequence[Picture], reader: ImageReader
    ) -> tuple[dict[Picture, bytes], dict[Picture, Fault], int]:
        """Keys of what can be read, faults of the rest, and how many were new."""
        keys: dict[Picture, bytes] = {}
        faults: dict[Picture, Fault] = {}
        held, count = self._store.known("pictures"), 0
        for part in _parts(sorted(pictures), PICTURE_PART):  # sorted: the regions of one image come together
            new = self._part_of_pictures(part, reader, held, keys, faults)
            held |= new
            count += len(new)
        return keys, faults, count

    def _part_of_pictures(
        self, part: Sequence[Picture], reader: ImageReader, held: Set[bytes], keys: dict[Picture, bytes],
        faults: dict[Picture, Fault],
    ) -> set[bytes]:  # fmt: skip
        data: dict[str, bytes] = {}
        for picture in part:
            try:
                if picture.path not in data:
                    data[picture.path] = reader.read_bytes({"uri": picture.path})
                keys[picture] = picture.key(data[picture.path])
            except ImageError as error:
                faults[picture] = Fault(error.kind, error.message, error.retryable)
        new = {keys[picture]: picture for picture in part if picture in keys and keys[picture] not in held}
        views: dict[bytes, list[Image]] = {}
        for key, picture in new.items():
            try:
                views[key] = picture.views(data[picture.path], MAX_PIXELS)
            except ImageError as error:
                for same in (p for p in part if keys.get(p) == key):
                    faults[same] = Fault(error.kind, error.message)
                    del keys[same]
        if views:
            flat = [view for several in views.values() for view in several]
            vectors = np.asarray(self._model().encode_images(flat), np.float32)
            sizes = [len(several) for several in views.values()]
            self._keep("pictures", list(views), _unit_means(vectors, sizes), [False] * len(views))
        return set(views)

    def _keep(self, kind: str, keys: Sequence[bytes], vectors: np.ndarray, cut: Sequence[bool]) -> None:
        good = np.flatnonzero(np.isfinite(vectors).all(axis=1)).tolist()
        if good:
            self._store.add(kind, [keys[at] for at in good], vectors[good], [cut[at] for at in good])


def _unit_means(vectors: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Mean vector of each run of `sizes`, at unit length; single vectors as they are."""
    if max(sizes) == 1:
        return vectors
    starts = np.cumsum([0, *sizes[:-1]])
    means = np.add.reduceat(vectors, starts, axis=0) / np.array(sizes, np.float32)[:, None]
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.where(np.array(sizes)[:, None] == 1, vectors[starts], means / np.maximum(lengths, 1e-12)).astype(
        np.float32
    )


def _parts(things: Sequence, size: int) -> Iterator[list]:
    for start in range(0, len(things), size):
        yield list(things[start : start + size])
