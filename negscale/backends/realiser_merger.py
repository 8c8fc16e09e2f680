"""A merger without a model: the grammar of `negscale.language.merge`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from negscale.core.backend import MergeRequest
from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.core.stage import Fault, Reject
from negscale.language.merge import CannotMerge, merge_no


class RealiserMergerConfig(Config):
    """Turns a yes/no question into a negation inside the caption by grammar; several forms and positions."""

    kind: Literal["realiser_merger"] = "realiser_merger"
    forms: tuple[Literal["no", "not", "without", "none", "lexical"], ...] = ()
    """Negation forms to choose from; empty: all. `none` and `lexical` exist for bare objects only."""

    def build(self) -> RealiserMerger:
        return RealiserMerger(self)


class RealiserMerger:
    """`Merger`; deterministic given the request's seed. A question outside of the grammar is a Reject, nothing broke."""

    exact = True
    id = "negscale/realiser_merger@1"

    def __init__(self, config: RealiserMergerConfig | None = None) -> None:
        self._config = config or RealiserMergerConfig()

    def load(self) -> None: ...

    def close(self) -> None: ...

    def merge(self, requests: Sequence[MergeRequest]) -> list[str | Reject | Fault]:
        forms = self._config.forms or None
        answers: list[str | Reject | Fault] = []
        for request in requests:
            try:
                rng = rng_for(request.seed, "merge")
                answers.append(merge_no(request.question, request.caption, rng, forms=forms).text)
            except CannotMerge as error:
                answers.append(Reject(error.kind))
        return answers
