"""The two texts of a radiograph's question (NegBench, arXiv 2501.09425, section 3): control or negation."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from negscale.core.rng import rng_for
from negscale.core.schema import FINDING_QUESTION, TWO_OPTIONS
from negscale.core.stage import Outcome, Reject, Resources, Row, Stage

SHOWS = "This image shows {finding}."
SHOWS_NOT = "This image does not show {finding}."


class WriteTwoOptions(Stage):
    """Two texts, one right, in a drawn order (the released files have the right one first in every row).

    Reason: ``beyond_balance``, for questions that would make one of their texts right more often than wrong.
    """

    name = "write_two_options"
    version = 1
    reads = pa.schema([
        FINDING_QUESTION.field(name)
        for name in ("question_type", "finding", "other_finding", "finding_present", "within_balance")
    ])  # fmt: skip
    writes = TWO_OPTIONS

    def __init__(self, seed: int, resources: Resources) -> None:
        self._seed = seed
        self.resources = resources

    def identity(self) -> dict[str, str]:
        return {"shows": SHOWS, "shows_not": SHOWS_NOT}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._write(row) for row in rows]

    def _write(self, row: Row) -> Outcome:
        if not row["within_balance"]:
            return Reject("beyond_balance")
        shows = SHOWS.format(finding=row["finding"])
        if row["question_type"] == "control":
            right, wrong = shows, SHOWS.format(finding=row["other_finding"])
        else:
            shows_not = SHOWS_NOT.format(finding=row["finding"])
            right, wrong = (shows, shows_not) if row["finding_present"] else (shows_not, shows)
        answer = int(rng_for(self._seed, row["id"], self.name).integers(2))
        return {"options": [wrong, right] if answer else [right, wrong], "answer": answer}
