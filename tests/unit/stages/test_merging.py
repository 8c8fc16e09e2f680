from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from negscale.backends.realiser_merger import RealiserMerger
from negscale.core.backend import MergeRequest
from negscale.core.stage import Fault, Reject, Resources
from negscale.language.merge_check import MergeCheckOptions
from negscale.stages.merging import CaptionChoice, CaptionFromNo, CheckMergedCaption

CAPTIONS = ["A park", "A dog sits next to a tree in a quiet park", "A brown dog on grass"]


def row(question: str = "Is the dog black?", number: int = 0) -> dict[str, Any]:
    return {
        "id": str(number), "question": question, "negation_kind": "attribute", "image_captions": CAPTIONS,
        "image_caption_ids": ["7", "8", "9"],
    }  # fmt: skip


class Noting(RealiserMerger):
    """Answers nothing usable to the first `bad` calls, and notes the requests."""

    def __init__(self, bad: int = 0) -> None:
        super().__init__()
        self.bad, self.calls = bad, list[list[MergeRequest]]()

    def merge(self, requests: Sequence[MergeRequest]) -> list[str | Reject | Fault]:
        self.calls.append(list(requests))
        if len(self.calls) <= self.bad:
            return [Fault("unparsable", "?", retryable=True)] * len(requests)
        return super().merge(requests)


def stage(merger: RealiserMerger, choice: CaptionChoice = "random", seed: int = 0) -> CaptionFromNo:
    made = CaptionFromNo(lambda: merger, choice, seed, 3, Resources())
    made.setup()
    return made


def chosen(choice: CaptionChoice, count: int = 60) -> list[str]:
    outcomes = stage(Noting(), choice).process([row(number=n) for n in range(count)])
    return [o["caption_id"] for o in outcomes if not isinstance(o, (Reject, Fault))]


def test_which_caption() -> None:
    assert set(chosen("first")) == {"7"}
    assert set(chosen("longest")) == {"8"}
    assert set(chosen("related")) == {"8"}
    drawn = chosen("random")
    assert set(drawn) == {"7", "8", "9"}
    assert drawn == chosen("random")
    assert drawn[:5] == chosen("random", 5)


def test_unparsable_answers_are_asked_again_with_another_seed_and_the_same_caption() -> None:
    merger = Noting(bad=2)
    outcomes = stage(merger).process([row()])
    assert isinstance(outcomes[0], dict)
    assert outcomes[0]["negated_caption"]
    assert len({calls[0].seed for calls in merger.calls}) == 3
    assert len({calls[0].caption for calls in merger.calls}) == 1
    given_up = stage(Noting(bad=3)).process([row()])
    assert isinstance(given_up[0], Fault)


def test_a_refusal_is_final_and_keeps_the_caption() -> None:
    merger = Noting()
    refused = stage(merger, "first").process([row("Are all the dogs black?")])[0]
    assert refused == Reject("question_quantified", {"caption": "A park", "caption_id": "7"})
    assert len(merger.calls) == 1


def test_choice_and_prompts_bear_identity() -> None:
    assert stage(Noting(), "first").identity() != stage(Noting(), "longest").identity()
    assert "merge" in stage(Noting()).identity()


def test_check_adds_form_and_position_or_rejects() -> None:
    check = CheckMergedCaption(MergeCheckOptions(), Resources())
    good = row() | {"caption": CAPTIONS[1], "negated_caption": f"{CAPTIONS[1]}, and the dog is not black"}
    bad = good | {"negated_caption": CAPTIONS[1]}
    assert check.process([good, bad]) == [
        {"negation_form": "not", "negation_position": "late"},
        Reject("no_negation"),
    ]
