from __future__ import annotations

from typing import Any

import pytest

from negscale.core.stage import Outcome, Reject, Resources
from negscale.stages.vqa import LabelNegation, SelectNoAnswer, SkipInvisible


def row(noes: int, votes: int = 10, choice: str = "no", word: str = "no") -> dict[str, Any]:
    return {"id": "1", "answers": [word] * noes + ["yes"] * (votes - noes), "multiple_choice_answer": choice}


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (row(8), {"no_votes": 8, "votes": 10}),
        (row(10, word="No."), {"no_votes": 10, "votes": 10}),
        (row(7), Reject("too_few_no", {"no_votes": 7, "votes": 10})),
        (row(9, word="none"), Reject("too_few_no", {"no_votes": 0, "votes": 10})),
        (row(7, votes=7), Reject("too_few_no", {"no_votes": 7, "votes": 7})),
        (row(8, choice="yes"), Reject("answer_not_no", {"no_votes": 8, "votes": 10})),
        (row(8, choice="nope"), Reject("answer_not_no", {"no_votes": 8, "votes": 10})),
    ],
)
def test_clear_noes_only(given: dict[str, Any], outcome: Outcome) -> None:
    assert SelectNoAnswer(8, Resources()).process([given]) == [outcome]
    assert SelectNoAnswer(8, Resources()).identity() != SelectNoAnswer(7, Resources()).identity()


def test_invisible_questions_are_refused_with_their_reason() -> None:
    rows = [{"id": "1", "question": "Is the cake tasty?"}, {"id": "2", "question": "Is the cake round?"}]
    assert SkipInvisible(Resources()).process(rows) == [Reject("opinion"), {}]


def test_kinds() -> None:
    asked = ["Is there a dog?", "Is the dog wet?", "Is the dog running?", "Are all the dogs running?"]
    found = LabelNegation(Resources()).process([{"id": str(k), "question": text} for k, text in enumerate(asked)])
    assert found == [{"negation_kind": kind} for kind in ("object", "attribute", "action", "action")]
