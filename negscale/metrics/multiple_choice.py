"""Choices among captions: accuracy with shared ties, what is chosen instead, and 2 x 2 groups.

NegBench (arXiv 2501.09425, `benchmarks/src/evaluation/mcq.py`) takes ``argmax`` over options whose right one is always
the first, so that a scorer without an opinion gets 100 %; its table of wrong answers maps slots to types, breaks on
shuffled options and lets one of two "hybrid" slots overwrite the other. What differs: t options that share the best score
share the credit, types are those of the options, and a question with a score that is not a number is missing instead
of won. `released_credits` is the other column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

_Cell = tuple[int, int]


def shared_credits(scores: np.ndarray, answers: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """float64[n]: 1/t where the right option is one of t with the best score, else 0; NaN where a score is NaN.

    scores: float[n, k]; answers: int[n]; valid: bool[n, k], which cells are options, all by default.
    """
    values, answers, valid = _checked(scores, answers, valid)
    unknown = (np.isnan(values) & valid).any(axis=1)
    values = np.where(valid & ~np.isnan(values), values, -np.inf)
    best = (values == values.max(axis=1, keepdims=True)) & valid
    credit = best[np.arange(len(values)), answers] / np.maximum(best.sum(axis=1), 1)
    return np.where(unknown, np.nan, credit)


def released_credits(scores: np.ndarray, answers: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """float64[n]: 1 where ``argmax`` is the right option: the first wins a tie, and a NaN beats every number."""
    values, answers, valid = _checked(scores, answers, valid)
    return (np.where(valid, values, -np.inf).argmax(axis=1) == answers).astype(float)


def strict_credits(scores: np.ndarray, answers: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """float64[n]: 1 where the right option scores more than every other, as VALSE and SugarCrepe release it: a tie loses."""
    values, answers, valid = _checked(scores, answers, valid)
    rows = np.arange(len(values))
    others = np.where(valid, values, -np.inf)
    right = others[rows, answers].copy()
    others[rows, answers] = -np.inf
    return (right > others.max(axis=1)).astype(float)


@dataclass(frozen=True, slots=True)
class Confusion:
    """What is chosen, by the type of the right option. Shares of a row sum to 1."""

    rows: tuple[str, ...]  # types of questions
    columns: tuple[str, ...]  # types of options, "(right)" first
    shares: np.ndarray  # float64[rows, columns]
    counts: tuple[int, ...]  # questions per row


def confusion_of_types(
    scores: np.ndarray, answers: np.ndarray, types: Sequence[str], option_types: Sequence[Sequence[str]]
) -> Confusion:
    """How often options of each type are chosen; the right one stands apart, ties share the choice.

    scores: float[n, k], -inf where there is no option; types: of each question; option_types: of each option. Questions
    with a NaN are left out.
    """
    values, answers, _ = _checked(scores, answers, None)
    known = np.asarray(~np.isnan(values).any(axis=1))
    best = (values == values.max(axis=1, keepdims=True)) & np.isfinite(values)
    weight = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    rows = tuple(sorted({kind for kind, ok in zip(types, known.tolist(), strict=True) if ok}))
    others = sorted({kind for options in option_types for kind in options})
    columns = ("(right)", *others)
    place = {name: at for at, name in enumerate(columns)}
    shares, counts = np.zeros((len(rows), len(columns))), [0] * len(rows)
    for at in np.flatnonzero(known).tolist():
        row = rows.index(types[at])
        counts[row] += 1
        for option, kind in enumerate(option_types[at]):
            shares[row, 0 if option == answers[at] else place[kind]] += weight[at, option]
    return Confusion(rows, columns, shares / np.maximum(np.array(counts), 1)[:, None], tuple(counts))


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Credits of n 2 x 2 groups, float64[n] each; NaN where a score is NaN."""

    text: np.ndarray  # for both images the right caption scores more
    image: np.ndarray  # for both captions the right image scores more
    group: np.ndarray  # both


def group_scores(scores: np.ndarray) -> GroupScores:
    """Winoground's three scores (arXiv 2204.03162), ties broken by a fair draw: all-equal scores get 1/4, 1/4 and 1/6.

    scores: float[n, 2, 2], image by caption; caption i is true of image i and false of the other.
    """
    values = _square(scores)
    draws = []
    for order in permutations(range(4)):  # which of equal scores counts as the larger one
        tie = np.array(order).reshape(2, 2)
        draws.append(_compare(values, lambda a, b, tie=tie: bool(tie[a] > tie[b])))
    return GroupScores(*(np.mean([draw[part] for draw in draws], axis=0) for part in range(3)))


def released_group_scores(scores: np.ndarray) -> GroupScores:
    """Winoground's three scores as published: a tie fails."""
    return GroupScores(*_compare(_square(scores), lambda a, b: False))


def _compare(values: np.ndarray, wins_tie: Callable[[_Cell, _Cell], bool]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    def more(a: _Cell, b: _Cell) -> np.ndarray:
        left, right = values[:, a[0], a[1]], values[:, b[0], b[1]]
        return (left > right) | ((left == right) & wins_tie(a, b))

    text = more((0, 0), (0, 1)) & more((1, 1), (1, 0))
    image = more((0, 0), (1, 0)) & more((1, 1), (0, 1))
    unknown = np.isnan(values).any(axis=(1, 2))
    text_credit, image_credit, both = (np.where(unknown, np.nan, part) for part in (text, image, text & image))
    return text_credit, image_credit, both


def _square(scores: np.ndarray) -> np.ndarray:
    values = np.asarray(scores, float)
    if values.ndim != 3 or values.shape[1:] != (2, 2):
        raise ValueError(f"expected scores float[n, 2, 2], got {values.shape}")
    return values


def _checked(
    scores: np.ndarray, answers: np.ndarray, valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, right = np.asarray(scores, float), np.asarray(answers)
    if values.ndim != 2 or right.shape != (len(values),):
        raise ValueError(f"expected scores float[n, k] and answers int[n], got {values.shape} and {right.shape}")
    exists = np.ones(values.shape, bool) if valid is None else np.asarray(valid, bool)
    if exists.shape != values.shape:
        raise ValueError(f"expected valid bool{list(values.shape)}, got {list(exists.shape)}")
    if len(right) and not (right.min() >= 0 and right.max() < values.shape[1]):
        raise ValueError(f"answers lie in {right.min()}..{right.max()}; there are options 0..{values.shape[1] - 1}")
    return values, right, exists
