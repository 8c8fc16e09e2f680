"""Statements about a row's image, true and false in the same words: what no text alone can tell apart.

For each form (an object affirmed; one denied; one affirmed and one denied) a true sentence and its false twin, in which the
object that is there and the one that is not have changed places. The twin of the third is false in both halves, so that it
can be told by the affirmed one alone; a further false sentence, `beside`, affirms an object that is there and denies another
that is there too. A sentence's words are those of its twin, a denial differs from an affirmation by its cue alone
(`negscale.language.mirrored`), and objects and wording are drawn anew each epoch; `beside` has no true twin, so that the third
form is false more often than true. What differs: NegBench's questions (arXiv 2501.09425, section 3.3) are written once, can
be answered from the options alone (see `negscale.questions.blind`), and deny with verbs that never affirm.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from negscale.language.mirrored import mirrored
from negscale.language.nouns import mentions
from negscale.language.statements import MEDIA
from negscale.training.hard_negatives import present_objects

FORMS = ("affirmed", "denied", "both")
STREAM = "statement"  # of random numbers: one for all sentences of a row, so that twins share their draws
TRUE = tuple(f"true_{form}" for form in FORMS)
FALSE = (*(f"false_{form}" for form in FORMS), "false_beside")
_STILL = tuple(name for name in MEDIA if name != "video")


def statement(form: str, true: bool, row: Mapping[str, Any], rng: np.random.Generator) -> str | None:
    """A sentence of one form; None where no object is known to be there or none to be absent, or no second one for `beside`.

    rng: at the same state for all sentences of a row.
    """
    present = present_objects(row)
    named = [row["absent_object"]] if row.get("absent_object") else []
    absent = [name for name in row.get("negative_objects") or named if not any(mentions(p, name) for p in present)]
    draws = rng.random(3)
    if not present or not absent:
        return None
    here, gone = present[int(draws[0] * len(present))], absent[int(draws[1] * len(absent))]
    others = [name for name in present if not mentions(name, here) and not mentions(here, name)]
    if form == "beside":
        if not others:
            return None
        gone = others[int(draws[1] * len(others))]
    elif not true:
        here, gone = gone, here
    affirmed = here if form != "denied" else None
    denied = gone if form != "affirmed" else None
    return mirrored(affirmed, denied, rng, _STILL[int(draws[2] * len(_STILL))])


MAKERS = {name: partial(statement, name.split("_")[1], name in TRUE) for name in (*TRUE, *FALSE)}
