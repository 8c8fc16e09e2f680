"""A picture or a text to the vector that a dual encoder gives it, once for all that asks for it.

The released evaluators (NegBench arXiv 2501.09425, NegationCLIP arXiv 2501.10913, SugarCrepe arXiv 2306.14610) encode while
they score and keep nothing. Here a vector is a column of a run: rows of one `batch` go through the model together,
wherever they run, since a batch mate may change the last bits; pictures of the next batch are decoded meanwhile. A vector
that is not finite is a fault that a retry may heal, never a silent zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from negscale.core.backend import DualEncoder, Image
from negscale.core.image import ImageError
from negscale.core.schema import IMAGE
from negscale.core.stage import Fault, Outcome, Resources, Row, Stage

EMBEDDING = pa.schema([
    ("vector", pa.binary()),  # float32[D], little-endian, of unit length
    ("text_cut", pa.bool_()),  # whether the model read only the beginning; null of pictures
])  # fmt: skip
_DECODERS = 4


class ReadsPictures(Protocol):
    """Gives the arrays uint8[H, W, 3] whose mean vector stands for a picture; raises ImageError."""

    def views(self, image: Mapping[str, Any], box: Sequence[float] | None) -> list[Image]: ...


class Embed(Stage):
    """Reads a thing, writes its vector."""

    name = "embed"
    version = 1
    reads = pa.schema([
        ("image", IMAGE), ("box_xywh_px", pa.list_(pa.float64())), ("text", pa.string()), ("batch", pa.int32()),
    ])  # fmt: skip
    writes = EMBEDDING
    ill_when_all_fail = False  # a model of NaN is a finding of an evaluation, not its end

    def __init__(self, encoder: Callable[[], DualEncoder], pictures: ReadsPictures, resources: Resources) -> None:
        self._build, self._pictures, self.resources = encoder, pictures, resources

    def setup(self) -> None:
        self._encoder = self._build()
        self._encoder.load()
        self._decoders = ThreadPoolExecutor(_DECODERS, "negscale-decode")

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        batches = [list(group) for _, group in groupby(rows, lambda row: (row["batch"], row["text"] is None))]
        found: list[Outcome] = []
        for batch, views in zip(batches, self._decoded(batches), strict=True):
            found += self._texts(batch) if views is None else self._seen(views)
        return found

    def _decoded(self, batches: Sequence[Sequence[Row]]) -> Iterator[list[list[Image] | Fault] | None]:
        """The views of each batch of pictures, None for texts; one batch is decoded ahead."""
        waiting = self._submit(batches[0])
        for following in [*batches[1:], ()]:
            ready, waiting = waiting, self._submit(following)
            yield None if ready is None else [future.result() for future in ready]

    def _submit(self, batch: Sequence[Row]) -> list[Future[list[Image] | Fault]] | None:
        if not batch or batch[0]["text"] is not None:
            return None
        return [self._decoders.submit(self._views, row) for row in batch]

    def _views(self, row: Row) -> list[Image] | Fault:
        try:
            return self._pictures.views(row["image"] or {}, row["box_xywh_px"])
        except ImageError as error:
            return Fault(error.kind, error.message, error.retryable)

    def _seen(self, views: Sequence[list[Image] | Fault]) -> list[Outcome]:
        flat = [view for several in views if not isinstance(several, Fault) for view in several]
        vectors = np.asarray(self._encoder.encode_images(flat), np.float32) if flat else np.zeros((0, 0), np.float32)
        found: list[Outcome] = []
        at = 0
        for several in views:
            if isinstance(several, Fault):
                found.append(several)
                continue
            found.append(self._outcome(_mean(vectors[at : at + len(several)]), None))
            at += len(several)
        return found

    def _texts(self, batch: Sequence[Row]) -> list[Outcome]:
        texts = [row["text"] for row in batch]
        vectors = np.asarray(self._encoder.encode_texts(texts), np.float32)
        ask: Any = getattr(self._encoder, "too_long", None)  # not every encoder can tell
        cut = list(ask(texts)) if ask else [False] * len(texts)
        return [self._outcome(vector, bool(short)) for vector, short in zip(vectors, cut, strict=True)]

    def _outcome(self, vector: np.ndarray, cut: bool | None) -> Outcome:
        if not np.isfinite(vector).all():
            return Fault("not_finite", f"{self._encoder.id} gave a vector that is not finite", retryable=True)
        return {"vector": vector.astype("<f4").tobytes(), "text_cut": cut}

    def close(self) -> None:
        self._decoders.shutdown()
        self._encoder.close()


def _mean(vectors: np.ndarray) -> np.ndarray:
    """float32[D]: the mean at unit length; a single vector as it is."""
    if len(vectors) == 1:
        return vectors[0]
    mean = vectors.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)
