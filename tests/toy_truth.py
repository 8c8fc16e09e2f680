"""The truth about drawn scenes, read from boxes and pixels: a second opinion on what toyworld's questions and judges say."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from negscale.core.backend import Image
from negscale.datasets.toy_icons import ICON_PX, OBJECTS, icon
from negscale.datasets.toy_scenes import PLACE_BY_NAME, Placed, Scene

_ANCHORS = {
    "red": [(215, 30, 40)], "blue": [(40, 100, 210), (28, 66, 132)], "green": [(20, 104, 48), (126, 196, 40)],
    "black": [(50, 48, 56)], "brown": [(98, 48, 28), (150, 98, 58), (186, 122, 62)], "purple": [(134, 56, 190)],
    "orange": [(240, 144, 40)], "pink": [(244, 96, 176)], "white": [(250, 250, 250)], "yellow": [(250, 214, 45)],
}  # fmt: skip
_WORD = re.compile(r"[a-z]+")


@cache
def colour_of(name: str) -> str:
    """The colour name nearest to the commonest solid colour of an object's drawing."""
    rgba = icon(name)
    solid = rgba[rgba[..., 3] == 255][:, :3].astype(int)
    values, counts = np.unique(solid, axis=0, return_counts=True)
    main = values[int(np.argmax(counts))]
    return min(_ANCHORS, key=lambda colour: min(float(((main - a) ** 2).sum()) for a in np.array(_ANCHORS[colour])))


def holds(what: Scene, question: str) -> bool | None:
    """The answer that the drawing gives to one of toyworld's questions; None where people would disagree or none is."""
    text = question.rstrip("?").lower()
    if found := re.fullmatch(r"is this an? (\w+)", text):
        return found[1] == what.place.name if found[1] in PLACE_BY_NAME else None
    if found := re.fullmatch(r"is there an? (\w+) next to the (\w+)", text):
        first, second = _placed(what, found[1]), _placed(what, found[2])
        return False if first is None or second is None else relation(first, second, "next to")
    if found := re.fullmatch(r"(?:is there an?|are there any) (\w+?)(?:e?s)? (?:in|on|at) the (\w+)", text):
        near = found[2] in ("picture", "image", what.place.name)
        return any(found[1] == name or found[1] + "e" == name for name in what.names) and near
    if found := re.fullmatch(r"is the (\w+) (\w+)", text):
        return colour_of(found[1]) == found[2] if found[2] in _ANCHORS else None
    between = r"(?:is|does) the (\w+) (?:sit |stand |sitting |standing )?(next to|to the left of|to the right of|above) the (\w+)"
    if found := re.fullmatch(between, text):
        first, second = _placed(what, found[1]), _placed(what, found[3])
        return None if first is None or second is None else relation(first, second, found[2])
    return None


def relation(first: Placed, second: Placed, name: str) -> bool | None:
    """Whether `first` stands in that relation to `second`, by pixels; None where it is a matter of taste."""
    dx, dy = first.x_px - second.x_px, first.y_px - second.y_px
    if name == "to the left of":
        return dx < -16
    if name == "to the right of":
        return dx > 16
    if name == "above":
        return False if dy > -16 else True if abs(dx) < 16 else None
    if abs(dy) < 16 and abs(dx) < 48:
        return True
    return None if abs(dx) < 48 and abs(dy) < 48 else False


def _placed(what: Scene, name: str) -> Placed | None:
    return next((placed for placed in what.objects if placed.name == name), None)


def words_in_order(part: str, whole: str) -> bool:
    """Whether the words of `part` stand in `whole` in their order; articles may change."""
    rest = iter(_WORD.findall(whole.lower()))
    return all(word in rest for word in _WORD.findall(part.lower()) if word not in ("a", "an", "the"))


PAINTED = 0.5  # share of an icon's colours that must have come into the picture


def painted(source: Image, edited: Image, name: str) -> bool:
    """Whether an edit put the object into a drawn scene, told from what changed, not from what is to be seen.

    Somewhere the picture has come at least half of the way from the source's colours to the icon's, and there no other
    icon explains it better. Toyworld's judges look at the edit alone, by colour masks and silhouettes.
    """
    share, x, y = max((_come(source, edited, name, x, y), x, y) for y in _places(source, 0) for x in _places(source, 1))
    if share < PAINTED:
        return False
    near = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    best = max(_come(source, edited, name, *place) for place in near)
    return all(
        best >= max(_come(source, edited, other, *place) for place in near) for other in OBJECTS if other != name
    )


def _places(image: Image, axis: int) -> range:
    return range(0, image.shape[axis] - ICON_PX + 1, 2)


def _come(source: Image, edited: Image, name: str, x: int, y: int) -> float:
    """1 - (squared distance to the icon's colours now) / (the same before), over the icon's pixels at a place."""
    rows, columns, colours = _solid(name)
    if not (0 <= y <= source.shape[0] - ICON_PX and 0 <= x <= source.shape[1] - ICON_PX):
        return -1.0
    before = source[rows + y, columns + x].astype(np.float32) - colours
    now = edited[rows + y, columns + x].astype(np.float32) - colours
    return 1 - float((now**2).sum()) / max(1.0, float((before**2).sum()))


@cache
def _solid(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(icon(name)[..., 3] == 255)
    return rows, columns, icon(name)[rows, columns, :3].astype(np.float32)
