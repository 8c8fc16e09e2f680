"""How well the tiny editor obeys, on scenes that it has not learnt from, through the editor that a pipeline would use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from negscale.backends.diffusers_editor import DiffusersEditorConfig
from negscale.backends.diffusion_weights import DiffusionRunConfig
from negscale.backends.tiny.vision import find
from negscale.core.backend import Edit, EditRequest, Image
from negscale.core.rng import seed_for
from negscale.datasets.toy_icons import ICON_PX
from negscale.datasets.toy_scenes import SCENE_PX
from negscale.tiny_models.edit_lessons import EditLesson, Kind, edit_lesson
from negscale.tiny_models.lessons import TEST_WORLD

STEPS, TEXT_GUIDANCE, IMAGE_GUIDANCE = (
    20,
    3.0,
    1.2,
)  # what suits a network of this size; NeIn's are those of its networks


def tiny_editor_config(
    folder: Path, steps: int = STEPS, text: float = TEXT_GUIDANCE, image: float = IMAGE_GUIDANCE
) -> DiffusersEditorConfig:
    """The config under which the tiny editor is measured, and under which it should be used."""
    return DiffusersEditorConfig(
        model="tiny/editor", path=str(folder), dtype="float32", size_px=SCENE_PX, multiple_px=16, steps=steps,
        text_guidance=text, image_guidance=image, run=DiffusionRunConfig(device="cpu", batch_size=8),
    )  # fmt: skip


def editor_figures(
    folder: Path, scenes: int = 40, steps: int = STEPS, text: float = TEXT_GUIDANCE, image: float = IMAGE_GUIDANCE
) -> dict[str, float]:
    """Shares by toyworld's eyes of objects added, removed, kept where nothing was asked for, and of others left in place.

    `change_outside`: mean absolute difference, 0..1, outside the object's frame (after adding and removing).
    """
    editor = tiny_editor_config(folder, steps, text, image).build()
    editor.load()
    kinds: tuple[Kind, ...] = ("add", "remove", "keep")
    lessons = [edit_lesson(TEST_WORLD, index, kind) for kind in kinds for index in range(scenes)]
    before = [lesson.pictures()[0] for lesson in lessons]
    requests = [
        EditRequest(image, lesson.instruction, seed_for(0, number), subject=lesson.name)
        for number, (image, lesson) in enumerate(zip(before, lessons, strict=True))
    ]
    began = time.monotonic()
    made = editor.edit(requests)
    seconds = time.monotonic() - began
    edits = [edit.image if isinstance(edit, Edit) else source for edit, source in zip(made, before, strict=True)]
    done = {kind: [i for i, lesson in enumerate(lessons) if lesson.kind == kind] for kind in kinds}
    there = [_seen(image, lesson.name) for image, lesson in zip(edits, lessons, strict=True)]
    as_before = [there[i] == (lessons[i].name in lessons[i].after.names) for i in done["keep"]]
    changed = done["add"] + done["remove"]
    return {
        "added_seen": _mean([there[i] for i in done["add"]]), "removed_unseen": _mean([not there[i] for i in done["remove"]]),
        "kept_as_was": _mean(as_before), "others_kept": _mean(_others(edits, lessons)),
        "change_outside": _mean([_outside(before[i], edits[i], lessons[i]) for i in changed]),
        "faults": float(sum(not isinstance(edit, Edit) for edit in made)), "scenes": float(scenes), "steps": float(steps),
        "edits_per_s": round(len(edits) / seconds, 2),
    }  # fmt: skip


def _seen(image: Image, name: str) -> bool:
    return find(image, name).score >= 0.5


def _others(edits: Sequence[Image], lessons: Sequence[EditLesson]) -> list[bool]:
    return [
        _seen(image, name)
        for image, lesson in zip(edits, lessons, strict=True)
        for name in sorted(lesson.before.names - {lesson.name})
    ]


def _outside(before: Image, after: Image, lesson: EditLesson) -> float:
    """Mean |difference| outside the frame of the object: where it was, or where it is found now."""
    was = next((p.box_xyxy_px for p in lesson.before.objects if p.name == lesson.name), None)
    left, top, _, _ = was or find(after, lesson.name).box_xyxy_px
    outside = np.ones(before.shape[:2], bool)
    outside[int(top) : int(top) + ICON_PX, int(left) : int(left) + ICON_PX] = False
    return float(np.abs(before.astype(float) - after.astype(float))[outside].mean() / 255)


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else float("nan")
