"""What NeIn asks of an edited image: is the denied object gone, and is everything else still there.

After Bui et al., arXiv 2409.06481, section 4, and the released evaluation_protocol/. Answers are `True`, `False` or `None`
(the judge does not know); pure functions of answers, no images. What differs from the release, which stands beside as
`released_*`: what was not answered is missing instead of a failure, no denominator is typed in, "no." counts as "No", and
a row whose caption names nothing that the input shows has no retention instead of a share over nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Answer = bool | None
RELEASED_ROWS = 24_182  # typed into the released scripts: rows of NeIn's evaluation set
RELEASED_RETENTION_ROWS = 24_120  # the same without 62 rows in which nothing was detected (a comment says 24,021)


def removed(seen: Answer) -> Answer:
    """Whether the denied object is gone from the edited image."""
    return None if seen is None else not seen


def retained(before: Mapping[str, Answer], after: Mapping[str, Answer]) -> float | None:
    """|seen after| / |seen before| over the objects that were seen in the input; None where there is none.

    An object of the input that nobody could judge in the edit makes the row None too: a share without it would be of
    other objects. What is seen only after the edit does not count, so that the value lies in 0..1.

    >>> retained({"dog": True, "cat": True, "park": None}, {"dog": True, "cat": False, "park": True})
    0.5
    >>> retained({"dog": False}, {"dog": True}) is None
    True
    """
    there = [name for name, seen in before.items() if seen]
    answers = [after.get(name) for name in there]
    if not there or None in answers:
        return None
    return sum(map(bool, answers)) / len(there)


def removal_curve(scores: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(thresholds, share of edits whose best confidence is at or below each): the empirical CDF of `scores` in 0..1.

    Steps upwards at each threshold; both float[K], K distinct scores. Raises ValueError for scores outside of 0..1.
    """
    values = np.ravel(np.asarray(scores, float))
    if not len(values) or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError(f"expected at least one confidence, all in 0..1, got {len(values)}: {values[:5]}")
    thresholds, counts = np.unique(values, return_counts=True)
    return thresholds, np.cumsum(counts) / len(values)


def auc_removal(scores: Sequence[float] | np.ndarray) -> float:
    """Area under `removal_curve` over 0..1, in percent: exact, no grid. Equals 100 (1 - mean score).

    It is the share of edits that count as removed, averaged over all thresholds of the detector; there are no labels, so
    it is no ROC. scores: the detector's best confidence for the denied object, also where that is below its threshold.
    """
    thresholds, shares = removal_curve(scores)
    widths = np.diff(np.append(thresholds, 1.0))
    return float(100 * (shares * widths).sum())


def released_auc_removal(scores: Sequence[float], seen: Sequence[bool]) -> float:
    """The released value, in percent: 100 (1 - mean s), s = 0 where nothing passed the detector's threshold.

    Zeroing makes it jump with that threshold: with a lower one the same boxes give a lower value.
    """
    kept = [score if there else 0.0 for score, there in zip(scores, seen, strict=True)]
    return float(100 * (1 - np.mean(kept)))


def released_removal(answers: Sequence[str | None], rows: int) -> float:
    """The released share of removals by questions: answers that are "No" to the letter, over a number of rows.

    "no", "No." and no answer at all count as failures. rows: 24,182 in the release.
    """
    return sum(answer == "No" for answer in answers) / rows


def released_mean(values: Sequence[float | None], rows: int) -> float:
    """A sum over a number of rows that is typed in: what is missing counts as 0."""
    return sum(value for value in values if value is not None) / rows


def says_yes_or_no(answer: str | None) -> bool:
    """Whether a judge's raw answer is a word, so that the released comparison with "No" means something.

    >>> says_yes_or_no("No."), says_yes_or_no("yolox.full=0.11")
    (True, False)
    """
    return (answer or "").strip().lower().rstrip(".!").split(",")[0] in ("yes", "no")
