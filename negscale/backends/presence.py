"""From a detector's boxes to the probability that an object is in a picture: views, evidence, logistic fusion.

A detector misses small objects, and they are what captions leave out. Each detector therefore also sees mirrored and
enlarged parts of the picture. The strongest box of each group of views gives one log-odds; a logistic regression with an
offset per class fuses them. Its numbers stand in the config; `fit_calibration` makes them from annotated pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

from negscale.core.backend import Image
from negscale.core.config import Config

View: TypeAlias = Literal["full", "mirrored", "tiles2", "tiles3"]
LOWEST = 1e-4  # a score below counts as this much: log-odds stay finite
TILES: Mapping[View, tuple[int, float]] = {"tiles2": (2, 0.6), "tiles3": (3, 0.4)}  # tiles a side, share of the side


class Calibration(Config):
    """log-odds(present) = bias + class offset + sum over detectors and views of weight * log-odds(strongest box)."""

    bias: float = 0.0
    weights: dict[str, dict[View, float]] = {}
    """Detector name -> view -> weight. Empty: the mean over all detectors' full views."""
    class_offsets: dict[str, float] = {}
    """Class -> what is added for it; classes that are not named get 0."""


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


def fuse(evidence: Mapping[tuple[str, View], float], calibration: Calibration, name: str) -> float:
    """Probability that class `name` is present, from the strongest box's score of each (detector, view).

    Where a detector lacks the class, the weights of the others are scaled up to the same total.
    """
    if not calibration.weights:
        return _sigmoid(float(np.mean([log_odds(score) for score in evidence.values()])))
    total = sum(w for views in calibration.weights.values() for w in views.values())
    used = {key: calibration.weights[key[0]][key[1]] for key in evidence}
    weighted = sum(weight * log_odds(evidence[key]) for key, weight in used.items())
    offset = calibration.bias + calibration.class_offsets.get(name, 0.0)
    return _sigmoid(offset + weighted * total / sum(used.values()))


def _sigmoid(value: float) -> float:
    return float(1.0 / (1.0 + np.exp(-value)))


def fit_calibration(
    evidence: np.ndarray,
    present: np.ndarray,
    keys: Sequence[tuple[str, View]],
    classes: Sequence[str],
    class_ridge: float = 3.0,
    rounds: int = 60,
) -> Calibration:
    """Ridge logistic regression by Newton's method; deterministic.

    evidence float[images, classes, len(keys)] strongest scores, present bool[images, classes]. `class_ridge` pulls the
    class offsets to 0 as hard as that many observations of log-loss curvature 1. Fit on pictures that no run is judged on.
    """
    images, count, features = evidence.shape
    clipped = np.clip(evidence, LOWEST, 1.0 - LOWEST).reshape(-1, features)
    design = np.hstack([np.log(clipped / (1 - clipped)), np.tile(np.eye(count), (images, 1)), np.ones((len(clipped), 1))])
    ridge = np.concatenate([np.full(features, 1e-2), np.full(count, class_ridge), [1e-9]])
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
    offsets = {name: round(float(value), 2) for name, value in zip(classes, solution[features:], strict=False)}
    return Calibration(bias=round(float(solution[-1]), 3), weights=weights, class_offsets=offsets)
