"""Decoded images for a stage: rows of one image share one decoding, and what cannot be read is a Fault in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from negscale.core.backend import Image
from negscale.core.image import ImageError
from negscale.core.stage import Fault, Row


class ReadsImages(Protocol):
    """Decodes an IMAGE reference; raises ImageError."""

    def read(self, ref: Mapping[str, Any]) -> Image: ...


def read_pixels(rows: Sequence[Row], images: ReadsImages) -> list[Any]:
    """uint8[H, W, 3] of each row's `image`, or the Fault that stands for it."""
    seen: dict[tuple[Any, ...], Any] = {}
    found = []
    for row in rows:
        ref = row["image"] or {}
        key = (ref.get("uri"), ref.get("offset"))
        if key not in seen:
            try:
                seen = {key: images.read(ref)}  # captions of one image are neighbours: one is enough
            except ImageError as error:
                seen = {key: Fault(error.kind, str(error), retryable=error.kind == "missing_image")}
        found.append(seen[key])
    return found
