"""Selection and instructions with real backends and with scores as a model may give them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from negscale.backends.annotation_judge import AnnotationJudgeConfig
from negscale.backends.object_lists import CaptionNounsConfig
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.backend import Picture, Verdict
from negscale.core.stage import Fault, Reject, Resources
from negscale.datasets.captioned_images import CaptionedImages
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import scene
from negscale.datasets.toyworld import ToyworldConfig
from negscale.language.nouns import COCO_80, mentions
from negscale.stages.edit_plans import AffirmAnotherObject, RankAbsentObjects, Selection, WriteInstructions

CPU = Resources()
READER = ToyworldConfig().reader()


class Scores:
    """A judge with a score for each name; the others get `rest`."""

    exact, needs_pixels, id = True, False, "scores"

    def __init__(self, scores: Mapping[str, float | Fault], rest: float | Fault = 0.9) -> None:
        self.scores, self.rest = scores, rest
        self.asked: list[str] = []

    def load(self) -> None: ...

    def close(self) -> None: ...

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        self.asked += claims
        found = [self.scores.get(claim, self.rest) for claim in claims]
        return [f if isinstance(f, Fault) else Verdict(None, f, "") for f in found]


def rank(scorer: Any, selection: Selection, annotations: Any = None, seed: int = 0) -> RankAbsentObjects:
    stage = RankAbsentObjects(lambda: scorer, annotations, READER, selection, seed, CPU)
    stage.setup()
    return stage


def row(captions: Sequence[str] = ("a dog in the park", "two dogs near a bench"), **columns: Any) -> dict[str, Any]:
    return {
        "id": "r", "image": None, "image_id": "000000000139", "image_captions": list(captions), "first_caption_id": "7",
        **columns,
    }  # fmt: skip


def plans(outcome: Any) -> list[dict[str, Any]]:
    assert isinstance(outcome, dict), outcome
    return outcome["edit_plans"]


def test_drawn_scenes_get_objects_that_they_lack() -> None:
    source = CaptionedImages(ToyworldConfig(images=60, captions_per_image=1).build())
    rows = source.read(source.list().shards[0], None).to_pylist()
    stage = rank(TinyJudgeConfig().build(), Selection(OBJECTS))
    outcomes = stage.process(rows)
    for given, outcome in zip(rows, outcomes, strict=True):
        there = scene(0, int(given["image_id"].split("-")[1])).names
        chosen = [plan["absent_object"] for plan in plans(outcome)]
        assert len(set(chosen)) == 5
        assert not there & {*chosen, *(plan["kept_absent_object"] for plan in plans(outcome))}
    assert stage.process(list(reversed(rows)))[::-1] == outcomes  # a row's draws are its own
    assert len({tuple(p["absent_object"] for p in plans(o)) for o in outcomes}) > 50
    assert rank(TinyJudgeConfig().build(), Selection(OBJECTS), seed=1).process(rows) != outcomes


def test_the_lowest_scores_below_the_limit_win_and_captions_take_turns() -> None:
    scores = {"cat": 0.1, "car": 0.39, "kite": 0.2, "vase": 0.4}
    selection = Selection(("dog", "cat", "car", "kite", "vase", "bed"), drawn=6, edits=5)
    (outcome,) = rank(Scores(scores), selection).process([row()])
    found = [(p["absent_object"], p["selection_score"], p["caption"], p["caption_id"]) for p in plans(outcome)]
    assert found == [
        ("cat", 0.1, "a dog in the park", "7"), ("kite", 0.2, "two dogs near a bench", None),
        ("car", 0.39, "a dog in the park", "7"),
    ]  # fmt: skip
    assert [p["kept_absent_object"] for p in plans(outcome)] == ["kite", "car", "cat"]
    (outcome,) = rank(Scores(scores), Selection(selection.vocabulary, drawn=6, edits=2)).process([row()])
    assert len(plans(outcome)) == 2


def test_no_name_that_a_caption_mentions_is_scored() -> None:
    scorer = Scores({}, 0.1)
    captions = ("A skier goes down a slope", "a man with his puppies on a sofa")
    rank(scorer, Selection(COCO_80, drawn=80)).process([row(captions)])
    assert not {"person", "skis", "dog", "couch"} & set(scorer.asked)
    assert all(not mentions(text, name) for text in captions for name in scorer.asked)
    assert len(scorer.asked) > 60


def test_fifteen_names_are_drawn_from_all() -> None:
    seen: dict[str, int] = {}
    stage = rank(Scores({}, 0.1), Selection(COCO_80))
    for n in range(300):
        scorer = stage.scorer = Scores({}, 0.1)
        stage.process([row(("a nice day",), id=f"r{n}")])
        assert len(scorer.asked) == len(set(scorer.asked)) == 15
        for name in scorer.asked:
            seen[name] = seen.get(name, 0) + 1
    assert set(seen) == set(COCO_80)
    assert max(seen.values()) < 2.2 * 300 * 15 / 80


def test_annotated_objects_are_never_chosen_and_unknown_ones_are_left_to_the_scorer(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({
        "images": [{"id": 139}], "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "car"}],
        "annotations": [{"image_id": 139, "category_id": 1}],
    }))  # fmt: skip
    build = AnnotationJudgeConfig(annotations=str(path)).build
    selection = Selection(("cat", "car", "hourglass"))
    (outcome,) = rank(Scores({}, 0.0), selection, build).process([row()])
    assert {p["absent_object"] for p in plans(outcome)} == {"car", "hourglass"}
    (outcome,) = rank(Scores({}, 0.0), selection, build).process([row(image_id="000000000999")])  # no entry
    assert len(plans(outcome)) == 3


def test_rows_without_absence_are_refused_and_a_broken_scorer_is_a_fault() -> None:
    selection = Selection(("cat", "car"))
    assert rank(Scores({}), selection).process([row()]) == [Reject("no_absent_object")]
    assert rank(Scores({}, 0.1), selection).process([row(["a cat in a car"])]) == [Reject("no_absent_object")]
    assert rank(Scores({}, 0.1), selection).process([row([])]) == [Reject("no_caption")]
    broken = Fault("not_a_number", "NaN")
    assert rank(Scores({}, broken), selection).process([row()]) == [broken]
    (outcome,) = rank(Scores({"cat": 0.1}, broken), selection).process([row()])
    assert [p["absent_object"] for p in plans(outcome)] == ["cat"]
    assert plans(outcome)[0]["kept_absent_object"] is None


def test_what_is_kept_is_not_implied_by_what_is_added() -> None:
    (outcome,) = rank(Scores({}, 0.1), Selection(("dog", "puppy", "bed"), edits=3)).process([row(["a nice day"])])
    kept = {p["absent_object"]: p["kept_absent_object"] for p in plans(outcome)}
    assert kept["puppy"] == kept["dog"] == "bed"


def test_the_split_is_by_image_and_the_same_in_every_run() -> None:
    rows = [row(["a nice day"], id=f"r{n}", image_id=f"{n % 500:012d}") for n in range(1000)]
    by_seed = []
    for seed in (0, 1):
        outcomes = rank(Scores({}, 0.1), Selection(("cat",), eval_share=0.2), seed=seed).process(rows)
        by_seed.append([o["split"] for o in outcomes if isinstance(o, dict)])
    assert by_seed[0] == by_seed[1]
    assert by_seed[0][:500] == by_seed[0][500:]
    assert 70 < by_seed[0][:500].count("eval") < 130


PLAN = {
    "caption": "a dog", "caption_id": None, "absent_object": "scissors", "selection_score": 0.1,
    "kept_absent_object": "hourglass",
}  # fmt: skip


def test_instructions_are_english_or_the_authors() -> None:
    written = [
        WriteInstructions("grammatical", 0, CPU).process([{"id": f"r{n}", "edit_plan": PLAN}])[0] for n in range(200)
    ]
    negatives = {row["negative_instruction"] for row in written if isinstance(row, dict)}
    assert len(negatives) == 13
    assert "There are no scissors in the image." in negatives
    assert {row["add_instruction"] for row in written if isinstance(row, dict)} == {"Add some scissors."}
    for given in written:
        assert isinstance(given, dict)
        denied = given["negative_instruction"].lower().replace("scissors", "_")
        assert "hourglass" in given["keep_instruction"]
        assert "scissors" in given["affirmative_instruction"].lower()
        assert given["affirmative_instruction"].lower().replace("scissors", "_") != denied
    (released,) = WriteInstructions("as_released", 0, CPU).process([{"id": "r0", "edit_plan": PLAN}])
    assert isinstance(released, dict)
    assert released["add_instruction"] == "Add a scissors."
    (alone,) = WriteInstructions("grammatical", 0, CPU).process(
        [{"id": "r", "edit_plan": {**PLAN, "kept_absent_object": None}}]
    )
    assert isinstance(alone, dict)
    assert alone["keep_instruction"] is None


@pytest.mark.parametrize(
    ("caption", "absent", "text"),
    [
        ("A dog on a couch", "cat", "There is a dog but no cat."),
        ("A street without cars", "cat", None),
        ("people skiing", "wine glass", "There is a person but no wine glass."),
    ],
)
def test_two_objects_and_one_denial(caption: str, absent: str, text: str | None) -> None:
    stage = AffirmAnotherObject(CaptionNounsConfig().build, 0, 1, CPU)
    stage.setup()
    (outcome,) = stage.process([{"id": "r", "caption": caption, "image_id": "i", "absent_object": absent}])
    assert isinstance(outcome, dict)
    assert outcome["two_objects_instruction"] == text
