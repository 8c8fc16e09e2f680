"""A picture as an item names it: an image or clip below the image root, or a region of an image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Picture:
    """A path below the image root and a region (x, y, w, h) in pixels, () for the whole."""

    path: str
    box: tuple[float, ...] = ()
