"""Zero-shot classification: an image belongs to the class whose sentences are nearest on average (CLIP, arXiv 2103.00020, 3.1).

An item is a class (sentences that name it, no image) or an image (no sentence; `answer` is the place of its class). Items
of one `type` belong to one question (ImageNet: one of 1,000 classes; an attribute probe: many of two), `group` is the
class, and each image is one row of scores. What differs from the released code: classes that score the same share the
credit where ``argmax`` takes the first, balanced accuracy gives every class and question the same weight, and every figure
has an interval over images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isfinite, nan

import numpy as np
import pyarrow as pa

from negscale.benchmarks.encoding import Vectors
from negscale.benchmarks.evaluation import mean_of
from negscale.benchmarks.pictures import Picture
from negscale.core.benchmark import Estimate, Metric
from negscale.core.errors import PlanError
from negscale.core.rng import rng_for
from negscale.metrics.intervals import DRAWS, percentiles

CLASS_SCORE = pa.schema([
    ("id", pa.string()), ("image_id", pa.string()), ("type", pa.string()), ("group", pa.string()),  # group: its class
    ("class", pa.string()), ("chosen", pa.string()),  # the right class and the best one; null = missing
    ("above", pa.int64()), ("tied", pa.int64()),  # classes that score more, and as much, the right one included; -1 = missing
    ("margin", pa.float64()),  # of the right class over the best other one
    ("credit", pa.float64()), ("released_credit", pa.float64()),  # in 0..1; null = missing
])  # fmt: skip
_BLOCK = 4096  # images whose scores exist at once
_WORK = 400_000_000  # rows x draws of an interval; more rows, fewer draws


def class_table(items: pa.Table, vectors: Vectors) -> pa.Table:
    """`CLASS_SCORE` rows, one an image, question by question.

    A class none of whose sentences has a vector could not be chosen; then all images of its question are missing. Raises
    PlanError for an image whose answer is no class of its question.
    """
    types = items["type"].to_pylist()
    is_class = [not row for row in items["images"].to_pylist()]
    parts: list[pa.Table] = []
    for question in dict.fromkeys(types):
        mine = [at for at, kind in enumerate(types) if kind == question]
        classes = items.take(pa.array([at for at in mine if is_class[at]], pa.int64()))
        images = items.take(pa.array([at for at in mine if not is_class[at]], pa.int64()))
        parts.append(_question(question, classes, images, vectors))
    return pa.concat_tables(parts)


def class_metrics(seed: int = 0, draws: int = DRAWS) -> tuple[Metric, ...]:
    """Of one question with many classes: accuracy, accuracy of the five best, mean over classes."""
    found = []
    for k, name in ((1, "accuracy"), (5, "top5_accuracy")):

        def reduce(rows: pa.Table, k: int, name: str, released: bool = False) -> Estimate:
            credit = rows["released_credit"].to_pylist() if released else _top(rows, k).tolist()
            return mean_of(credit, rows["image_id"].to_pylist(), rng_for(seed, "interval", name), draws, credits=True)

        released = partial(reduce, k=k, name=name, released=True) if k == 1 else None
        found.append(Metric(name, "fraction", True, partial(reduce, k=k, name=name), released))
    return (*found, _balanced("mean_class_accuracy", "", seed, draws))


def probe_metrics(seed: int = 0, draws: int = DRAWS) -> tuple[Metric, ...]:
    """Of many questions with an affirmed and a negated class: balanced accuracy, and the share right of each of the two."""
    return (
        _balanced("balanced_accuracy", "", seed, draws), _balanced("affirmed_recall", "affirmed", seed, draws),
        _balanced("negated_recall", "negated", seed, draws),
    )  # fmt: skip


def balanced(
    credit: np.ndarray, types: Sequence[str], groups: Sequence[str], images: Sequence[str], seed_name: str, seed: int = 0,
    draws: int = DRAWS,
) -> Estimate:  # fmt: skip
    """Mean over questions of the mean over their classes of the mean credit, with a 95 % interval over resampled images.

    credit: float[n], NaN = missing; types, groups, images: question, class and image of each. A class without any scored
    image is left out of its question. The mean of 5 images a class is not known to a tenth of a point; the interval says so.
    """
    known = ~np.isnan(credit)
    missing = int((~known).sum())
    if not known.any():
        return Estimate(nan, 0, missing)
    _, cell = np.unique([f"{t}\0{g}" for t, g in zip(types, groups, strict=True)], return_inverse=True)
    _, image = np.unique(np.asarray(images)[known], return_inverse=True)
    cell, values = cell[known], np.asarray(credit, float)[known]
    cells = int(cell.max()) + 1
    question = np.zeros(cells, np.int64)
    _, numbers = np.unique(np.asarray(types), return_inverse=True)
    question[cell] = numbers[known]

    def mean(weights: np.ndarray) -> float:
        total, count = np.bincount(cell, weights * values, cells), np.bincount(cell, weights, cells)
        there = count > 0
        share = total[there] / count[there]
        sums, sizes = np.bincount(question[there], share), np.bincount(question[there])
        return float((sums[sizes > 0] / sizes[sizes > 0]).mean())

    value = mean(np.ones(len(values)))
    rng, size = rng_for(seed, "interval", seed_name), int(image.max()) + 1
    drawn = [
        mean(np.bincount(rng.integers(0, size, size), minlength=size)[image].astype(float))
        for _ in range(max(200, min(draws, _WORK // len(values))))
    ]
    low, high = percentiles(np.array(drawn))
    return Estimate(value, len(values), missing, min(low, value), max(high, value))


def _balanced(name: str, group: str, seed: int, draws: int) -> Metric:
    def reduce(rows: pa.Table, column: str) -> Estimate:
        part = rows.filter(pa.array([one == group for one in rows["group"].to_pylist()])) if group else rows
        credit = part[column].to_numpy(zero_copy_only=False).astype(float)
        types, groups, images = (part[which].to_pylist() for which in ("type", "group", "image_id"))
        return balanced(credit, types, groups, images, name, seed, draws)

    return Metric(name, "fraction", True, partial(reduce, column="credit"), partial(reduce, column="released_credit"))


def _top(rows: pa.Table, k: int) -> np.ndarray:
    """Chance that the right class is among the k best when ties are broken by a fair draw; NaN = missing."""
    above, tied = rows["above"].to_numpy(), rows["tied"].to_numpy()
    share = np.clip((k - above) / np.maximum(tied, 1), 0, 1)
    return np.where(above < 0, np.nan, share)


def _centres(texts: Sequence[Sequence[str]], vectors: Vectors) -> np.ndarray:
    """float64[c, d]: the mean of each class's sentences at unit length; NaN for a class without any vector."""
    found = np.full((len(texts), vectors.text_vectors.shape[-1]), np.nan)
    for at, sentences in enumerate(texts):
        rows = vectors.texts(sentences)
        if (rows := rows[rows >= 0]).size:
            centre = vectors.text_vectors[rows].astype(np.float64).mean(axis=0)
            found[at] = centre / max(float(np.linalg.norm(centre)), 1e-12)
    return found


def _question(question: str, classes: pa.Table, images: pa.Table, vectors: Vectors) -> pa.Table:
    names, centres = classes["group"].to_pylist(), _centres(classes["texts"].to_pylist(), vectors)
    paths = [row[0] for row in images["images"].to_pylist()]
    right = np.array(images["answer"].to_pylist(), np.int64)
    if len(right) and not 0 <= right.min() <= right.max() < len(names):
        raise PlanError(f"question {question!r}: answers {right.min()}..{right.max()} of {len(names)} classes")
    pictures = vectors.pictures([Picture(path) for path in paths])
    usable = (pictures >= 0) & bool(np.isfinite(centres).all())
    above, tied = np.full(len(paths), -1, np.int64), np.full(len(paths), -1, np.int64)
    margin, first = np.full(len(paths), np.nan), np.full(len(paths), -1, np.int64)
    scored = np.flatnonzero(usable)
    for start in range(0, len(scored), _BLOCK):
        at = scored[start : start + _BLOCK]
        scores = vectors.picture_vectors[pictures[at]].astype(np.float64) @ centres.T
        own = scores[np.arange(len(at)), right[at]]
        above[at], tied[at] = (scores > own[:, None]).sum(axis=1), (scores == own[:, None]).sum(axis=1)
        first[at] = scores.argmax(axis=1)
        scores[np.arange(len(at)), right[at]] = -np.inf
        margin[at] = own - scores.max(axis=1)
    credit = np.where(usable, (above == 0) / np.maximum(tied, 1), np.nan)
    released = np.where(usable, (first == right).astype(float), np.nan)
    named = [names[at] for at in right.tolist()]
    chosen = [names[at] if at >= 0 else None for at in first.tolist()]
    floats = ([value if isfinite(value) else None for value in one.tolist()] for one in (margin, credit, released))
    held = [images[name].combine_chunks() for name in ("id", "type", "group")]
    return pa.table([held[0], paths, *held[1:], named, chosen, above, tied, *floats], schema=CLASS_SCORE)
