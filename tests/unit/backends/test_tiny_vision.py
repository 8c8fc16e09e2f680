from __future__ import annotations

import numpy as np
import pytest

from negscale.backends.tiny.vision import TinyJudge, find, object_named
from negscale.core.backend import Picture, Verdict
from negscale.core.image import decode, encode
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import ICON_PX, OBJECTS
from negscale.datasets.toy_scenes import background, draw, scene

SCENES = [scene(11, index) for index in range(500)]


@pytest.fixture(scope="module")
def judge() -> TinyJudge:
    judge = TinyJudge()
    judge.load()
    return judge


def verdicts(judge: TinyJudge, pixels: np.ndarray, claims: list[str]) -> list[Verdict]:
    found = judge.judge([Picture(pixels, "x")] * len(claims), claims)
    assert all(isinstance(verdict, Verdict) for verdict in found)
    return [verdict for verdict in found if isinstance(verdict, Verdict)]


def test_accuracy_on_500_scenes(judge: TinyJudge) -> None:
    right = total = 0
    for what in SCENES:
        answers = verdicts(judge, draw(what), list(OBJECTS))
        right += sum(answer.accept == (name in what.names) for answer, name in zip(answers, OBJECTS, strict=True))
        total += len(OBJECTS)
    assert right / total >= 0.99, f"{right} of {total}"


def test_it_looks_at_the_pixels(judge: TinyJudge) -> None:
    """Erasing an object turns the answer to no, and only the answer about that object."""
    for what in SCENES[:60]:
        pixels = draw(what)
        placed = what.objects[0]
        before = verdicts(judge, pixels, list(OBJECTS))
        region = np.s_[placed.y_px : placed.y_px + ICON_PX, placed.x_px : placed.x_px + ICON_PX]
        pixels[region] = np.clip(background(what.place.name)[region] + what.light, 0, 255)
        after = verdicts(judge, pixels, list(OBJECTS))
        flipped = [name for name, a, b in zip(OBJECTS, before, after, strict=True) if a.accept != b.accept]
        assert flipped == [placed.name]


def test_it_sees_through_jpeg(judge: TinyJudge) -> None:
    for what in SCENES[:60]:
        pixels = decode(encode(draw(what), "jpeg", quality=75))
        answers = verdicts(judge, pixels, list(OBJECTS))
        assert {name for name, answer in zip(OBJECTS, answers, strict=True) if answer.accept} == what.names


def test_it_says_where(judge: TinyJudge) -> None:
    for what in SCENES[:40]:
        for placed in what.objects:
            found = find(draw(what), placed.name)
            assert found.score > 0.9
            assert found.box_xyxy_px == placed.box_xyxy_px


def test_other_sizes_and_noise(judge: TinyJudge) -> None:
    large = np.full((200, 300, 3), 220, np.uint8)
    large[50:146, 120:216] = draw(SCENES[0])
    answers = verdicts(judge, large, list(OBJECTS))
    assert {name for name, answer in zip(OBJECTS, answers, strict=True) if answer.accept} == SCENES[0].names
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    assert not any(answer.accept for answer in verdicts(judge, noise, list(OBJECTS)))
    assert not any(answer.accept for answer in verdicts(judge, np.zeros((9, 9, 3), np.uint8), list(OBJECTS)))


@pytest.mark.parametrize(
    ("text", "name"),
    [("tree", "tree"), ("Trees.", "tree"), ("a bench", "bench"), ("the benches", "bench"), ("an Umbrella", "umbrella"),
     ("giraffe", None), ("", None), ("tree house", None)],
)  # fmt: skip
def test_names(text: str, name: str | None) -> None:
    assert object_named(text) == name


def test_what_it_cannot_judge_is_a_fault(judge: TinyJudge) -> None:
    found = judge.judge([Picture(draw(SCENES[0]), "a"), Picture(None, "b")], ["giraffe", "tree"])
    assert [fault.kind for fault in found if isinstance(fault, Fault)] == ["unknown_object", "missing_pixels"]
