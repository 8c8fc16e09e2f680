"""Which of several boxes an expression means: the best-scored crop.

NegRefCOCOg (NegationCLIP, arXiv 2501.10913, `negrefcocog_eval.py`): right when the box of the best crop equals the referred
one. There ``argmax`` takes the first of equal scores and the referred box is first in all 440 items, so that a scorer
without an opinion gets 100 %. What differs: boxes that share the best score share the credit, as with captions; two
candidates with the same box count as one place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = Sequence[float]


def grounding_credit(scores: Sequence[float], boxes: Sequence[Box], target: Box) -> float:
    """Share of the best-scored boxes that equal the target (x, y, w, h in pixels); NaN where a score is NaN."""
    values = _checked(scores, boxes, target)
    if np.isnan(values).any():
        return float("nan")
    best = {tuple(box) for box, value in zip(boxes, values, strict=True) if value == values.max()}
    return (tuple(target) in best) / len(best)


def released_grounding(scores: Sequence[float], boxes: Sequence[Box], target: Box) -> float:
    """1 when the box of ``argmax`` equals the target, the first of equal scores winning; a NaN beats every number."""
    values = _checked(scores, boxes, target)
    return float(list(boxes[int(values.argmax())]) == list(target))


def _checked(scores: Sequence[float], boxes: Sequence[Box], target: Box) -> np.ndarray:
    values = np.asarray(scores, float)
    if values.shape != (len(boxes),) or not len(boxes):
        raise ValueError(f"expected one score for each of {len(boxes)} boxes, got {values.shape}")
    if list(target) not in [list(box) for box in boxes]:
        raise ValueError(f"the target {list(target)} is not among the boxes {[list(box) for box in boxes]}")
    return values
