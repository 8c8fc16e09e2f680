"""Fréchet distance of two clouds of features (FID: Heusel et al., arXiv 1706.08500).

d^2 = |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), covariances with N - 1. What differs from the usual code: the
trace of the root is the sum of the singular values of A'B for any A A' = S_a, B B' = S_b, so that no product of
covariances is formed and no root of a nearly singular matrix is taken (scipy's sqrtm gives complex numbers there, and
eigenvalues of the product lose half the digits). Values equal torchmetrics' on the same features.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

T_95 = {  # two-sided 95 % quantiles of Student's t by degrees of freedom, for the jackknife's few groups
    4: 2.776, 9: 2.262, 19: 2.093, 29: 2.045, 49: 2.010,
}  # fmt: skip


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance of features float[N, D] and float[M, D]; 0 for equal clouds, always >= 0.

    It is biased upwards where N or M is small beside D: compare values only at equal counts. Raises ValueError for fewer
    than two rows, other widths or values that are not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"expected features [N, D] and [M, D] of at least two rows, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features hold NaN or infinite values; leave those rows out and count them")
    mean_a, mean_b = a.mean(0), b.mean(0)
    root_a, root_b = _root(a - mean_a), _root(b - mean_b)
    spread = (root_a**2).sum() + (root_b**2).sum()
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return max(0.0, float(((mean_a - mean_b) ** 2).sum() + spread - 2 * shared))


def _root(centred: np.ndarray) -> np.ndarray:
    """R with R'R = the covariance, [min(N, D), D]."""
    scaled = centred / np.sqrt(len(centred) - 1)
    return np.asarray(np.linalg.qr(scaled, mode="r")) if len(scaled) > scaled.shape[1] else scaled


def frechet_interval(
    a: np.ndarray, b: np.ndarray, groups: Sequence[Hashable], rng: np.random.Generator, parts: int = 10
) -> tuple[float, float]:
    """95 % interval of `frechet_distance` of paired rows by the grouped jackknife: `parts` times without one part.

    A bootstrap would draw rows twice, which lowers the rank of the covariances and shifts the distance upwards. a, b:
    float[N, D], row i of both from one image of `groups`; the rows of an image stay together. parts: 5, 10, 20, 30 or 50.
    Raises ValueError where there are fewer groups than parts.
    """
    if parts - 1 not in T_95:
        raise ValueError(f"parts must be one of {[k + 1 for k in T_95]}, got {parts}")
    names = list(dict.fromkeys(groups))
    if len(names) < parts:
        raise ValueError(f"a jackknife of {parts} parts needs as many images, got {len(names)}")
    order = rng.permutation(len(names))
    part_of = {names[at]: place % parts for place, at in enumerate(order)}
    parts_of_rows = np.array([part_of[group] for group in groups])
    whole = frechet_distance(a, b)
    without = np.array([frechet_distance(a[parts_of_rows != k], b[parts_of_rows != k]) for k in range(parts)])
    error = np.sqrt((parts - 1) / parts * ((without - without.mean()) ** 2).sum())
    return max(0.0, whole - T_95[parts - 1] * error), whole + T_95[parts - 1] * error
