"""From a detector's boxes to the probability that an object is in a picture: views, evidence, logistic fusion.

A detector misses small objects, and they are what captions leave out. Each detector therefore also sees mirrored and
enlarged parts of the picture. The strongest box of each group of views gives one log-odds; a logistic regression with an
offset per class fuses them. The share of the picture that the strongest box covers counts too: small detectors rate
small objects too low, so that a weak small box says more than a weak large one. The numbers stand in the config;
`fit_calibration` makes them from annotated pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from negscale.core.backend import Image
from negscale.core.config import Config

View: TypeAlias = Literal["full", "mirrored", "tiles2", "tiles3"]
SMALLEST = 1e-5  # added to a box's share of the picture before the logarithm
LOWEST = 1e-4  # a score below counts as this much: log-odds stay finite
TILES: Mapping[View, tuple[int, float]] = {"tiles2": (2, 0.6), "tiles3": (3, 0.4)}  # tiles a side, share of the side


class Calibration(Config):
    """log-odds(present) = bias + class offset + area weight * log(share of the picture that the strongest box covers)
    + sum over detectors and views of weight * log-odds(score of their strongest box)."""

    bias: float = 0.0
    weights: dict[str, dict[View, float]] = {}
    """Detector name -> view -> weight. Empty: the mean over all detectors' full views."""
    area_weight: float = 0.0
    """Weight of the logarithm of the strongest box's share of the picture."""
    class_offsets: dict[str, float] = {}
    """Class -> what is added for it; classes that are not named get 0."""


@dataclass(slots=True)
class Evidence:
    """What detectors saw of one class in one picture."""

    scores: dict[tuple[str, View], float] = field(default_factory=dict)  # strongest box of each; 0 without one
    strongest: float = 0.0
    area: float = 1.0  # share of the picture that the strongest box covers; 1 without a box

    def add(self, key: tuple[str, View], score: float, area: float) -> None:
        """One more box."""
        self.scores[key] = max(self.scores[key], score)
        if score > self.strongest:
            self.strongest, self.area = score, area


def views_of(image: Image, view: View) -> Iterator[Image]:
    """The pictures of one group of views; each has its own memory."""
    if view == "full":
        yield image
    elif view == "mirrored":
        yield np.ascontiguousarray(image[:, ::-1])
    else:
        count, share = TILES[view]
        rows, columns = image.shape[:2]
        height, width = max(1, int(rows * share)), max(1, int(columns * share))
        for down in range(count):
            for right in range(count):
                top = round((rows - height) * down / (count - 1))
                left = round((columns - width) * right / (count - 1))
                yield np.ascontiguousarray(image[top : top + height, left : left + width])


def log_odds(score: float) -> float:
    """log(p / (1 - p)), p kept in LOWEST..1 - LOWEST."""
    p = min(max(score, LOWEST), 1.0 - LOWEST)
    return float(np.log(p / (1.0 - p)))


def fuse(evidence: Evidence, calibration: Calibration, name: str) -> float:
    """Probability that class `name` is present.

    Where a detector lacks the class, the weights of the others are scaled up to the same total.
    """
    odds = {key: log_odds(score) for key, score in evidence.scores.items()}
    if not calibration.weights:
        return _sigmoid(float(np.mean(list(odds.values()))))
    total = sum(w for views in calibration.weights.values() for w in views.values())
    used = {key: calibration.weights[key[0]][key[1]] for key in odds}
    weighted = sum(weight * odds[key] for key, weight in used.items()) * total / sum(used.values())
    area = calibration.area_weight * float(np.log(evidence.area + SMALLEST))
    return _sigmoid(calibration.bias + calibration.class_offsets.get(name, 0.0) + area + weighted)


def _sigmoid(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-value)))


def fit_calibration(
    scores: np.ndarray,
    areas: np.ndarray,
    present: np.ndarray,
    keys: Sequence[tuple[str, View]],
    classes: Sequence[str],
    class_ridge: float = 3.0,
    rounds: int = 60,
) -> Calibration:
    """Ridge logistic regression by Newton's method; deterministic.

    scores float[images, classes, len(keys)] and areas float[images, classes] as in `Evidence`, present bool[images,
    classes]. `class_ridge` is the penalty on the class offsets. Fit on pictures that no run is judged on.
    """
    images, count, views = scores.shape
    clipped = np.clip(scores, LOWEST, 1.0 - LOWEST).reshape(-1, views)
    design = np.hstack([
        np.log(clipped / (1 - clipped)), np.log(areas.reshape(-1, 1) + SMALLEST),
        np.tile(np.eye(count), (images, 1)), np.ones((len(clipped), 1)),
    ])  # fmt: skip
    ridge = np.concatenate([np.full(views + 1, 1e-2), np.full(count, class_ridge), [1e-9]])
    target = present.reshape(-1).astype(float)
    solution = np.zeros(design.shape[1])
    for _ in range(rounds):
        chance = 1.0 / (1.0 + np.exp(-(design @ solution)))
        gradient = design.T @ (chance - target) + ridge * solution
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        solution = solution - step
        if np.abs(step).max() < 1e-9:
            break
    weights: dict[str, dict[View, float]] = {}
    for (detector, view), weight in zip(keys, solution, strict=False):
        weights.setdefault(detector, {})[view] = round(float(weight), 3)
    offsets = {name: round(float(value), 2) for name, value in zip(classes, solution[views + 1 :], strict=False)}
    area_weight = round(float(solution[views]), 3)
    return Calibration(
        bias=round(float(solution[-1]), 3), weights=weights, area_weight=area_weight, class_offsets=offsets
    )
