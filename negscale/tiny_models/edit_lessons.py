"""What the tiny editor learns from: drawn scenes before and after an edit, and the sentence that asks for it.

NeIn's sentences (arXiv 2409.06481, section 3): "Add a hat." paints the object into a free place; "Remove a hat." and the
thirteen that deny the hat take it away. What differs: NeIn fine-tunes on denials alone, here sentences that
hold already ("There is a hat." of a scene with one, "No hat." of a scene without) are lessons too, and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from negscale.core.backend import Image
from negscale.core.rng import rng_for
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import Placed, Scene, draw, scene
from negscale.language.instructions import fill
from negscale.prompts.nein import ADD, TEMPLATES

Kind = Literal["add", "remove", "keep"]
REMOVE = ("Remove {a}.", "Take {a} away.")
_CELL_PX, _SHIFT_PX = (
    32,
    4,
)  # of toyworld's 3 x 3 grid; an added icon lies at the end of its cell, on the latents' raster
# an object goes to the first free cell of these: one right answer an edit, which a small network learns in minutes
_UPPER, _LOWER = (1, 0, 2), (7, 4, 6, 8, 3, 5)
_SKY = frozenset({"bird", "kite", "clock"})


@dataclass(frozen=True, slots=True)
class EditLesson:
    """A scene, a sentence, and the scene that the sentence asks for."""

    before: Scene
    after: Scene
    instruction: str
    name: str  # the object that the sentence names
    kind: Kind  # what it does to `before`

    def pictures(self) -> tuple[Image, Image]:
        """Before and after, uint8[96, 96, 3]."""
        return draw(self.before), draw(self.after)


def with_object(what: Scene, name: str) -> Scene | None:
    """`what` with `name` in the first of its free cells; None where there is none."""
    taken = {placed.y_px // _CELL_PX * 3 + placed.x_px // _CELL_PX for placed in what.objects}
    free = [cell for cell in (_UPPER if name in _SKY else _LOWER) if cell not in taken]
    if not free:
        return None
    row, column = divmod(free[0], 3)
    placed = Placed(name, column * _CELL_PX + _SHIFT_PX, row * _CELL_PX + _SHIFT_PX)
    return replace(what, objects=(*what.objects, placed))


def edit_lesson(world: int, index: int, kind: Kind | None = None) -> EditLesson:
    """Lesson number `index` of a drawn world; of most of them the sentence adds, of the others it removes or changes nothing."""
    rng = rng_for(world, "edit lesson", index)
    bare = scene(world, index)
    name, full = _with_another(bare, rng)
    draws = rng.random(4)
    asked = kind or ("add" if draws[0] < 0.6 else "remove" if draws[0] < 0.88 else "keep")
    template, order = TEMPLATES[int(draws[1] * len(TEMPLATES))], REMOVE[int(draws[1] * len(REMOVE))]
    if asked == "add":
        return EditLesson(bare, full, fill(ADD, name), name, "add")
    if asked == "remove":
        if draws[3] < 0.5:  # an object that was there from the start, wherever it stands
            gone = bare.objects[int(2 * draws[3] * len(bare.objects))]
            name, full = gone.name, bare
            bare = replace(bare, objects=tuple(placed for placed in bare.objects if placed is not gone))
        return EditLesson(full, bare, fill(order if draws[2] < 0.4 else template.negative, name), name, "remove")
    if draws[2] < 0.5:
        return EditLesson(bare, bare, fill(template.negative, name), name, "keep")
    return EditLesson(full, full, fill(template.affirmative, name), name, "keep")


def _with_another(what: Scene, rng: np.random.Generator) -> tuple[str, Scene]:
    for name in rng.permutation([name for name in OBJECTS if name not in what.names]).tolist():
        full = with_object(what, name)
        if full is not None:
            return name, full
    raise ValueError(f"no object has a free place in {what}")  # toyworld's scenes have four objects and nine cells


def all_instructions() -> list[str]:
    """Every sentence of the lessons, and words that others may use; what the tokenizer is trained on."""
    sides = [side for template in TEMPLATES for side in (template.negative, template.affirmative)]
    templates = (ADD, *REMOVE, *sides, "Put {a} into the picture.", "Delete {any} from the photo, please.")
    return [fill(template, name) for template in templates for name in OBJECTS]
