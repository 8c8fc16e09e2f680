"""Solvers that never see the image: fixed rules over the option texts.

NegBench's MCQ (arXiv 2501.09425) can be solved by text alone. Its generator always puts a false hybrid, a bare
affirmation of the absent object and a false negation beside the right option, so that the texts give the answer away.
The paper reports no such control. Each solver here scores options; equal scores share the credit, and no solver sees
an option's position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from negscale.questions.options import Claim, Kind
from negscale.questions.table import Questions

TYPE_RANK: dict[Kind, int] = {"affirm_two": 3, "hybrid": 2, "deny": 1, "affirm_one": 0, "other": 0}


def type_prior(questions: Questions, claims: Sequence[Claim]) -> np.ndarray:
    """float[n, k]: each option alone, by a fixed ranking of types. claims: one per `questions.texts`."""
    return questions.spread(np.array([TYPE_RANK[claim.kind] for claim in claims]))


def joint_rule(questions: Questions, claims: Sequence[Claim]) -> np.ndarray:
    """float[n, k]: 1 for the options that the whole set of texts gives away, 0 for others.

    Where an option affirms two objects, it is right. Else let N be the object of the one-object affirmation: right is
    the negation that names N, else the hybrid that denies N. Where nothing fits, all options tie.
    """
    scores = np.zeros(questions.valid.shape)
    for at, size in enumerate(questions.sizes):
        found = [claims[code] for code in questions.codes[at, :size]]
        scores[at, :size] = _giveaway(found)
    return scores


def _giveaway(claims: Sequence[Claim]) -> list[bool]:
    chosen = [claim.kind == "affirm_two" for claim in claims]
    if any(chosen):
        return chosen
    absent = {claim.affirmed[0] for claim in claims if claim.kind == "affirm_one"}
    for kind in ("deny", "hybrid"):
        chosen = [claim.kind == kind and not absent.isdisjoint(claim.denied) for claim in claims]
        if any(chosen):
            return chosen
    return chosen


def length_rules(questions: Questions) -> dict[str, np.ndarray]:
    """Scores of the rules "shortest", "longest" and "second longest" by characters: float[n, k] each.

    Options as long as the second place of the sorted lengths tie for it; of two options it is the shorter one.
    """
    lengths = questions.spread(np.array([len(text) for text in questions.texts]), np.nan)
    second = np.sort(np.where(questions.valid, lengths, -1), axis=1)[:, -2]
    return {
        "shortest": -lengths,
        "longest": lengths,
        "second longest": (lengths == second[:, None]).astype(float),
    }
