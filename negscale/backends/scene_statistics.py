"""Where objects stand in photographs and how large they are there, from annotated boxes: priors for pasting.

The size of a box is modelled as class + image + height in the picture:

    ln sqrt(w h / (W H)) = mean + class effect + image effect + slope * (bottom - its mean) + noise

Of each class only the largest instance of an image counts: an object that is asked for by name is a subject of the
picture, not one of a crowd. `bottom` is the box's lower edge as a share of the image's height: what stands lower is
nearer, hence larger. The image effect says how close the camera is; instances known in a target give it (a kitchen full of
small cups asks for a small kettle). Effects are shrunk towards 0 by `_PRIOR` observations. `supports` says on what a class
usually stands or hangs: of the instances that share an image with one of the other class, half or more have their foot
within its box.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from negscale.backends.instance_bank import Instance
from negscale.core.boxes import Box, area

_PRIOR = 2.0  # observations' worth of "no effect"
_ROUNDS = 100
_LEAST_PAIRS, _LEAST_SHARE = 4, 0.5  # of supports
_LEAST_SUPPORT = 0.02  # share of the image that a support fills at least
_DIGITS = 9  # sums differ in their last bits between machines; choices must not


@dataclass(frozen=True, slots=True)
class Support:
    """A class that carries another one, with the feet seen: (across, down) as shares of the support's box."""

    category: str
    feet: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SceneStatistics:
    """See the module's docstring."""

    mean: float
    level: float  # mean of `bottom`
    slope: float
    spread: float  # standard deviation of the noise
    class_effects: Mapping[str, float]
    size_range: Mapping[str, tuple[float, float]]  # 10th and 90th percentile of the relative size of each class
    bottoms: Mapping[str, tuple[float, ...]]
    supports: Mapping[str, tuple[Support, ...]]

    def knows(self, category: str) -> bool:
        """Whether instances of the class were seen."""
        return category in self.class_effects

    def grounded(self, category: str) -> bool:
        """Whether the class stands on something: most of its feet are in the lower half, unlike those of kites and clocks."""
        seen = self.bottoms[category]
        return seen[len(seen) // 2] > 0.5

    def closeness(self, known: Sequence[Instance]) -> float:
        """The image effect of a target, from the instances known in it; 0 when none is."""
        rest = [
            math.log(relative_size(one)) - self.expected(one.category, bottom_of(one))
            for one in largest(known) if self.knows(one.category)
        ]  # fmt: skip
        return round(sum(rest) / (len(rest) + _PRIOR), _DIGITS)

    def expected(self, category: str, bottom: float, closeness: float = 0.0) -> float:
        """Expected natural logarithm of the relative size."""
        return self.mean + self.class_effects[category] + closeness + self.slope * (bottom - self.level)


def relative_size(one: Instance) -> float:
    """sqrt(w h / (W H)), 0..1."""
    height, width = one.image_hw
    return math.sqrt(area(one.box) / (height * width))


def bottom_of(one: Instance) -> float:
    """The lower edge of the box as a share of the image's height."""
    return (one.box[1] + one.box[3]) / one.image_hw[0]


def largest(instances: Collection[Instance]) -> list[Instance]:
    """The largest instance of each class in each image, in the order given."""
    best: dict[tuple[str, str], Instance] = {}
    for one in instances:
        pair = one.image, one.category
        if pair not in best or area(one.box) > area(best[pair].box):
            best[pair] = one
    return [one for one in instances if best[one.image, one.category] is one]


def large_enough_support(one: Instance) -> bool:
    """Whether an instance fills enough of its image to carry something."""
    return area(one.box) >= _LEAST_SUPPORT * one.image_hw[0] * one.image_hw[1]


def fit_statistics(instances: Collection[Instance]) -> SceneStatistics:
    """Fit to every instance given, those at the border left out (their boxes are cut). Raises ValueError without any."""
    whole = largest([one for one in instances if not _cut(one) and relative_size(one) > 0])
    if not whole:
        raise ValueError("no instance lies wholly inside its image; expected an annotated image set")
    categories = sorted({one.category for one in whole})
    images = sorted({one.image for one in whole})
    class_number = {name: k for k, name in enumerate(categories)}
    image_number = {name: k for k, name in enumerate(images)}
    at_class = np.array([class_number[one.category] for one in whole])
    at_image = np.array([image_number[one.image] for one in whole])
    size = np.log([relative_size(one) for one in whole])
    bottoms = np.array([bottom_of(one) for one in whole])
    level = round(float(bottoms.mean()), _DIGITS)
    height = bottoms - level
    mean = float(size.mean())
    classes, closeness, slope = np.zeros(len(categories)), np.zeros(len(images)), 0.0
    for _ in range(_ROUNDS):  # each effect in turn, given the others: converges for ridge regression
        classes = _effects(size - mean - closeness[at_image] - slope * height, at_class, len(categories))
        closeness = _effects(size - mean - classes[at_class] - slope * height, at_image, len(images))
        left = size - mean - classes[at_class] - closeness[at_image]
        slope = float((left * height).sum() / ((height**2).sum() + 1e-9))
    noise = size - mean - classes[at_class] - closeness[at_image] - slope * height
    shares = np.exp(size)
    return SceneStatistics(
        round(mean, _DIGITS), level, round(slope, _DIGITS), round(float(noise.std()), _DIGITS),
        {name: round(float(value), _DIGITS) for name, value in zip(categories, classes, strict=True)},
        {name: _range(shares[at_class == k]) for k, name in enumerate(categories)},
        {name: tuple(np.sort(bottoms[at_class == k]).tolist()) for k, name in enumerate(categories)},
        _supports([one for one in instances if not _cut(one)], instances),
    )  # fmt: skip


def _cut(one: Instance) -> bool:
    left, top, w, h = one.box
    return min(left, top, one.image_hw[1] - left - w, one.image_hw[0] - top - h) < 1


def _effects(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(groups, values, count) / (np.bincount(groups, minlength=count) + _PRIOR)


def _range(shares: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(shares, (0.1, 0.9))
    return round(float(low), _DIGITS), round(float(high), _DIGITS)


def _supports(whole: Sequence[Instance], every: Collection[Instance]) -> dict[str, tuple[Support, ...]]:
    carriers: dict[str, list[Instance]] = {}
    for one in every:
        if large_enough_support(one):
            carriers.setdefault(one.image, []).append(one)
    feet: dict[tuple[str, str], list[tuple[float, float]]] = {}
    together: dict[tuple[str, str], int] = {}
    for one in whole:
        others = [c for c in carriers.get(one.image, ()) if c.category != one.category and area(c.box) > area(one.box)]
        for name in {other.category for other in others}:
            pair = (one.category, name)
            together[pair] = together.get(pair, 0) + 1
            # of several that carry it, the smallest: a cup on a table in front of a couch stands on the table
            holding = [(area(o.box), foot) for o in others if o.category == name and (foot := _foot(one.box, o.box))]
            if holding:
                feet.setdefault(pair, []).append(min(holding)[1])
    found: dict[str, list[Support]] = {}
    for (name, carrier), seen in sorted(feet.items()):
        if len(seen) >= _LEAST_PAIRS and len(seen) >= _LEAST_SHARE * together[name, carrier]:
            found.setdefault(name, []).append(Support(carrier, tuple(seen)))
    return {name: tuple(supports) for name, supports in found.items()}


def _foot(box: Box, carrier: Box) -> tuple[float, float] | None:
    """Where the middle of the lower edge lies in the carrier's box, as shares; None outside."""
    across = (box[0] + box[2] / 2 - carrier[0]) / carrier[2]
    down = (box[1] + box[3] - carrier[1]) / carrier[3]
    return (across, down) if 0 <= across <= 1 and 0 <= down <= 1 else None
