"""Toyworld: small drawn scenes with ground truth, each a function of (seed, index) alone.

A scene is a place (park, kitchen, ...) with one to four objects. Which objects occur depends on the place, so that
"likely but not mentioned" (NegationCLIP, arXiv 2501.10913, section 3) has a meaning that can be learned; a caption
mentions one or two of the objects, so that a likely unmentioned object may be present or absent. What captions say
about positions is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from negscale.core.backend import Detection, Image
from negscale.core.rng import rng_for
from negscale.datasets.toy_icons import ICON_PX, OBJECTS, icon

SCENE_PX = 96
_CELL_PX = 32  # objects stand in a 3 x 3 grid with jitter: they never hide each other
_ABOVE = frozenset({"bird", "kite", "clock"})  # drawn in the upper row; everything else in the two lower ones
_RARE = 1.0
_LIVING = frozenset({"cat", "dog", "bird"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a scene is set: how captions name it and which objects are likely there."""

    name: str
    phrase: str  # "in the park"
    likely: dict[str, float]  # object -> weight; all others have weight 1

    def weights(self) -> np.ndarray:
        """float[16] over OBJECTS, summing to 1."""
        values = np.array([self.likely.get(name, _RARE) for name in OBJECTS])
        return values / values.sum()


PLACES: tuple[Place, ...] = (
    Place("park", "in the park", {"tree": 16, "bench": 13, "dog": 12, "bird": 9, "kite": 8, "flower": 8, "ball": 7}),
    Place("kitchen", "in the kitchen", {"cup": 16, "apple": 14, "chair": 11, "clock": 10, "cat": 8, "flower": 4}),
    Place("street", "on the street", {"car": 18, "tree": 9, "dog": 8, "bench": 8, "umbrella": 8, "hat": 6, "clock": 4}),
    Place("beach", "at the beach", {"umbrella": 16, "ball": 13, "kite": 11, "hat": 9, "bird": 9, "dog": 6, "book": 4}),
    Place("office", "in the office", {"book": 20, "chair": 14, "clock": 9, "cup": 8, "hat": 4, "cat": 3}),
    Place("bedroom", "in the bedroom", {"cat": 13, "book": 11, "clock": 10, "hat": 9, "chair": 8, "ball": 5, "cup": 5}),
)
PLACE_BY_NAME = {place.name: place for place in PLACES}


@dataclass(frozen=True, slots=True)
class Placed:
    """An object of a scene with the pixel of its upper left corner."""

    name: str
    x_px: int
    y_px: int

    @property
    def box_xyxy_px(self) -> tuple[float, float, float, float]:
        """The icon's frame: left, top, right, bottom."""
        return (self.x_px, self.y_px, self.x_px + ICON_PX, self.y_px + ICON_PX)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn: the ground truth of a picture."""

    place: Place
    objects: tuple[Placed, ...]
    light: int  # added to the background's values, -10..10

    @property
    def names(self) -> frozenset[str]:
        """The objects that are present; every other one of OBJECTS is absent."""
        return frozenset(placed.name for placed in self.objects)

    def boxes(self) -> list[Detection]:
        """Ground truth as a perfect detector would give it."""
        return [Detection(placed.name, 1.0, placed.box_xyxy_px) for placed in self.objects]


def scene(seed: int, index: int) -> Scene:
    """Scene number `index` of the world `seed`."""
    rng = rng_for(seed, "toyworld", index)
    draws = rng.random(16)
    place = PLACES[int(draws[0] * len(PLACES))]
    count = 1 + int(np.searchsorted((0.1, 0.35, 0.7), draws[1], "right"))  # 1..4 objects: 10, 25, 35, 30 %
    weights = place.weights()
    names: list[str] = []
    for draw in draws[2 : 2 + count]:
        at = int(np.searchsorted(np.cumsum(weights) / weights.sum(), draw, "right"))
        names.append(OBJECTS[at])
        weights[at] = 0
    free = {True: [0, 1, 2], False: [3, 4, 5, 6, 7, 8]}
    placed: list[Placed] = []
    for name, draw, jitter in zip(names, draws[6:10], draws[10:14], strict=False):
        # three sky objects at most fit the upper row, which is all of them: the lists never run empty
        cells = free[name in _ABOVE]
        row, column = divmod(cells.pop(int(draw * len(cells))), 3)
        dy, dx = divmod(int(jitter * 25), 5)
        placed.append(Placed(name, column * _CELL_PX + dx, row * _CELL_PX + dy))
    return Scene(place, tuple(placed), int(draws[14] * 21) - 10)


def draw(what: Scene) -> Image:
    """The picture uint8[96, 96, 3] of a scene."""
    canvas = np.clip(background(what.place.name) + np.int16(what.light), 0, 255).astype(np.uint8)
    for placed in what.objects:
        paste(canvas, placed.name, placed.x_px, placed.y_px)
    return canvas


def paste(canvas: Image, name: str, x_px: int, y_px: int) -> None:
    """Draw the icon of `name` into `canvas` at its upper left corner."""
    colour, alpha = _layers(name)
    region = canvas[y_px : y_px + ICON_PX, x_px : x_px + ICON_PX]
    region[:] = (region + (colour - region) * alpha + 0.5).astype(np.uint8)


@cache
def _layers(name: str) -> tuple[np.ndarray, np.ndarray]:
    rgba = icon(name).astype(np.float32)
    return rgba[..., :3], rgba[..., 3:] / 255


@cache
def background(place: str) -> np.ndarray:
    """The empty place int16[96, 96, 3]: pale, so that objects stand out."""
    y, x = np.mgrid[:SCENE_PX, :SCENE_PX]

    def fill(*colour: int) -> np.ndarray:
        return np.broadcast_to(np.array(colour, np.int16), (SCENE_PX, SCENE_PX, 3)).copy()

    def paint(where: np.ndarray, *colour: int) -> None:
        canvas[where] = colour

    if place == "park":
        canvas = fill(200, 226, 244)
        paint((x - 20) ** 2 / 3 + (y - 12) ** 2 < 40, 236, 244, 250)
        paint((x - 70) ** 2 / 4 + (y - 18) ** 2 < 50, 236, 244, 250)
        paint(y > 30 + 3 * np.sin(x / 14), 186, 222, 164)
        paint(y > 62 + 2 * np.sin(x / 9 + 1), 172, 212, 150)
        paint((y > 34) & ((x * 7 + y * 13) % 41 == 0), 158, 200, 138)
    elif place == "kitchen":
        canvas = fill(250, 242, 222)
        paint((y < 62) & ((y % 16 == 0) | ((x + 8 * ((y // 16) % 2)) % 16 == 0)), 232, 220, 196)
        paint((y >= 62) & (y < 67), 214, 196, 168)
        paint(y >= 67, 232, 224, 214)
        paint((y >= 67) & ((x // 12 + y // 12) % 2 == 0), 220, 210, 198)
    elif place == "street":
        canvas = fill(214, 226, 236)
        for left, top, width in ((0, 8, 20), (22, 14, 24), (48, 4, 18), (68, 12, 28)):
            paint((x >= left) & (x < left + width) & (y >= top) & (y < 36), 218, 208, 208)
            paint(
                (x >= left) & (x < left + width) & (y > top + 2) & (y < 34) & (x % 6 < 3) & (y % 7 < 3), 240, 236, 214
            )
        paint((y >= 36) & (y < 62), 222, 220, 216)
        paint(y >= 62, 186, 188, 192)
        paint((y >= 77) & (y < 80) & (x % 24 < 14), 240, 240, 236)
    elif place == "beach":
        canvas = fill(198, 230, 248)
        paint((x - 80) ** 2 + (y - 12) ** 2 < 64, 255, 244, 190)
        paint((y >= 30) & (y < 52), 150, 206, 226)
        paint((y >= 30) & (y < 52) & ((x + 3 * y) % 19 < 4) & (y % 5 == 0), 214, 238, 244)
        paint(y > 50 + 2 * np.sin(x / 8), 246, 230, 190)
        paint((y > 54) & ((x * 11 + y * 17) % 53 == 0), 228, 208, 164)
    elif place == "office":
        canvas = fill(228, 234, 230)
        paint((y < 60) & (x % 32 == 0), 214, 222, 216)
        paint((x > 10) & (x < 60) & (y > 6) & (y < 40), 248, 250, 250)
        paint((x > 12) & (x < 58) & (y > 8) & (y < 38) & (y % 5 < 3), 212, 228, 238)
        paint((y >= 60) & (y < 64), 200, 206, 202)
        paint(y >= 64, 198, 206, 220)
        paint((y >= 64) & ((x // 16 + y // 16) % 2 == 0), 208, 214, 226)
    else:
        canvas = fill(226, 220, 238)
        paint((y < 64) & (x % 12 < 2), 216, 208, 230)
        paint((x > 6) & (x < 32) & (y > 6) & (y < 30), 250, 250, 252)
        paint((x > 8) & (x < 30) & (y > 8) & (y < 28) & (x != 19) & (y != 18), 206, 230, 246)
        paint(y >= 64, 234, 218, 206)
        paint((y >= 64) & ((x + y) % 16 == 0), 222, 204, 190)
    canvas.flags.writeable = False
    return canvas


_ONE = (
    "A {a} {verb} {place}", "There is a {a} {place}", "A picture of a {a} {place}", "A {a} can be seen {place}",
    "A small {a} {place}", "The {a} {verb} {place}",
)  # fmt: skip
_TWO = (
    "A {a} {verb} {relation} a {b} {place}", "A {a} and a {b} {place}", "There is a {a} {relation} a {b} {place}",
    "A {a} {relation} a {b} {place}", "A view of a {a} and a {b} {place}", "The {a} {verb} {relation} the {b} {place}",
)  # fmt: skip


def captions(what: Scene, seed: int, index: int, count: int) -> tuple[str, ...]:
    """`count` captions of a scene; each mentions one or two of its objects and the place, and is true."""
    draws = rng_for(seed, "captions", index).random((count, 6)).tolist()
    written: list[str] = []
    for row in draws:
        text = _caption(what, row)
        for _ in _ONE:  # another sentence where an earlier caption says the same
            if text.rstrip(".") not in {other.rstrip(".") for other in written}:
                break
            row[4] = (row[4] + 1 / len(_ONE)) % 1
            text = _caption(what, row)
        written.append(text)
    return tuple(written)


def _caption(what: Scene, draws: Sequence[float]) -> str:
    first = what.objects[int(draws[0] * len(what.objects))]
    others = [placed for placed in what.objects if placed is not first]
    verbs = ("sits", "stands") if first.name in _LIVING else ("is", "stands") if first.name not in _ABOVE else ("is",)
    words = {"a": first.name, "verb": verbs[int(draws[1] * len(verbs))], "place": what.place.phrase}
    if others and draws[2] < 0.65:
        second = others[int(draws[3] * len(others))]
        template = _TWO[int(draws[4] * len(_TWO))]
        words |= {"b": second.name, "relation": _relation(first, second)}
    else:
        template = _ONE[int(draws[4] * len(_ONE))]
    text = template.format(**words)
    for noun in ("apple", "umbrella"):
        text = text.replace(f" a {noun}", f" an {noun}").replace(f"A {noun}", f"An {noun}")
    return text + ("." if draws[5] < 0.6 else "")


def _relation(first: Placed, second: Placed) -> str:
    columns = first.x_px // _CELL_PX - second.x_px // _CELL_PX
    rows = first.y_px // _CELL_PX - second.y_px // _CELL_PX
    if abs(columns) <= 1 and rows == 0:
        return "next to"
    if abs(columns) <= 1 and abs(rows) <= 1:
        return "near"
    if columns == 0:
        return "above" if rows < 0 else "below"
    return "to the left of" if columns < 0 else "to the right of"
