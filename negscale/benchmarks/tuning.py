"""Parameters of a training-free scorer from a split that is not scored.

SpaceVLM (arXiv 2511.12331) tunes t per benchmark, and "Seeing What's Not There" (ICLR 2026) tunes lambda on 5 % of COCO MCQ and
scores on all of it. Here the split is drawn by image, the tuned value carries the digest of what it was tuned on, and
scoring a benchmark with it leaves those images out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import pyarrow as pa

from negscale.backends.negation_scoring import ProjectionConfig, RepulsionConfig, needed_texts, turned
from negscale.benchmarks.encoding import Vectors
from negscale.benchmarks.scoring import choice_table, text_scores
from negscale.core.errors import PlanError
from negscale.core.rng import seed_for

GRIDS: dict[str, tuple[float, ...]] = {
    "repulsion": (0.6, 0.7, 0.8, 0.85, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.97),
    "projection": (0.0, 0.1, 0.3, 0.5, 0.8, 1.2, 1.6, 1.9, 2.3),
}
SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Tuned:
    """A scorer with its value, what it was tuned on, and how it did there."""

    scoring: RepulsionConfig | ProjectionConfig
    credit: float  # on the tuning split
    items: int
    digest: str  # of the ids and images of the tuning split


def tuning_split(items: pa.Table, share: float = SHARE, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """(tuning items, items to score): by image, whatever the order; no image is on both sides.

    Raises PlanError when one of them is empty.
    """
    names = [row[0] for row in items["images"].to_pylist()]
    chosen = np.array([seed_for(seed, "tuning", name) / 2**63 < share for name in names])
    if chosen.all() or not chosen.any():
        raise PlanError(
            f"{len(set(names))} images cannot be split {share:.0%} to {1 - share:.0%}; use a larger tuning set"
        )
    return items.filter(pa.array(chosen)), items.filter(pa.array(~chosen))


def tune(scoring: RepulsionConfig | ProjectionConfig, items: pa.Table, vectors: Vectors) -> Tuned:
    """The value of the grid with the highest mean credit on items of choose_text; of equals the one nearest to the default.

    vectors: plain ones of the items' pictures and of `needed_texts` of their texts. Raises PlanError when texts lack theirs.
    """
    name = "cosine" if scoring.kind == "repulsion" else "strength"
    default = getattr(scoring, name)
    tried: list[tuple[float, float, RepulsionConfig | ProjectionConfig]] = []
    for value in GRIDS[scoring.kind]:
        candidate = scoring.model_copy(update={name: value})
        rows = choice_table(items, *text_scores(items, with_scoring(vectors, items, candidate)))
        known = rows["credit"].drop_null().to_numpy()
        if not len(known):
            raise PlanError(f"none of {len(items)} tuning items has an image and texts with vectors")
        credit = float(known.mean())
        tried.append((credit, -abs(value - default), candidate))
    credit, _, best = max(tried, key=lambda entry: entry[:2])
    named = "\n".join(
        f"{i} {row[0]}" for i, row in zip(items["id"].to_pylist(), items["images"].to_pylist(), strict=True)
    )
    return Tuned(best, credit, len(items), sha256(named.encode()).hexdigest()[:16])


def with_scoring(vectors: Vectors, items: pa.Table, scoring: RepulsionConfig | ProjectionConfig) -> Vectors:
    """The vectors with the items' texts turned away from what they deny; pictures as they are.

    A text is missing when one that it needs could not be encoded. Raises PlanError when one that it needs was never asked
    for.
    """
    texts = sorted({text for row in items["texts"].to_pylist() for text in row})
    known = [text for text in texts if text in vectors.text_rows]
    broken = {thing for thing in vectors.faults if isinstance(thing, str)}
    faults = dict(vectors.faults)
    if broken:
        for text in known:
            if lost := broken.intersection(needed_texts([text], scoring)):
                faults[text] = vectors.faults[min(lost)]
        known = [text for text in known if text not in faults]

    def embed(asked: Sequence[str]) -> np.ndarray:
        rows = vectors.texts(asked)
        if lost := [text for text, row in zip(asked, rows.tolist(), strict=True) if row < 0]:
            raise PlanError(f"{len(lost)} texts have no vector, the first is {lost[0]!r}; encode `needed_texts` first")
        return vectors.text_vectors[rows]

    rows = {text: at for at, text in enumerate(known)}
    found = turned(known, embed, scoring) if known else vectors.text_vectors[:0]
    return replace(vectors, text_rows=rows, text_vectors=found, faults=faults)
