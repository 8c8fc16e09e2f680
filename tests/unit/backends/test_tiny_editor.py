"""The tiny editor on drawn scenes: it paints, it erases what is denied, and its failures come as often as told."""

from __future__ import annotations

import numpy as np
import pytest

from negscale.backends.tiny.editor import TinyEditor, TinyEditorConfig
from negscale.backends.tiny.vision import find
from negscale.core.backend import Edit, EditRequest, Image
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import draw, scene
from negscale.language.instructions import fill
from negscale.prompts.nein import ADD, TEMPLATES, TWO_OBJECTS

SCENES = [(index, scene(0, index)) for index in range(40)]


def edited(editor: TinyEditor, image: Image, instruction: str, subject: str = "", seed: int = 0) -> Edit:
    (edit,) = editor.edit([EditRequest(image, instruction, seed, "i", subject)])
    assert isinstance(edit, Edit), edit
    return edit


def absent(what: frozenset[str], k: int = 0) -> str:
    return [name for name in OBJECTS if name not in what][k]


def test_what_is_added_is_seen_and_the_rest_stays() -> None:
    editor = TinyEditor()
    seen = covered = 0
    for index, what in SCENES:
        image, name = draw(what), absent(what.names, index % 10)
        edit = edited(editor, image, fill(ADD, name), seed=index)
        seen += find(edit.image, name).score >= 0.5
        assert edit.box_xyxy_px is not None
        x, y = int(edit.box_xyxy_px[0]), int(edit.box_xyxy_px[1])
        outside = np.ones(image.shape[:2], bool)
        outside[y : y + 28, x : x + 28] = False
        assert np.array_equal(edit.image[outside], image[outside])
        covered += any(find(edit.image, there).score < 0.5 for there in what.names)
    assert seen == len(SCENES)
    assert covered <= 4  # four objects leave no free place


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda t: t.negative)
def test_a_denial_removes_and_its_control_does_not(template: object) -> None:
    editor = TinyEditor()
    for _, what in SCENES[:12]:
        image, name = draw(what), sorted(what.names)[0]
        gone = edited(editor, image, fill(template.negative, name)).image  # type: ignore[attr-defined]
        assert find(gone, name).score < 0.5, (what.names, name)
        assert all(find(gone, other).score >= 0.5 for other in what.names - {name})
        same = edited(editor, image, fill(template.affirmative, name)).image  # type: ignore[attr-defined]
        assert np.array_equal(same, image)


def test_adding_and_removing_gives_the_image_back() -> None:
    editor, close = TinyEditor(), 0
    for index, what in SCENES:
        image, name = draw(what), absent(what.names)
        added = edited(editor, image, fill(ADD, name), seed=index).image
        back = edited(editor, added, f"There is no {name} in the image.").image
        close += bool(np.abs(back.astype(int) - image).mean() < 0.5)
    assert close >= 36


def test_habits() -> None:
    _, what = next(pair for pair in SCENES if len(pair[1].names) >= 2)
    image, (first, second) = draw(what), sorted(what.names)[:2]
    text = fill(TWO_OBJECTS, first, second)
    obeys = edited(TinyEditor(), image, text).image
    assert find(obeys, first).score < 0.5 <= find(obeys, second).score
    removes = edited(TinyEditor(TinyEditorConfig(habit="removes_named")), image, text).image
    assert find(removes, first).score < 0.5 > find(removes, second).score
    for instruction in (text, fill(ADD, absent(what.names))):
        nothing = edited(TinyEditor(TinyEditorConfig(habit="does_nothing")), image, instruction).image
        assert np.array_equal(nothing, image)


def test_failures_come_as_often_as_told_and_another_seed_may_succeed() -> None:
    editor = TinyEditor(TinyEditorConfig(nothing=0.2, wrong=0.2, blank=0.2))
    image = draw(SCENES[0][1])
    name = absent(SCENES[0][1].names)
    kinds = {"blank": 0, "nothing": 0, "right": 0, "wrong": 0}
    for seed in range(400):
        edit = edited(editor, image, fill(ADD, name), seed=seed)
        kind = (
            "blank" if not edit.image.any() else "nothing" if np.array_equal(edit.image, image)
            else "right" if find(edit.image, name).score >= 0.5 else "wrong"
        )  # fmt: skip
        kinds[kind] += 1
    assert 130 < kinds["right"] < 190
    assert all(50 < kinds[kind] < 112 for kind in ("blank", "nothing", "wrong"))
    again = [edited(editor, image, fill(ADD, name), seed=seed).image for seed in range(5)]
    batch = editor.edit([EditRequest(image, fill(ADD, name), seed, "other") for seed in range(5)])
    assert all(isinstance(e, Edit) and np.array_equal(e.image, a) for e, a in zip(batch, again, strict=True))


def test_odd_images_and_objects() -> None:
    editor = TinyEditor()
    grey = np.full((64, 300, 3), 128, np.uint8)
    assert find(edited(editor, grey, "Add a cat.").image, "cat").score >= 0.5
    for image, text in (
        (np.zeros((20, 20, 3), np.uint8), "Add a cat."),
        (grey, "Add a zebra."),
        (grey[..., :1], "Add a cat."),
    ):
        (fault,) = editor.edit([EditRequest(image, text)])
        assert isinstance(fault, Fault)
    assert np.array_equal(edited(editor, grey, "The image lacks a cat.").image, grey)


def test_memory_that_runs_out_is_recorded() -> None:
    editor = TinyEditor(TinyEditorConfig(micro_batch=8, fits=3))
    assert edited(editor, draw(SCENES[0][1]), "Add a cat.").batch == 2
