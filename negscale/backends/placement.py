"""Where in an image an object is pasted, and how large: drawn from `SceneStatistics`, never outside, hiding little.

A class that stands on another one (a cup on a table) goes onto it where the target has it; any other stands at a height
at which instances of its class were seen. Of the places drawn one is taken that hides little of what is known to be
nearer to the camera, and where the picture is plain (`Ground`): on an empty stretch of floor, not over a face.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from negscale.backends.compositing import to_lab
from negscale.backends.instance_bank import Instance
from negscale.backends.scene_statistics import SceneStatistics, Support, bottom_of, large_enough_support
from negscale.core.backend import Image
from negscale.core.boxes import Box, area, intersection
from negscale.core.config import Config

_SHRINK = (1.0, 0.8, 0.6)  # tried in turn when there is no room
_GRID = 96  # points along the longer side of the small copy
_CLUTTER, _CONTRAST = 20.0, 30.0  # Lab units that cost as much as an object wholly in front of nearer ones
_DIGITS = 4


class PlacementRules(Config):
    """What a place must be like."""

    tries: int = Field(default=24, ge=1)
    """Places drawn; the best of them is taken."""
    least_size: float = Field(default=0.18, gt=0, lt=1)
    """Least square root of the box's share of the image: what is pasted is to be seen. Smaller ones are enlarged."""
    most_size: float = Field(default=0.55, gt=0, le=1)
    """Largest."""
    least_side_px: float = Field(default=24.0, gt=0)
    """Least square root of the box's area in pixels: an image without room for that takes nothing."""
    spread: float = Field(default=0.5, ge=0)
    """Share of the sizes' natural spread that is drawn; 0 = always the expected size."""
    max_upscale: float = Field(default=1.25, gt=0)
    """Instances are not enlarged further: they would look blurred."""
    large: float = Field(default=0.01, gt=0, lt=1)
    """Known instances that fill this share of the image count as large."""
    max_hidden: float = Field(default=0.5, ge=0, le=1)
    """Largest share of a known large instance that may be covered."""


class Ground:
    """How plain the parts of a picture are, and of what colour, from a small copy of it."""

    def __init__(self, image: Image) -> None:
        self._step = max(1, max(image.shape[:2]) // _GRID)
        self._lab = to_lab(image[:: self._step, :: self._step]).astype(np.float64).round(_DIGITS)

    def of(self, box: Box) -> tuple[np.ndarray, float]:
        """(mean colour in Lab, mean over the channels of their standard deviation) of the part in a box."""
        left, top = (int(value / self._step) for value in box[:2])
        part = self._lab[top : top + int(box[3] / self._step) + 1, left : left + int(box[2] / self._step) + 1]
        flat = part.reshape(-1, 3)
        return flat.mean(0).round(_DIGITS), round(float(flat.std(0).mean()), _DIGITS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pasted box goes, and how well it fits there (0 = best)."""

    box: Box  # x, y, w, h in pixels, inside the image
    cost: float


def find_place(
    one: Instance, image: Image, ground: Ground, colour: np.ndarray, known: Sequence[Instance],
    statistics: SceneStatistics, rules: PlacementRules, rng: np.random.Generator,
) -> Place | None:  # fmt: skip
    """The best of `rules.tries` places for `one` in an image whose annotated instances are `known`; None without room.

    colour: float64[3], the mean colour of the instance in Lab: it is to stand out from where it stands.
    """
    image_hw = image.shape[0], image.shape[1]
    closeness = statistics.closeness(known)
    carriers = [
        (support, other)
        for support in statistics.supports.get(one.category, ())
        for other in known if other.category == support.category and large_enough_support(other)
    ]  # fmt: skip
    draws = rng.random((rules.tries, 5))
    noise = rng.standard_normal((rules.tries, 2))
    for shrink in _SHRINK:
        places = []
        for draw, (wobble, away) in zip(draws.tolist(), noise.tolist(), strict=True):
            foot = _foot_on(carriers, image_hw, draw) if carriers else None
            if foot is None:
                foot = None, min(1.0, max(0.05, _bottom(one.category, statistics, draw[0]) + 0.03 * away))
            wanted = _size(one.category, image_hw, foot[1], closeness, statistics, rules, wobble)
            box = _box(one, image_hw, foot, shrink * wanted, draw[1], rules)
            if box is not None and (cost := _cost(box, known, image_hw, rules)) is not None:
                around, clutter = ground.of(box)
                contrast = float(np.sqrt(((around - colour) ** 2).sum()))
                cost += clutter / _CLUTTER + max(0.0, 1 - contrast / _CONTRAST)
                cost += max(0.0, math.log(wanted / math.sqrt(area(box))))  # too small an original, or too little room
                places.append(Place(box, round(cost, 6)))
        if places:
            return min(places, key=lambda place: place.cost)
    return None


def _bottom(category: str, statistics: SceneStatistics, draw: float) -> float:
    """A height at which the class was seen; of what stands on the ground the lower half, since walls begin higher up."""
    seen = statistics.bottoms[category]
    low = len(seen) // 2 if statistics.grounded(category) else 0
    return seen[low + int(draw * (len(seen) - low))]


def _foot_on(
    carriers: Sequence[tuple[Support, Instance]], image_hw: tuple[int, int], draw: Sequence[float]
) -> tuple[float | None, float]:
    """(across, down) as shares of the image: a foot seen on such a carrier, on one that is there."""
    support, carrier = carriers[int(draw[2] * len(carriers))]
    across, down = support.feet[int(draw[3] * len(support.feet))]
    x, y, w, h = carrier.box
    return (x + across * w) / image_hw[1], min(1.0, (y + down * h) / image_hw[0])


def _size(
    category: str, image_hw: tuple[int, int], bottom: float, closeness: float, statistics: SceneStatistics,
    rules: PlacementRules, wobble: float,
) -> float:  # fmt: skip
    """The square root of the wanted box's area, in pixels."""
    share = math.exp(statistics.expected(category, bottom, closeness) + wobble * rules.spread * statistics.spread)
    low, high = statistics.size_range[category]
    share = min(max(share, low), high)
    share = min(max(share, rules.least_size), rules.most_size)
    return share * math.sqrt(image_hw[0] * image_hw[1])


def _box(
    one: Instance, image_hw: tuple[int, int], foot: tuple[float | None, float], size: float, draw: float,
    rules: PlacementRules,
) -> Box | None:  # fmt: skip
    """The box with its foot there; moved inwards, smaller where the image or the original does not give that size."""
    height, width = image_hw
    scale = min(size / math.sqrt(area(one.box)), rules.max_upscale)
    scale = min(scale, 0.9 * width / one.box[2], 0.9 * height / one.box[3])
    if scale * math.sqrt(area(one.box)) < rules.least_side_px:
        return None
    w, h = one.box[2] * scale, one.box[3] * scale
    across, bottom = foot
    left = draw * (width - w) if across is None else min(max(0.0, across * width - w / 2), width - w)
    top = min(max(0.0, bottom * height - h), height - h)
    return left, top, w, h


def _cost(box: Box, known: Sequence[Instance], image_hw: tuple[int, int], rules: PlacementRules) -> float | None:
    """How much it hides that is nearer, in shares of the box; None where it hides most of a large instance."""
    cost, bottom = 0.0, (box[1] + box[3]) / image_hw[0]
    for other in known:
        common = intersection(box, other.box)
        if area(other.box) >= rules.large * image_hw[0] * image_hw[1] and common > rules.max_hidden * area(other.box):
            return None
        nearer = bottom_of(other) > bottom  # what stands lower in the picture is nearer
        cost += common / area(box) * (1.0 if nearer else 0.25)
    return cost
