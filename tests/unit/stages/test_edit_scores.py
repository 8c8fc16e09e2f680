from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from negscale.backends.image_features import PixelFeaturesConfig
from negscale.backends.nein_judges import ChatObjectJudgeConfig
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.backends.tiny.misbehaviour import Misbehaviour
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.backend import Picture, Verdict
from negscale.core.stage import Fault, Resources
from negscale.stages.edit_scores import (
    CompareFeatures,
    ComparePerception,
    KeepFeatures,
    MeasurePixels,
    SeeObjects,
    peak_change,
    pixel_distances,
    resized,
)
from tests.unit.stages.edit_rows import Pictures, picture, queries, row

TRUTH, INPUT = picture("dog"), picture("dog", "cat")
IMAGES = Pictures(truth=TRUTH, input=INPUT, edit=TRUTH)


def see(judge: Any, rows: Sequence[dict[str, Any]], images: Pictures = IMAGES, attempts: int = 3) -> list[Any]:
    stage = SeeObjects("see", "image_with_object", "seen", lambda: judge, images, 0, attempts, Resources())
    stage.setup()
    outcomes: list[Any] = list(stage.process(rows))
    stage.close()
    return outcomes


def test_what_the_judge_sees_and_what_it_does_not_know() -> None:
    (outcome,) = see(TinyJudgeConfig().build(), [row(caption_objects=["dog", "tree", "park", "cat"])])
    said = {one["object"]: one for one in outcome["seen"]}
    assert list(said) == ["cat", "dog", "tree", "park"]  # the denied object first, each once
    assert [said[name]["seen"] for name in said] == [True, True, False, None]
    assert said["cat"]["score"] > 0.9
    assert said["park"]["answer"].startswith("unknown_object: ")


def test_answers_are_kept_to_the_letter() -> None:
    judge = ChatObjectJudgeConfig().build()
    outcomes = see(judge, [row(f"a#{n}", caption_objects=[]) for n in range(30)])
    assert {one["answer"] for outcome in outcomes for one in outcome["seen"]} == {"Yes", "yes", "Yes."}


class Moody:
    """Answers only at the second attempt, or never; a time-out for hats."""

    exact, id, needs_pixels = True, "test/moody@1", True

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def load(self) -> None: ...

    def close(self) -> None: ...

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        answers: list[Verdict | Fault] = []
        for picture_, claim in zip(pictures, claims, strict=True):
            self.asked.append((claim, picture_.seed))
            if claim == "hat":
                answers.append(Fault("timeout", "no answer", True))
            else:
                again = sum(name == claim for name, _ in self.asked) > 1 and claim == "cat"
                answers.append(Verdict(True if again else None, 1.0 if again else 0.5, "perhaps"))
        return answers


def test_unclear_answers_are_asked_again_with_another_seed_then_unknown() -> None:
    judge = Moody()
    (outcome,) = see(judge, [row(caption_objects=["dog"])])
    assert {one["object"]: (one["seen"], one["answer"]) for one in outcome["seen"]} == {
        "cat": (True, "perhaps"), "dog": (None, "perhaps"),
    }  # fmt: skip
    assert [name for name, _ in judge.asked] == ["cat", "dog", "cat", "dog", "dog"]
    assert len(set(judge.asked)) == 5


def test_a_time_out_quarantines_its_row_alone() -> None:
    broken, fine = see(Moody(), [row(caption_objects=["hat"]), row("b#0", absent_object="dog", caption_objects=[])])
    assert isinstance(broken, Fault)
    assert (broken.kind, broken.retryable) == ("timeout", True)
    assert fine["seen"][0]["seen"] is None


def test_an_unparsable_judge_is_missing_and_not_lost() -> None:
    chat = TinyChatConfig(misbehaviour=Misbehaviour(malformed=1.0))
    (outcome,) = see(ChatObjectJudgeConfig(chat=chat).build(), [row(caption_objects=[])])
    assert outcome["seen"][0]["seen"] is None
    assert outcome["seen"][0]["answer"]


def test_an_image_that_is_gone_is_a_fault_and_costs_no_question() -> None:
    judge = Moody()
    (outcome,) = see(judge, [row(image_with_object={"uri": "gone"})])
    assert isinstance(outcome, Fault)
    assert outcome.kind == "missing_image"
    assert judge.asked == []


# -- distances ------------------------------------------------------------------------------------------------------------


def measured(edit: np.ndarray, kinds: Sequence[str] = ("negative",), truth: np.ndarray = TRUTH) -> list[Any]:
    images = Pictures(truth=truth, input=INPUT, edit=edit)
    stage = MeasurePixels(images, images, images, Resources())
    return list(stage.process(queries(row(edited_image={"uri": "edit"}), kinds)))


def test_distances_by_hand() -> None:
    a, b = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    b[0, 0] = 51  # 0.2 in one of four pixels
    assert pixel_distances(a, b) == pytest.approx((0.05, 0.01))
    assert pixel_distances(a, a) == (0, 0)


def test_the_wanted_image_is_the_input_where_nothing_is_to_go() -> None:
    negative, affirmative, keep, two = measured(TRUTH, ("negative", "affirmative", "keep", "two_objects"))
    change = pixel_distances(TRUTH, INPUT)[0]
    assert [o["l1"] for o in (negative, affirmative, keep, two)] == [0, change, change, 0]
    assert [o["change_l1"] for o in (negative, affirmative, keep, two)] == [change] * 4


def test_an_edit_of_another_size_is_measured_at_both() -> None:
    edit = np.asarray(Pillow.fromarray(TRUTH).resize((48, 48)))  # an editor that works at half the size
    (outcome,) = measured(edit)
    assert outcome["l1_edited_size"] == 0  # its pixels are those of the resized truth
    assert outcome["l1"] > 0.002  # as released: enlarged again, it has lost detail
    expected = np.abs(resized(edit, TRUTH.shape).astype(int) - TRUTH).mean() / 255
    assert outcome["l1"] == pytest.approx(expected)


def test_a_small_object_that_goes_shows_in_its_cell() -> None:
    assert pixel_distances(TRUTH, INPUT)[0] < 0.06
    assert peak_change(TRUTH, INPUT) > 0.2
    noisy = np.clip(INPUT.astype(int) + np.random.default_rng(0).integers(-8, 9, INPUT.shape), 0, 255)
    assert peak_change(noisy.astype(np.uint8), INPUT) < 0.03
    a, b = np.zeros((7, 3, 3), np.uint8), np.zeros((7, 3, 3), np.uint8)
    b[0, 0] = 255  # cells of one pixel
    assert peak_change(a, b) == 1
    b[0, 0] = (255, 0, 0)
    assert peak_change(a, b) == pytest.approx(1 / 3)


def test_where_an_object_stands_hardly_matters() -> None:
    bare = np.full((96, 96, 3), 200, np.uint8)
    peaks = []
    for at in range(30, 50):  # 32 and 48 are borders of a plain grid of six
        there = bare.copy()
        there[at : at + 16, at : at + 16] = 80
        peaks.append(peak_change(there, bare))
    assert max(peaks) == pytest.approx(120 / 255)
    assert min(peaks) > 0.5 * max(peaks), "a grid divides it among four cells: a quarter is left"


# -- features -------------------------------------------------------------------------------------------------------------


class Counting:
    """Pixel features that count what they encode."""

    def __init__(self, broken: bool = False) -> None:
        self.inner, self.encoded, self.broken = PixelFeaturesConfig(grid=2).build(), 0, broken

    def load(self) -> None: ...

    def close(self) -> None: ...

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.encoded += len(images)
        return self.inner.encode_images(images) * (np.nan if self.broken else 1)


def compared(encoder: Any, rows: Sequence[dict[str, Any]], keep: bool = False) -> list[Any]:
    images = Pictures(truth=TRUTH, input=INPUT, edit=TRUTH)
    readers = (images, images, images, Resources())
    stage: Any = (
        KeepFeatures(lambda: encoder, *readers) if keep
        else CompareFeatures("compare_x", "x_cosine", lambda: encoder, *readers)
    )  # fmt: skip
    stage.setup()
    return list(stage.process(rows))


def test_cosines_by_numpy_and_each_picture_encoded_once() -> None:
    encoder = Counting()
    rows = queries(row(edited_image={"uri": "edit"}), ("negative", "affirmative", "keep"))
    outcomes = compared(encoder, rows)
    a, b = (encoder.inner.encode_images([image])[0].astype(float) for image in (TRUTH, INPUT))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert [o["x_cosine"] for o in outcomes] == pytest.approx([1, cosine, cosine])
    assert encoder.encoded == 2  # the truth is the same array as the edit


def test_features_of_negative_queries_only_and_nan_is_a_fault() -> None:
    rows = queries(row(edited_image={"uri": "edit"}), ("negative", "affirmative"))
    kept, left_out = compared(Counting(), rows, keep=True)
    assert kept["edited_features"] == kept["wanted_features"]
    assert left_out == {"edited_features": None, "wanted_features": None}
    for keep in (True, False):
        fault = compared(Counting(broken=True), rows[:1], keep)[0]
        assert isinstance(fault, Fault)
        assert fault.kind == "not_a_number"


class Small:
    """A distance that takes nothing."""

    def load(self) -> None: ...

    def close(self) -> None: ...

    def distances(self, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> list[float | Fault]:
        assert all(x.shape == y.shape for x, y in zip(a, b, strict=True))
        return [Fault("small_image", "too small"), *[0.5] * (len(a) - 1)]


def test_a_picture_too_small_for_lpips_is_missing_there_alone() -> None:
    images = Pictures(truth=TRUTH, input=INPUT, edit=TRUTH[:50])
    stage = ComparePerception(Small, images, images, images, Resources())
    stage.setup()
    rows = queries(row(edited_image={"uri": "edit"}), ("negative", "keep"))
    assert stage.process(rows) == [{"lpips": None}, {"lpips": 0.5}]
