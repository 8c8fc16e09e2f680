"""A negater without a model: the grammatical realiser of `negscale.language`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from negscale.core.backend import NegationRequest
from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.core.stage import Fault
from negscale.language.realise import realise

_DRAWS = 8  # until the order asked for comes up


class RealiserConfig(Config):
    """Writes the negated caption by grammar: articles, plurals, attachment; several forms and positions."""

    kind: Literal["realiser"] = "realiser"
    forms: tuple[str, ...] = ()
    """Negation forms to choose from (no, not, without, lexical); empty: all."""

    def build(self) -> RealiserNegater:
        return RealiserNegater(self)


class RealiserNegater:
    """`Negater`; deterministic given the request's seed."""

    exact = True
    id = "negscale/realiser@1"

    def __init__(self, config: RealiserConfig) -> None:
        self._config = config

    def load(self) -> None: ...

    def close(self) -> None: ...

    def negate(self, requests: Sequence[NegationRequest]) -> list[str | Fault]:
        forms = self._config.forms or None
        answers: list[str | Fault] = []
        for request in requests:
            rng = rng_for(request.seed, "realise")
            try:
                answers.append(_ordered(request, rng, forms))
            except ValueError as error:  # the documented refusal: nothing in the caption to attach to
                answers.append(Fault("not_realisable", str(error)))
        return answers


def _ordered(request: NegationRequest, rng: np.random.Generator, forms: Sequence[str] | None) -> str:
    """The first draw whose negation stands where the request wants it; the last of a few where none does."""
    text = ""
    for _ in range(_DRAWS):
        written = realise(request.caption, request.absent_object, rng, forms=forms)
        text = written.text
        if request.order == "any" or (request.order == "negation_first") == (written.position == "early"):
            break
    return text
