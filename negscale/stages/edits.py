"""Make the edited images (NeIn, arXiv 2409.06481, section 3.1; edit_cli_generation.py).

The authors edit one image after the other, with one unseeded seed an image, and keep whatever comes out. Here decoding and
encoding overlap with editing, each row has its own seed, and an output that is blank is made again with another; a retry
of a quarantined row draws others again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from negscale.core.backend import Edit, EditRequest, Image, ImageEditor
from negscale.core.image import ImageError
from negscale.core.schema import EDITED, IMAGE
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.stages.pixels import ReadsImages

FLAT = 1.0  # of 255: an image whose channels all vary less shows nothing


class StoresBatch(Protocol):
    """Takes the images of one call; see `negscale.backends.image_store`."""

    def __enter__(self) -> StoresBatch: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def add(self, image: Image) -> int: ...
    def commit(self) -> Sequence[Mapping[str, Any]]: ...


class StoresImages(Protocol):
    """Keeps the images that a stage makes."""

    def load(self) -> None: ...
    def batch(self) -> StoresBatch: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class EditLimits:
    """Which images are edited, and how."""

    call_rows: int = 32  # rows of one call of the editor, which cuts its micro-batches from them: bears identity
    max_attempts: int = 3
    min_side_px: int = 32
    max_aspect: float = 4.0  # longer side over shorter


class EditImage(Stage):
    """Carry out each row's `add_instruction`; the image goes to the store, the row gets the reference.

    Siblings (edits of one image) should be neighbours, as Explode leaves them: they then reach the editor together.
    """

    name = "edit_image"
    version = 1
    reads = pa.schema([
        ("image", IMAGE), ("image_id", pa.string()), ("add_instruction", pa.string()), ("absent_object", pa.string()),
    ])  # fmt: skip
    writes = EDITED

    def __init__(
        self, editor: Callable[[], ImageEditor], store: Callable[[], StoresImages], images: ReadsImages,
        limits: EditLimits, seed: int, resources: Resources,
    ) -> None:  # fmt: skip
        """resources.batch_rows: rows whose images share one file; at least a shard's rows makes that one file a shard."""
        self._build, self._build_store, self._images = editor, store, images
        self._limits, self._seed = limits, seed
        self.resources = resources

    def setup(self) -> None:
        self.editor = self._build()
        self.editor.load()
        self.store = self._build_store()
        self.store.load()

    def close(self) -> None:
        self.editor.close()
        self.store.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [Fault("unmade", "never edited", retryable=True)] * len(rows)
        numbers: dict[int, int] = {}
        with self.store.batch() as batch, ThreadPoolExecutor(1, thread_name_prefix="negscale-decode") as pool:
            for attempt in range(self._limits.max_attempts):
                open_ = [i for i, o in enumerate(outcomes) if isinstance(o, Fault) and o.retryable]
                for part, pixels in self._read_ahead(rows, open_, pool):
                    self._edit(rows, part, pixels, attempt, batch, outcomes, numbers)
            refs = batch.commit()
        return [
            {**outcome, "image_with_object": refs[numbers[i]]} if isinstance(outcome, dict) else outcome
            for i, outcome in enumerate(outcomes)
        ]

    def _read_ahead(
        self, rows: Sequence[Row], open_: Sequence[int], pool: ThreadPoolExecutor
    ) -> Iterator[tuple[Sequence[int], list[Image | Fault | Reject]]]:
        """(rows of one call, their pixels); the next call's are decoded while this one is edited."""
        size = self._limits.call_rows
        parts = [open_[at : at + size] for at in range(0, len(open_), size)]
        waiting = None
        for number, part in enumerate(parts):
            waiting = waiting or pool.submit(self._pixels, [rows[i] for i in part])
            found = waiting.result()
            waiting = (
                pool.submit(self._pixels, [rows[i] for i in parts[number + 1]]) if number + 1 < len(parts) else None
            )
            yield part, found

    def _pixels(self, rows: Sequence[Row]) -> list[Image | Fault | Reject]:
        found: list[Image | Fault | Reject] = []
        last: tuple[Any, Image | Fault | Reject] | None = None
        for row in rows:
            ref = row["image"] or {"uri": None}
            key = (ref["uri"], ref.get("offset"))
            if last is None or last[0] != key:  # edits of one image are neighbours
                last = (key, self._one(ref))
            found.append(last[1])
        return found

    def _one(self, ref: Mapping[str, Any]) -> Image | Fault | Reject:
        try:
            image = self._images.read(ref)
        except ImageError as error:
            return Fault(error.kind, str(error), retryable=error.kind in ("missing_image", "storage_error"))
        short, long = sorted(image.shape[:2])
        if short < self._limits.min_side_px:
            return Reject("image_too_small")
        return Reject("image_too_long") if long > self._limits.max_aspect * short else image

    def _edit(
        self, rows: Sequence[Row], part: Sequence[int], pixels: Sequence[Image | Fault | Reject], attempt: int,
        batch: StoresBatch, outcomes: list[Outcome], numbers: dict[int, int],
    ) -> None:  # fmt: skip
        asked: list[tuple[int, EditRequest]] = []
        for i, image in zip(part, pixels, strict=True):
            row = rows[i]
            if isinstance(image, (Fault, Reject)):
                outcomes[i] = image
                continue
            seed = row_seed(self._seed, row, self.name, attempt)
            request = EditRequest(image, row["add_instruction"], seed, row["image_id"], row["absent_object"])
            asked.append((i, request))
        edits = self.editor.edit([request for _, request in asked]) if asked else []
        for (i, request), edit in zip(asked, edits, strict=True):
            problem = edit if isinstance(edit, Fault) else output_fault(edit.image)
            if problem is not None:
                outcomes[i] = problem
                continue
            assert isinstance(edit, Edit)
            numbers[i] = batch.add(edit.image)
            outcomes[i] = {
                "edit_seed": request.seed, "edit_batch": edit.batch,
                "edit_box_xyxy_px": None if edit.box_xyxy_px is None else list(edit.box_xyxy_px),
            }  # fmt: skip


def output_fault(image: Image) -> Fault | None:
    """The retryable Fault that stands for an output that shows nothing (black, one colour); None for a picture."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        return Fault("bad_edit", f"expected uint8[H, W, 3], got {image.dtype}{list(image.shape)}", retryable=True)
    spread = float(image.reshape(-1, 3).std(axis=0).max())
    if spread < FLAT:
        mean = image.reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
        return Fault("blank_edit", f"the edited image is one colour, {mean} (a safety filter, or NaN)", retryable=True)
    return None
