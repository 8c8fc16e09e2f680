"""NegBench's stages with real backends and with answers as a model may give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from negscale.backends.statements import GrammarRephraser
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.backend import Picture, Proposal, ProposalRequest, RephraseRequest, Statement, Verdict
from negscale.core.stage import Fault, Reject, Resources
from negscale.datasets.toyworld import ToyworldConfig
from negscale.stages.negcap import DrawAbsentObjects
from negscale.stages.object_lists import ProposeNegatives, VerifyObjects, distinct, same_thing
from negscale.stages.questions import PlanQuestions, WriteOptions, option_problem, plan_question

CPU = Resources()


class Scripted:
    """Answers in the order given, one list a call; a proposer, judge or rephraser as the test needs."""

    exact, needs_pixels, id = True, False, "scripted"

    def __init__(self, *answers: Sequence[Any]) -> None:
        self.answers, self.asked = list(answers), list[Any]()

    def load(self) -> None: ...

    def close(self) -> None: ...

    def _next(self, requests: Sequence[Any]) -> list[Any]:
        self.asked.append(list(requests))
        return list(self.answers.pop(0))

    def propose(self, requests: Sequence[ProposalRequest]) -> list[Any]:
        return self._next(requests)

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Any]:
        return self._next(claims)

    def rephrase(self, requests: Sequence[RephraseRequest]) -> list[Any]:
        return self._next(requests)


def set_up(stage: Any) -> Any:
    stage.setup()
    return stage


def test_proposals_add_up_and_leave_out_what_is_there_or_mentioned() -> None:
    proposer = Scripted(
        [[Proposal("sofa"), Proposal("cats"), Proposal("lamp")]],
        [[Proposal("lamps"), Proposal("dog"), Proposal("rug"), Proposal("vase")]],
    )
    stage = set_up(ProposeNegatives(lambda: proposer, 3, 0, 3, CPU))
    row = {
        "id": "r", "caption": "a room", "image_captions": ["a room", "a dog in a room"],
        "extracted_objects": ["couch", "cat"],
    }  # fmt: skip
    assert stage.process([row]) == [{"proposed_objects": ["lamp", "rug", "vase"]}]
    assert proposer.asked[0][0].seed != proposer.asked[1][0].seed
    assert proposer.asked[0][0].present == ("couch", "cat")


def test_a_proposer_that_never_parses_is_a_fault_not_a_rejection() -> None:
    fault = Fault("unparsable", "{[", retryable=True)
    stage = set_up(ProposeNegatives(lambda: Scripted([fault], [fault]), 3, 0, 2, CPU))
    row = {"id": "r", "caption": "a room", "image_captions": ["a room"], "extracted_objects": []}
    assert stage.process([row]) == [fault]


def verify(judge: Scripted, row: dict[str, Any], least: int = 1) -> Any:
    stage = set_up(VerifyObjects(lambda: judge, ToyworldConfig().reader(), least, True, 0, 2, CPU))
    return stage.process([{"id": "r", "image": None, "image_id": "i", **row}])[0]


def said(*answers: bool | None) -> list[Verdict]:
    return [Verdict(answer, 0.5, str(answer)) for answer in answers]


def test_objects_on_the_wrong_side_and_untold_ones_leave_their_list() -> None:
    judge = Scripted([*said(True, False, None), *said(False, True, None)], said(True, None))
    row = {"extracted_objects": ["dog", "cat", "cup"], "proposed_objects": ["hat", "tree", "car"]}
    assert verify(judge, row) == {"positive_objects": ["dog", "cup"], "negative_objects": ["hat"]}
    assert judge.asked[1] == ["cup", "car"]  # only what could not be told is asked again


def test_rows_without_absence_or_presence_are_refused_and_broken_verifiers_are_faults() -> None:
    row = {"extracted_objects": ["dog"], "proposed_objects": ["hat"]}
    assert isinstance(refused := verify(Scripted(said(True, True)), row), Reject)
    assert refused.reason == "objects_present"
    assert isinstance(refused := verify(Scripted(said(False, False)), row), Reject)
    assert refused.reason == "positives_not_seen"
    broken = Fault("outside_vocabulary", "hat")
    assert verify(Scripted([*said(True), broken]), row) is broken


def test_verification_by_pixels_agrees_with_the_drawing() -> None:
    from negscale.datasets.toy_scenes import scene

    source = ToyworldConfig(images=40, captions_per_image=1).build()
    rows = source.read(source.list().shards[0], None).to_pylist()
    stage = set_up(VerifyObjects(TinyJudgeConfig().build, ToyworldConfig().reader(), 0, True, 0, 1, CPU))
    asked = [{**row, "extracted_objects": ["dog", "car"], "proposed_objects": ["cat", "tree", "hat"]} for row in rows]
    for row, outcome in zip(rows, stage.process(asked), strict=True):
        names = scene(0, int(row["image_id"].split("-")[1])).names
        found = outcome.keep if isinstance(outcome, Reject) else outcome
        assert set(found["positive_objects"]) == {"dog", "car"} & names
        assert set(found["negative_objects"]) == {"cat", "tree", "hat"} - names


def test_drawn_absences_are_distinct_and_follow_the_row() -> None:
    stage = DrawAbsentObjects(3, 0, CPU)
    rows = [{"id": f"r{i}", "negative_objects": ["a", "b", "c", "d", "e"]} for i in range(50)]
    drawn = [tuple(outcome["absent_objects"]) for outcome in stage.process(rows)]  # type: ignore[index]
    assert all(len(set(names)) == 3 for names in drawn)
    assert len(set(drawn)) > 20
    assert stage.process(list(reversed(rows)))[0] == {"absent_objects": list(drawn[-1])}
    assert stage.process([{"id": "x", "negative_objects": ["a"]}]) == [{"absent_objects": ["a"]}]


def test_exactly_the_answer_is_true_and_types_and_slots_are_even() -> None:
    present, absent = ["dog", "bench", "tree"], "car"
    types: dict[str, int] = {}
    slots = [0, 0, 0, 0]
    for number in range(1200):
        plan = plan_question(present, absent, np.random.default_rng(number))
        truth = [set(s["affirmed"]) <= set(present) and absent not in s["affirmed"] and set(s["denied"]) <= {absent}
                 for s in plan["statements"]]  # fmt: skip
        assert truth == [k == plan["answer"] for k in range(4)]
        types[plan["question_type"]] = types.get(plan["question_type"], 0) + 1
        slots[plan["answer"]] += 1
    assert set(types) == {"positive", "negative", "hybrid"}
    assert all(330 < n < 470 for n in types.values())
    assert all(230 < n < 370 for n in slots)


def test_one_positive_asks_no_pair_and_none_is_refused() -> None:
    types = {plan_question(["dog"], "car", np.random.default_rng(n))["question_type"] for n in range(60)}
    assert types == {"modified_positive", "negative", "hybrid"}
    stage = PlanQuestions(3, 0, CPU)
    assert stage.process([{"id": "r", "positive_objects": [], "negative_objects": ["car"]}]) == [Reject("no_positive")]
    with pytest.raises(ValueError, match="needs an object"):
        plan_question([], "car", np.random.default_rng(0))


ROW = {"id": "r", "positive_objects": ["dog", "bench"], "negative_objects": ["car", "kite"]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A dog is here, though there is no car.", None),
        ("There is a bench.", "object_lost"),
        ("A dog is here.", "object_lost"),
        ("A dog and a car are here.", "polarity_changed"),
        ("No dog is here, but a car is.", "polarity_changed"),
        ("A dog on a bench, but no car.", "object_added"),
        ("A dog is here, with no car and no kite.", "object_added"),
        ("I'm sorry, I cannot say that.", "not_a_sentence"),
        ("a dog that is " + " ".join(f"x{n}" for n in range(60)) + " but no car", "too_long"),
    ],
)
def test_a_paraphrase_must_say_the_same(text: str, problem: str | None) -> None:
    statement = Statement(("dog",), ("car",))
    others = [*ROW["positive_objects"], *ROW["negative_objects"]]
    assert option_problem(text, statement, others, 40) == problem


def options_stage(rephraser: Any) -> WriteOptions:
    return set_up(WriteOptions((lambda: rephraser) if rephraser else None, "image", 0, 2, 40, CPU))


def plan(seed: int) -> dict[str, Any]:
    return {**ROW, "question_plan": plan_question(["dog", "bench"], "car", np.random.default_rng(seed))}


def test_templates_and_grammar_give_four_different_options() -> None:
    for rephraser in (None, GrammarRephraser()):
        for seed in range(30):
            (outcome,) = options_stage(rephraser).process([plan(seed)])
            assert len(set(outcome["options"])) == 4  # type: ignore[index]
            assert outcome["answer"] == plan(seed)["question_plan"]["answer"]  # type: ignore[index]


def test_a_damaged_paraphrase_is_asked_again_then_refused() -> None:
    row = plan(1)
    good = GrammarRephraser()
    statements = row["question_plan"]["statements"]
    requests = [
        RephraseRequest("", Statement(tuple(s["affirmed"]), tuple(s["denied"])), n) for n, s in enumerate(statements)
    ]
    fine = good.rephrase(requests)
    healed = Scripted([*fine[:3], "A zebra."], [fine[3]])
    assert options_stage(healed).process([row])[0]["options"] == fine  # type: ignore[index]
    assert len(healed.asked[1]) == 1
    assert options_stage(Scripted([*fine[:3], "A zebra."], ["A zebra."])).process([row]) == [Reject("object_lost")]


def test_names_are_compared_as_things() -> None:
    assert distinct(["dog", "dogs", "cup", "Cup"]) == ["dog", "cup"]
    assert same_thing("sofas", "couch")
    assert not same_thing("dog", "cat")
