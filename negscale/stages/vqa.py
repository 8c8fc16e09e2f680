"""Which questions a caption can deny: answered "no" by nearly all, about what is to be seen (NegationCLIP, section 3.1).

The paper takes VQA triplets whose answer is "no"; how it filters them is not published. The thresholds are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.schema import NEGATION_KIND, NO_VOTES
from negscale.core.stage import Outcome, Reject, Resources, Row, Stage
from negscale.language.questions import kind_of
from negscale.language.visibility import invisible_reason
from negscale.language.votes import is_no


class SelectNoAnswer(Stage):
    """Keep questions whose commonest answer is "no" and that at least `min_no` annotators answer so."""

    name = "select_no_answer"
    version = 1
    reads = pa.schema([("answers", pa.list_(pa.string())), ("multiple_choice_answer", pa.string())])
    writes = NO_VOTES

    def __init__(self, min_no: int, resources: Resources) -> None:
        self._min_no = min_no
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"min_no": self._min_no}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._select(row) for row in rows]

    def _select(self, row: Row) -> Outcome:
        noes = sum(is_no(answer) for answer in row["answers"])
        counted = {"no_votes": noes, "votes": len(row["answers"])}
        if not is_no(row["multiple_choice_answer"]):
            return Reject("answer_not_no", keep=counted)
        return counted if noes >= self._min_no else Reject("too_few_no", keep=counted)


class SkipInvisible(Stage):
    """Refuse questions that no picture answers; see `negscale.language.visibility` for the reasons."""

    name = "skip_invisible"
    version = 1
    reads = pa.schema([("question", pa.string())])
    writes = pa.schema([])

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        reasons = [invisible_reason(row["question"]) for row in rows]
        return [Reject(reason) if reason else {} for reason in reasons]


class LabelNegation(Stage):
    """Name what the caption is going to deny: the existence of an object, an attribute or an action."""

    name = "label_negation"
    version = 1
    reads = pa.schema([("question", pa.string())])
    writes = NEGATION_KIND

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [{"negation_kind": kind_of(row["question"])} for row in rows]
