"""Boxes (x, y, w, h) in pixels of the image: overlap, and the enlarged patches that referring sets score.

How NegRefCOCOg (NegationCLIP, arXiv 2501.10913) enlarges boxes is unpublished. `enlarge` was read off the two released
items whose COCO boxes were at hand, and gives their four patches exactly: each side moves out by the box's own width or
height (factor 3), stops at the image's border, and stops at the box of the other candidate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

Box: TypeAlias = tuple[float, float, float, float]  # x, y, w, h


def as_box(values: Sequence[float] | None) -> Box | None:
    """Four finite numbers with a positive width and height as a Box, anything else None."""
    try:
        x, y, w, h = map(float, values or ())
    except (TypeError, ValueError):
        return None
    return (x, y, w, h) if all(map(math.isfinite, (x, y, w, h))) and w > 0 and h > 0 else None


def area(box: Box) -> float:
    """Square pixels."""
    return box[2] * box[3]


def intersection(a: Box, b: Box) -> float:
    """Common area in square pixels."""
    return _common(a[0], a[2], b[0], b[2]) * _common(a[1], a[3], b[1], b[3])


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0..1.

    >>> iou((0, 0, 10, 10), (5, 0, 10, 10))
    0.3333333333333333
    """
    common = intersection(a, b)
    return common / (area(a) + area(b) - common)


def grown(box: Box, margin: float) -> Box:
    """`box` with each side moved out by `margin` times the box's width or height."""
    x, y, w, h = box
    return x - margin * w, y - margin * h, w * (1 + 2 * margin), h * (1 + 2 * margin)


def clipped(box: Box, width_px: float, height_px: float) -> Box | None:
    """The part of `box` inside the image, None when there is none."""
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(float(width_px), box[0] + box[2]), min(float(height_px), box[1] + box[3])
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def enlarge(box: Box, factor: float, width_px: float, height_px: float, others: Sequence[Box] = ()) -> Box | None:
    """`box` about `factor` times as wide and high around its centre, inside the image and outside the `others`.

    Another box stops the side that faces it, along the axis on which the two lie farther apart; boxes that overlap stop
    nothing. None when the box lies outside of the image.

    >>> enlarge((40, 40, 20, 20), 3, 200, 90, [(65, 40, 10, 10)])
    (20.0, 20.0, 45.0, 60.0)
    """
    x, y, w, h = grown(box, (factor - 1) / 2)
    left, top, right, bottom = x, y, x + w, y + h
    for other in others:
        across, down = _gap(box[0], box[2], other[0], other[2]), _gap(box[1], box[3], other[1], other[3])
        if max(across, down) < 0:
            continue
        if across >= down and other[0] >= box[0] + box[2]:
            right = min(right, other[0])
        elif across >= down:
            left = max(left, other[0] + other[2])
        elif other[1] >= box[1] + box[3]:
            bottom = min(bottom, other[1])
        else:
            top = max(top, other[1] + other[3])
    return clipped((left, top, right - left, bottom - top), width_px, height_px)


def _common(a: float, length_a: float, b: float, length_b: float) -> float:
    return max(0.0, min(a + length_a, b + length_b) - max(a, b))


def _gap(a: float, length_a: float, b: float, length_b: float) -> float:
    """Distance of two intervals; negative when they overlap."""
    return max(a, b) - min(a + length_a, b + length_b)
