"""The filter with real judges and with answers as a model may give them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.image_store import ImageStoreConfig
from negscale.backends.nein_judges import ChatCaptionJudgeConfig, ChatObjectJudgeConfig, build_judges
from negscale.backends.tiny.detector import TinyDetectorConfig
from negscale.backends.tiny.matcher import TinyMatcherConfig
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.backend import Image, Picture, Verdict
from negscale.core.schema import EDIT_VERDICT
from negscale.core.stage import Fault, Reject, Resources
from negscale.datasets.images import ImageReader
from negscale.datasets.toy_scenes import draw, paste, scene
from negscale.stages.edit_verdicts import EditRules, JudgeEdit
from negscale.stages.locality import change

WHAT = scene(0, 0)
THERE = sorted(WHAT.names)[0]
PLACE = {"uri": "toyworld:0/0", "offset": None, "length": None, "sha256": None, "height_px": 96, "width_px": 96}


class Scripted:
    """Answers in the order given, one list a call."""

    exact, needs_pixels, id = True, True, "scripted"

    def __init__(self, *answers: Sequence[Any]) -> None:
        self.answers, self.asked, self.seeds = list(answers), list[Any](), list[Any]()

    def load(self) -> None: ...

    def close(self) -> None: ...

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Any]:
        self.asked.append(list(claims))
        self.seeds.append([picture.seed for picture in pictures])
        return list(self.answers.pop(0))


def rows_of(
    folder: Path, *images: Image, box: Sequence[float] | None = None, name: str = "cat"
) -> list[dict[str, Any]]:
    store = ImageStoreConfig().build(str(folder))
    store.load()
    with store.batch() as batch:
        for image in images:
            batch.add(image)
        refs = batch.commit()
    store.close()
    return [
        {
            "id": f"r{n}", "image": PLACE, "image_id": "toy-00000000", "caption": f"A {THERE}.", "absent_object": name,
            "add_instruction": f"Add a {name}.", "image_with_object": made, "edit_box_xyxy_px": box,
        }
        for n, made in enumerate(refs)
    ]  # fmt: skip


def judged(
    folder: Path, rows: Sequence[dict[str, Any]], judges: dict[Any, Any], locator: Any = None, **rules: Any
) -> list[Any]:
    readers = (ImageReader(), ImageReader(str(folder)))
    stage = JudgeEdit(lambda: judges, EditRules(**rules), *readers, 0, Resources(), locator)
    stage.setup()
    try:
        return list(stage.process(rows))
    finally:
        stage.close()


def with_cat(x: int = 66, y: int = 66) -> Image:
    image = draw(WHAT)
    paste(image, "cat", x, y)
    return image


def yes(score: float = 1.0) -> Verdict:
    return Verdict(True, score, "Yes")


NO, NEITHER = Verdict(False, 0.0, "No"), Verdict(None, 0.5, "maybe")


def test_real_judges_keep_what_shows_the_object_and_the_caption(tmp_path: Path) -> None:
    empty = np.full((96, 96, 3), 230, np.uint8)
    only_cat = empty.copy()
    paste(only_cat, "cat", 40, 40)
    rows = rows_of(tmp_path, with_cat(), draw(WHAT), only_cat)
    build = partial(build_judges, {
        "matcher": TinyMatcherConfig(), "caption": ChatCaptionJudgeConfig(), "object": ChatObjectJudgeConfig(),
        "second": TinyJudgeConfig(),
    })  # fmt: skip
    good, unchanged, other = judged(tmp_path, rows, build())
    assert isinstance(good, dict)
    assert set(good) == set(EDIT_VERDICT.names)
    assert all(good[name] for name in ("caption_holds", "object_seen", "second_object_seen"))
    assert good["change_inside"] is None  # no box
    assert isinstance(unchanged, Reject)
    assert unchanged.reason == "object_not_seen"
    assert unchanged.keep is not None
    assert unchanged.keep["caption_holds"] is True
    assert isinstance(other, Reject)
    assert other.reason == "caption_does_not_hold"


@pytest.mark.parametrize(
    ("scores", "caption", "object", "second", "reason"),
    [
        (0.5, yes(), yes(), yes(), ""),
        (0.4, yes(), yes(), yes(), "caption_score_low"),  # above, not at
        (0.5, NO, yes(), yes(), "caption_does_not_hold"),
        (0.5, yes(), NO, NO, "object_not_seen"),
        (0.5, yes(), yes(), NO, "second_judge_disagrees"),
        (0.1, NO, NO, NO, "caption_score_low"),
    ],
)
def test_the_first_reason_counts_and_every_score_is_kept(
    scores: float, caption: Verdict, object: Verdict, second: Verdict, reason: str, tmp_path: Path
) -> None:
    judges = {"matcher": Scripted([Verdict(None, scores, "")]), "caption": Scripted([caption]),
              "object": Scripted([object]), "second": Scripted([second])}  # fmt: skip
    (outcome,) = judged(tmp_path, rows_of(tmp_path, with_cat()), judges)
    said = outcome.keep if isinstance(outcome, Reject) else outcome
    assert said is not None
    assert (outcome.reason if isinstance(outcome, Reject) else "") == reason
    assert said["caption_score"] == scores
    assert (said["caption_holds"], said["object_seen"], said["second_object_seen"]) == (
        caption.accept, object.accept, second.accept,
    )  # fmt: skip
    assert judges["matcher"].asked == [[f"A {THERE}. This image has a cat."]]
    assert judges["caption"].asked == [[f"A {THERE}."]]
    assert judges["object"].asked == [["cat"]]


def test_a_second_judge_may_only_be_recorded(tmp_path: Path) -> None:
    judges = {"object": Scripted([yes()]), "second": Scripted([NO])}
    (outcome,) = judged(tmp_path, rows_of(tmp_path, with_cat()), judges, second_must_agree=False)
    assert isinstance(outcome, dict)
    assert outcome["second_object_seen"] is False
    assert outcome["caption_score"] is None


def test_refused_rows_need_not_be_asked_on(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, with_cat(), with_cat(40, 40))
    judges = {"matcher": Scripted([yes(0.1), yes(0.9)]), "object": Scripted([yes()])}
    refused, kept = judged(tmp_path, rows, judges, judge_all=False)
    assert isinstance(refused, Reject)
    assert refused.keep is not None
    assert refused.keep["object_seen"] is None
    assert isinstance(kept, dict)
    assert len(judges["object"].asked[0]) == 1


def test_neither_yes_nor_no_is_asked_again_then_quarantined(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, with_cat(), with_cat(40, 40))
    judge = Scripted([NEITHER, yes()], [NEITHER], [NEITHER])
    broken, kept = judged(tmp_path, rows, {"object": judge})
    assert isinstance(broken, Fault)
    assert (broken.kind, broken.retryable) == ("unparsable", True)
    assert "maybe" in broken.message
    assert isinstance(kept, dict)
    assert len({seeds[0] for seeds in judge.seeds}) == 3
    healed = Scripted([NEITHER], [NO])
    (outcome,) = judged(tmp_path, rows[:1], {"object": healed})
    assert isinstance(outcome, Reject)
    dead = Fault("outside_vocabulary", "hourglass")
    assert judged(tmp_path, rows[:1], {"object": Scripted([dead])}) == [dead]


def test_change_outside_of_the_box_refuses(tmp_path: Path) -> None:
    local, everywhere = with_cat(), with_cat()
    everywhere[:30] //= 2
    rows = rows_of(tmp_path, local, everywhere, box=(66.0, 66.0, 94.0, 94.0))
    verdicts = judged(tmp_path, rows, {}, max_change_outside=0.01)
    assert isinstance(verdicts[0], dict)
    assert verdicts[0]["change_outside"] == 0.0
    assert verdicts[0]["change_inside"] > 0.02
    assert isinstance(verdicts[1], Reject)
    assert verdicts[1].reason == "changed_elsewhere"
    assert isinstance(judged(tmp_path, rows[1:], {})[0], dict)


def test_a_locator_stands_in_for_an_editor_that_tells_no_box(tmp_path: Path) -> None:
    told, found = (
        judged(tmp_path, rows_of(tmp_path, with_cat(), box=box), {}, TinyDetectorConfig().build)[0]
        for box in ((66.0, 66.0, 94.0, 94.0), None)
    )
    assert told == found
    everywhere = with_cat()
    everywhere[:30] //= 2
    refused, unseen = judged(
        tmp_path, rows_of(tmp_path, everywhere, draw(WHAT)), {}, TinyDetectorConfig().build, max_change_outside=0.01
    )
    assert isinstance(refused, Reject)
    assert refused.reason == "changed_elsewhere"
    assert isinstance(unseen, dict)  # no region: that the object is missing is for the judges to say
    assert unseen["change_outside"] is None


def test_change_by_hand() -> None:
    before = np.zeros((10, 10, 3), np.uint8)
    after = before.copy()
    after[2:4, 2:4] = 255
    after[9, 9] = 51
    inside, outside = change(before, after, (2, 2, 4, 4), 0.0)
    assert inside == 1.0
    assert outside == pytest.approx(0.2 / 96)
    inside, _ = change(before, after, (2, 2, 4, 4), 0.5)
    assert inside == pytest.approx(4 / 16)
    assert change(before, after, (0, 0, 10, 10), 0.0)[1] is None
    assert change(before, after, (-50, -50, -20, -20), 0.0)[0] is None
    same, _ = change(np.full((20, 20, 3), 7, np.uint8), np.full((10, 10, 3), 7, np.uint8), (0, 0, 5, 5), 0.0)
    assert same == 0.0


def test_an_image_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, with_cat())
    row["image_with_object"] = {**row["image_with_object"], "uri": "images/none.tar"}
    (outcome,) = judged(tmp_path, [row], {"object": Scripted()})
    assert isinstance(outcome, Fault)
    assert outcome.kind == "missing_image"
