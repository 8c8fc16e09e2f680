"""Captions to be found again by: NegBench's retrieval sets (arXiv 2501.09425, section 2.2), one caption a picture or clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from negscale.core.backend import Negater, NegationRequest, Order
from negscale.core.rng import rng_for
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.language.check import CheckOptions, check_negated_caption
from negscale.prompts import negbench as prompts
from negscale.stages.asking import ask_again

RETRIEVAL = pa.schema([("captions", pa.list_(pa.string())), ("caption_order", pa.string())])


class WriteRetrievalCaption(Stage):
    """The caption with the absence in it, checked; the caption as it is where the row has no absent object.

    A caption that does not say what it should is asked for again with another seed; one that never does is a rejection.
    """

    name = "write_retrieval_caption"
    version = 1
    reads = pa.schema([("caption", pa.string()), ("absent_object", pa.string())])
    writes = RETRIEVAL

    def __init__(
        self, negater: Callable[[], Negater], options: CheckOptions, seed: int, max_attempts: int, resources: Resources
    ) -> None:
        self._build, self._options, self._seed, self._attempts = negater, options, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        texts = prompts.texts()
        return {"options": asdict(self._options), **{name: texts[name] for name in ("negcap", "retrieval", "rephrase")}}

    def setup(self) -> None:
        self.negater = self._build()
        self.negater.load()

    def close(self) -> None:
        self.negater.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        negated = [i for i, row in enumerate(rows) if row["absent_object"]]

        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            asked = [negated[k] for k in open_]
            answers = self.negater.negate([self._request(rows[i], attempt) for i in asked])
            return [self._checked(rows[i], answer) for i, answer in zip(asked, answers, strict=True)]

        written = dict(zip(negated, ask_again(len(negated), self._attempts, ask), strict=True))
        return [
            _refused(written[i]) if i in written else {"captions": [row["caption"]], "caption_order": None}
            for i, row in enumerate(rows)
        ]

    def _request(self, row: Row, attempt: int) -> NegationRequest:
        seed = row_seed(self._seed, row, self.name, attempt)
        return NegationRequest(row["caption"], row["absent_object"], seed, self._order(row))

    def _order(self, row: Row) -> Order:
        return "affirmation_first" if rng_for(self._seed, row["id"], "order").random() < 0.5 else "negation_first"

    def _checked(self, row: Row, answer: str | Fault) -> Outcome:
        if isinstance(answer, Fault):
            return answer
        found = check_negated_caption(row["caption"], answer, row["absent_object"], [], options=self._options)
        if not found.accepted:
            return Fault(f"{_PREFIX}{found.reason}", f"{found.detail}: {answer[:300]!r}", retryable=True)
        return {"captions": [answer], "caption_order": self._order(row)}


_PREFIX = "check:"


def _refused(outcome: Outcome) -> Outcome:
    """What the check refused at every attempt is the data's fault, not the model's."""
    if isinstance(outcome, Fault) and outcome.kind.startswith(_PREFIX):
        return Reject(outcome.kind.removeprefix(_PREFIX))
    return outcome
