"""The referring stages on hand-made annotations: each reason, the drawn order, the patches, what annotations can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from negscale.core.boxes import Box
from negscale.core.schema import ENVELOPE, extend
from negscale.core.stage import Fault, Outcome, Reject, Resources, apply_stage
from negscale.datasets.captions import image_ref
from negscale.datasets.expressions import TABLE, instance
from negscale.stages.referring import (
    CandidateRules,
    CheckDenial,
    ChooseCandidates,
    DenialRules,
    SelectNegatedExpression,
)

RULES = CandidateRules(min_side_px=10, min_area_px=400, max_iou=0.0, expansion=3.0, keep_apart=True, max_negatives=1)
DENIAL = DenialRules(margin=0.25, min_share=0.1, vocabulary=("dog", "sports ball", "person"))
LEFT, RIGHT = (50, 50, 40, 40), (200, 50, 40, 40)


def row(expression: str, *instances: tuple[str, str, Box], crowd: str = "", row_id: str = "r", width: int | None = 400):
    return {
        "id": row_id, "image": image_ref("a.jpg", width_px=width, height_px=200), "expression": expression, "referred_id": "1",
        "instances": [instance(i, category, box, crowd=i == crowd) for i, category, box in instances],
    }  # fmt: skip


def choose(given: Any, **rules: Any) -> Outcome:
    return ChooseCandidates(replace(RULES, **rules), 0, Resources()).process([given])[0]


def check(given: Any, others: Sequence[str] = ("2",)) -> Outcome:
    return CheckDenial(DENIAL, Resources()).process([{**given, "candidate_ids": ["1", *others]}])[0]


def test_selection_keeps_the_negation_and_says_why_not() -> None:
    stage = SelectNegatedExpression(Resources())
    kept, plain, number = stage.process([
        {"expression": "the dog with no ball"}, {"expression": "the dog"}, {"expression": "batter no . 10"},
    ])  # fmt: skip
    assert kept == {
        "negation_cue": "no", "negation_form": "no", "negation_position": "middle", "denied": "ball",
    }  # fmt: skip
    assert (plain, number) == (Reject("no_negation"), Reject("look_alike"))


def test_every_reason_to_refuse_the_candidates() -> None:
    one, two = ("1", "dog", LEFT), ("2", "dog", RIGHT)
    assert choose(row("", one, two), min_area_px=2000) == Reject("too_small")
    assert choose(row("", one, two), min_side_px=41) == Reject("too_small")
    assert choose(row("", one, two, crowd="1")) == Reject("crowd")
    assert choose(row("", one)) == Reject("no_negative")
    assert choose(row("", one, ("2", "cat", RIGHT))) == Reject("no_negative")
    assert choose(row("", one, two, crowd="2")) == Reject("no_negative")
    assert choose(row("", one, ("2", "dog", (200, 50, 9, 90)))) == Reject("negatives_too_small")
    assert choose(row("", one, ("2", "dog", (60, 50, 40, 40)))) == Reject("overlap")
    assert isinstance(choose(row("", one, ("2", "dog", (60, 50, 40, 40))), max_iou=0.7), dict)
    assert isinstance(choose(row("", one, two, width=None)), Fault)
    assert isinstance(choose(row("", two)), Fault)


def test_the_target_is_found_again_and_stands_anywhere() -> None:
    places: Counter[int] = Counter()
    for number in range(300):
        given = row("", ("1", "dog", LEFT), ("2", "dog", RIGHT), ("3", "dog", (320, 50, 40, 40)), row_id=f"r{number}")
        chosen = choose(given, max_negatives=2)
        assert isinstance(chosen, dict)
        assert chosen == choose(given, max_negatives=2)
        assert sorted(chosen["candidate_ids"]) == ["1", "2", "3"]
        assert chosen["candidate_ids"][chosen["target"]] == "1"
        assert chosen["boxes_xywh_px"][chosen["target"]] == (10, 10, 120, 120)
        places[chosen["target"]] += 1
    assert min(places[place] for place in range(3)) > 70


def test_patches_stop_at_the_other_candidate() -> None:
    near = row("", ("1", "dog", LEFT), ("2", "dog", (110, 50, 40, 40)))
    for keep_apart, width in ((True, 100), (False, 120)):
        chosen = choose(near, keep_apart=keep_apart)
        assert isinstance(chosen, dict)
        assert chosen["boxes_xywh_px"][chosen["target"]] == (10, 10, width, 120)


def test_a_denial_that_annotations_contradict_is_refused() -> None:
    dogs = ("1", "dog", LEFT), ("2", "dog", RIGHT)
    beside_target, beside_other = ("3", "sports ball", (92, 60, 20, 20)), ("3", "sports ball", (242, 60, 20, 20))
    said = "the dog with no ball next to it"
    assert check(row(said, *dogs, beside_target)) == Reject("contradicts_annotations", keep={"denial_checked": True})
    assert check(row(said, *dogs, beside_other)) == {"denial_checked": True, "all_negatives_fail": True}
    assert check(row(said, *dogs)) == {"denial_checked": True, "all_negatives_fail": None}
    assert check(row("the dog with no bone", *dogs, beside_target)) == {
        "denial_checked": False, "all_negatives_fail": None,
    }  # fmt: skip
    assert check(row("the dog with no red ball", *dogs, beside_target))["denial_checked"] is False  # type: ignore[index]


def test_the_referent_never_contradicts_itself() -> None:
    dogs = ("1", "dog", LEFT), ("2", "dog", RIGHT)
    assert check(row("the dog with no other dogs beside it", *dogs))["denial_checked"] is True  # type: ignore[index]
    beside = row("the dog with no other dogs beside it", ("1", "dog", LEFT), ("2", "dog", (92, 50, 40, 40)))
    assert isinstance(check(beside), Reject)
    hidden = row("the dog whose dog is not visible", ("1", "dog", LEFT), ("2", "dog", (92, 50, 40, 40)))
    assert check(hidden)["denial_checked"] is False  # type: ignore[index]


def test_denied_sides_follow_the_order_of_the_boxes() -> None:
    dogs = ("1", "dog", LEFT), ("2", "dog", RIGHT)
    assert isinstance(check(row("the dog that is not on the left", *dogs)), Reject)
    fine = {"denial_checked": True, "all_negatives_fail": True}
    assert check(row("the dog that is not on the right", *dogs)) == fine
    three = row("the dog that is not on the right", *dogs, ("3", "dog", (100, 50, 40, 40)))
    assert check(three, ("3",)) == {"denial_checked": True, "all_negatives_fail": None}


def test_the_stages_fit_the_source_and_each_other() -> None:
    given = {
        **row("the dog with no ball", ("1", "dog", LEFT), ("2", "dog", RIGHT)), "rejection": None, "quarantine": None,
        "image_id": "i", "expression_id": "e",
    }  # fmt: skip
    table = pa.Table.from_pylist([given], schema=TABLE)
    schema = TABLE
    for stage in (
        SelectNegatedExpression(Resources()), ChooseCandidates(RULES, 0, Resources()), CheckDenial(DENIAL, Resources()),
    ):  # fmt: skip
        table, schema = apply_stage(stage, table), extend(schema, stage.writes)
    assert table.schema.equals(schema)
    assert schema.names[: len(ENVELOPE)] == ENVELOPE.names
    assert table["quarantine"].to_pylist() == table["rejection"].to_pylist() == [None]
