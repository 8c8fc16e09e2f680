"""Where an edit changed the image: in the added object's region, or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image as Pillow

from negscale.core.backend import Detector, Image
from negscale.core.stage import Fault

Box: TypeAlias = Sequence[float]  # left, top, right, bottom in pixels


def regions(detector: Detector, images: Sequence[Image], names: Sequence[str]) -> list[Box | None]:
    """The box of the best match of each name in the image beside it; None where the detector sees or knows none."""
    found: list[Box | None] = []
    for boxes in detector.detect(images, [[name] for name in names]):
        best = None if isinstance(boxes, Fault) else max(boxes, key=lambda box: box.score, default=None)
        found.append(None if best is None else best.box_xyxy_px)
    return found


def change(before: Image, after: Image, box_xyxy_px: Box, margin: float) -> tuple[float | None, float | None]:
    """Mean absolute difference, 0..1, inside and outside of a box (in pixels of `after`) that grows by `margin`.

    None where there is no such pixel. An image of another size is scaled to that of `after`.
    """
    if before.shape != after.shape:
        size = (after.shape[1], after.shape[0])
        before = np.asarray(Pillow.fromarray(before).resize(size, Pillow.Resampling.BICUBIC))
    difference = np.abs(before.astype(np.int16) - after.astype(np.int16)).mean(axis=2) / 255
    left, top, right, bottom = box_xyxy_px
    across, down = margin * (right - left), margin * (bottom - top)
    rows = slice(max(0, int(np.floor(top - down))), max(0, int(np.ceil(bottom + down))))
    columns = slice(max(0, int(np.floor(left - across))), max(0, int(np.ceil(right + across))))
    inside = np.zeros(difference.shape, bool)
    inside[rows, columns] = True
    return _mean(difference[inside]), _mean(difference[~inside])


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
