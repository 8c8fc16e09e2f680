"""Masks of annotated instances, as COCO writes them: polygons, run lengths, and compressed run lengths.

Run lengths go down the columns and begin with the background (COCO, Lin et al., arXiv 1405.0312; cocoapi's maskApi.c).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

_FINE = 4  # polygons are drawn so many times larger and averaged down: smooth edges


def instance_mask(segmentation: Any, window_xywh: tuple[int, int, int, int], image_hw: tuple[int, int]) -> np.ndarray:
    """How much of each pixel of a window the instance covers: float32[h, w] in 0..1.

    segmentation: a list of polygons [x0, y0, x1, y1, ...] in pixels, or {"counts": list or str, "size": [H, W]}.
    Raises ValueError naming what is wrong with it.
    """
    left, top, width, height = window_xywh
    if isinstance(segmentation, Mapping):
        whole = decode_rle(segmentation)
        if whole.shape != tuple(image_hw):
            raise ValueError(f"the mask is of an image of {list(whole.shape)}, the image has {list(image_hw)}")
        return whole[top : top + height, left : left + width].astype(np.float32)
    canvas = Pillow.new("L", (width * _FINE, height * _FINE))
    pen = ImageDraw.Draw(canvas)
    for polygon in polygons(segmentation):
        pen.polygon([((x - left) * _FINE, (y - top) * _FINE) for x, y in polygon.tolist()], fill=255)
    fine = np.asarray(canvas, np.float32).reshape(height, _FINE, width, _FINE)
    return fine.mean(axis=(1, 3)) / 255


def polygons(segmentation: Any) -> list[np.ndarray]:
    """Each polygon as float64[N, 2], x and y. Raises ValueError for what is no list of polygons."""
    if not isinstance(segmentation, Sequence) or isinstance(segmentation, (str, bytes)) or not segmentation:
        raise ValueError(f"expected a list of polygons, got {str(segmentation)[:80]!r}")
    found = []
    for values in segmentation:
        if not isinstance(values, Sequence) or len(values) < 6 or len(values) % 2:
            raise ValueError(f"expected a polygon of x and y in turn, three corners at least, got {str(values)[:80]!r}")
        polygon = np.asarray(values, np.float64).reshape(-1, 2)
        if not np.isfinite(polygon).all():
            raise ValueError("a polygon has a corner that is no finite number")
        found.append(polygon)
    return found


def polygon_areas(segmentation: Any) -> list[float]:
    """Square pixels of each polygon (the shoelace formula)."""
    areas = []
    for polygon in polygons(segmentation):
        x, y = polygon.T
        areas.append(abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2)
    return areas


def decode_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """bool[H, W] of {"counts": ..., "size": [H, W]}; counts is a list of run lengths or COCO's compressed string.

    >>> decode_rle({"counts": [1, 2, 3], "size": [2, 3]}).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    try:
        height, width = (int(value) for value in rle["size"])
        counts = rle["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected {{'counts': ..., 'size': [H, W]}}, got {str(rle)[:80]!r}") from error
    runs = _uncompressed(counts) if isinstance(counts, (str, bytes)) else [int(count) for count in counts]
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(
            f"the run lengths sum to {sum(runs)}, an image of {height} x {width} has {height * width} pixels"
        )
    ends = np.cumsum([0, *runs])
    flat = np.zeros(height * width, bool)
    for number, (start, end) in enumerate(pairwise(ends.tolist())):
        if number % 2:
            flat[start:end] = True
    return flat.reshape(width, height).T


def _uncompressed(text: str | bytes) -> list[int]:
    """Run lengths of COCO's string: five bits a character, from the third on the difference to the one before the last."""
    data = text.encode() if isinstance(text, str) else text
    runs: list[int] = []
    value, shift = 0, 0
    for character in data:
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {chr(character)!r} does not occur in compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("compressed run lengths end within a number")
    return runs
