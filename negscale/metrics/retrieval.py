"""Recall at k in CLIP's convention: a query counts when any of its positives is among the k best.

NegBench reports text-to-image recall (arXiv 2501.09425, `retrieval.py`: ``torch.topk``, ties arbitrary, a mean over
captions); image-to-text follows CLIP (arXiv 2103.00020): any caption of the image in the top k. What differs: among equal
scores the order is a fair draw, and a query counts with the expected value over it, so that a scorer without an opinion
gets k / items and no more. `released_hits` is the other column: equal scores in the order of the file.
"""

from __future__ import annotations

import numpy as np

from negscale.metrics.ranking import Ranks


def expected_hits(ranks: Ranks, k: int) -> np.ndarray:
    """float64[n]: chance that a positive is among the k best when ties are broken by a fair draw; NaN where not scored."""
    _need(k)
    room = np.maximum(k - ranks.above, 0)  # places left for the tied
    miss = np.ones(len(room))
    for taken in range(int(ranks.positives.max(initial=0))):
        # all tied positives fall outside `room` places drawn from the tied
        step = np.maximum(ranks.tied - room - taken, 0) / np.maximum(ranks.tied - taken, 1)
        miss = np.where(taken < ranks.positives, miss * step, miss)
    return np.where(ranks.scored, 1 - miss, np.nan)


def released_hits(ranks: Ranks, k: int) -> np.ndarray:
    """float64[n]: 1 where a positive is among the k best, equal scores taken in the items' order; NaN where not scored."""
    _need(k)
    return np.where(ranks.scored, (ranks.above + ranks.before < k).astype(float), np.nan)


def expected_ranks(ranks: Ranks) -> np.ndarray:
    """float64[n]: place of the first positive, counted from 1, expected over fair tie-breaking; NaN where not scored."""
    first = (ranks.tied + 1) / np.maximum(ranks.positives + 1, 1)  # of p positives among t places drawn at random
    return np.where(ranks.scored, ranks.above + first, np.nan)


def recall_at_k(ranks: Ranks, k: int) -> float:
    """Mean of `expected_hits` over the queries that were scored; NaN without any."""
    hits = expected_hits(ranks, k)[ranks.scored]
    return float(hits.mean()) if len(hits) else float("nan")


def chance(positives: np.ndarray, items: int, k: int) -> float:
    """Recall at k of a scorer that gives every item the same score. positives: int[n], right items of each query."""
    count = np.asarray(positives, np.int64)
    same = Ranks(np.zeros_like(count), np.full_like(count, items), count, np.zeros_like(count))
    return recall_at_k(same, k)


def _need(k: int) -> None:
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")
