"""Sixteen drawn objects, each with its own shape and colours, 28 x 28 px with transparency.

They are drawn eight times larger and averaged down, so that edges are smooth and equal on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

ICON_PX = 28
_SCALE = 8

Pen: TypeAlias = ImageDraw.ImageDraw
Colour: TypeAlias = tuple[int, int, int]
DARK: Colour = (40, 36, 44)
WHITE: Colour = (255, 255, 255)


def _points(*coordinates: float) -> list[tuple[float, float]]:
    return [(x * _SCALE, y * _SCALE) for x, y in zip(coordinates[::2], coordinates[1::2], strict=True)]


def _area(pen: Pen, colour: Colour, *coordinates: float) -> None:
    pen.polygon(_points(*coordinates), fill=colour)


def _round(pen: Pen, colour: Colour, left: float, top: float, right: float, bottom: float) -> None:
    pen.ellipse(_points(left, top, right, bottom), fill=colour)


def _block(pen: Pen, colour: Colour, left: float, top: float, right: float, bottom: float, radius: float = 0) -> None:
    pen.rounded_rectangle(_points(left, top, right, bottom), radius=radius * _SCALE, fill=colour)


def _stroke(pen: Pen, colour: Colour, width: float, *coordinates: float) -> None:
    pen.line(_points(*coordinates), fill=colour, width=round(width * _SCALE), joint="curve")


def _bend(
    pen: Pen, colour: Colour, width: float, box: tuple[float, float, float, float], start: float, end: float
) -> None:
    pen.arc(_points(*box), start, end, fill=colour, width=round(width * _SCALE))


def _cat(pen: Pen) -> None:
    fur: Colour = (240, 144, 40)
    _area(pen, fur, 4, 13, 5, 2, 13, 8)
    _area(pen, fur, 24, 13, 23, 2, 15, 8)
    _area(pen, (250, 190, 170), 6, 9, 6.6, 5, 10, 8)
    _area(pen, (250, 190, 170), 22, 9, 21.4, 5, 18, 8)
    _round(pen, fur, 3, 6, 25, 27)
    for x in (9.5, 18.5):
        _round(pen, (120, 190, 70), x - 2.4, 12, x + 2.4, 17)
        _round(pen, DARK, x - 1, 12.2, x + 1, 16.8)
    _area(pen, (220, 90, 110), 12.5, 18, 15.5, 18, 14, 20)
    for y in (19, 21.5):
        _stroke(pen, WHITE, 0.7, 1, y - 1, 9, 20)
        _stroke(pen, WHITE, 0.7, 27, y - 1, 19, 20)
    _bend(pen, DARK, 0.8, (10.5, 18, 14, 23), 20, 160)
    _bend(pen, DARK, 0.8, (14, 18, 17.5, 23), 20, 160)


def _dog(pen: Pen) -> None:
    fur: Colour = (150, 98, 58)
    ear: Colour = (92, 56, 32)
    _round(pen, fur, 5, 3, 23, 23)
    _round(pen, ear, 1, 4, 8, 20)
    _round(pen, ear, 20, 4, 27, 20)
    _round(pen, (226, 196, 160), 8.5, 13, 19.5, 26)
    for x in (10.5, 17.5):
        _round(pen, DARK, x - 1.5, 9, x + 1.5, 12.5)
    _round(pen, DARK, 11.5, 14, 16.5, 18)
    _stroke(pen, DARK, 0.8, 14, 17, 14, 20)
    _area(pen, (236, 96, 110), 12, 21, 16, 21, 15.4, 25, 12.6, 25)


def _bird(pen: Pen) -> None:
    blue: Colour = (44, 112, 220)
    _area(pen, (24, 70, 160), 2, 8, 10, 13, 7, 18)
    _round(pen, blue, 5, 9, 21, 23)
    _round(pen, blue, 14, 4, 24, 14)
    _area(pen, (250, 176, 30), 23, 7.5, 28, 9.5, 23, 11.5)
    _round(pen, WHITE, 18.5, 6.5, 21.5, 9.5)
    _round(pen, DARK, 19.6, 7.3, 21.4, 9.1)
    _area(pen, (24, 70, 160), 8, 12, 17, 13, 10, 20)
    _round(pen, (190, 220, 250), 13, 15, 20, 22)
    for x in (12, 15.5):
        _stroke(pen, (200, 110, 20), 1, x, 22.5, x, 27, x + 2, 27)


def _tree(pen: Pen) -> None:
    _block(pen, (112, 72, 40), 12, 18, 16, 28)
    for box in ((2, 7, 15, 20), (13, 7, 26, 20), (6, 0, 22, 15), (8, 9, 20, 21)):
        _round(pen, (20, 104, 48), *box)
    for box in ((8, 3, 14, 8), (16, 9, 21, 13), (5, 11, 10, 15)):
        _round(pen, (44, 140, 70), *box)


def _flower(pen: Pen) -> None:
    _stroke(pen, (30, 130, 60), 1.6, 14, 14, 14, 28)
    _round(pen, (30, 130, 60), 14, 20, 21, 24)
    _round(pen, (30, 130, 60), 7, 22, 14, 26)
    for x, y in ((14, 4.5), (19.7, 8.3), (17.6, 15), (10.4, 15), (8.3, 8.3)):
        _round(pen, (244, 96, 176), x - 4.3, y - 4.3, x + 4.3, y + 4.3)
    _round(pen, (255, 214, 50), 10.5, 6.8, 17.5, 13.8)


def _bench(pen: Pen) -> None:
    wood: Colour = (186, 122, 62)
    iron: Colour = (62, 62, 70)
    for x in (4, 22):
        _block(pen, iron, x, 6, x + 2, 27)
        _block(pen, iron, x - 1.5, 16, x + 3.5, 18.5)
    for y in (6.5, 11):
        _block(pen, wood, 1, y, 27, y + 3.2, 1)
    _block(pen, wood, 0.5, 17, 27.5, 21, 1)


def _ball(pen: Pen) -> None:
    _round(pen, (224, 40, 60), 2, 2, 26, 26)
    _area(pen, WHITE, 14, 14, 3.6, 8, 8, 3.6)
    _area(pen, (250, 206, 40), 14, 14, 20, 3.6, 24.4, 8)
    _area(pen, (46, 120, 214), 14, 14, 25.8, 15, 23.6, 21)
    _area(pen, WHITE, 14, 14, 18, 25.2, 10, 25.2)
    _area(pen, (46, 120, 214), 14, 14, 4.4, 21, 2.2, 15)
    _round(pen, WHITE, 11.5, 11.5, 16.5, 16.5)


def _kite(pen: Pen) -> None:
    _area(pen, (255, 214, 40), 15, 0, 5, 9, 15, 9)
    _area(pen, (40, 180, 190), 15, 0, 25, 9, 15, 9)
    _area(pen, (40, 180, 190), 5, 9, 15, 9, 15, 20)
    _area(pen, (240, 90, 60), 25, 9, 15, 9, 15, 20)
    _bend(pen, DARK, 0.8, (8, 17, 15, 25), 280, 90)
    _bend(pen, DARK, 0.8, (6, 24, 14, 31), 180, 280)
    for x, y in ((13.5, 22.5), (9, 25.5)):
        _area(pen, (240, 90, 60), x, y, x - 3, y - 1.8, x - 3, y + 1.8)
        _area(pen, (240, 90, 60), x, y, x + 3, y - 1.8, x + 3, y + 1.8)


def _car(pen: Pen) -> None:
    red: Colour = (206, 24, 32)
    _area(pen, red, 6, 13, 9.5, 6, 19, 6, 23, 13)
    _area(pen, (188, 224, 240), 8.2, 12.5, 10.4, 7.8, 13.6, 7.8, 13.6, 12.5)
    _area(pen, (188, 224, 240), 14.8, 12.5, 14.8, 7.8, 18.3, 7.8, 20.8, 12.5)
    _block(pen, red, 0.5, 12, 27.5, 21, 3)
    _round(pen, (255, 236, 130), 24.5, 13.5, 27.3, 16.5)
    for x in (7, 21):
        _round(pen, DARK, x - 4, 17, x + 4, 25)
        _round(pen, (190, 190, 196), x - 1.8, 19.2, x + 1.8, 22.8)


def _umbrella(pen: Pen) -> None:
    purple: Colour = (134, 56, 190)
    _stroke(pen, DARK, 1.4, 14, 3, 14, 23)
    _bend(pen, DARK, 1.4, (13.3, 19, 20, 27), 0, 180)
    pen.pieslice(_points(1, 2, 27, 28), 180, 360, fill=purple)
    pen.pieslice(_points(9.5, 2, 18.5, 28), 180, 360, fill=(196, 140, 232))
    for left in (1, 9.7, 18.4):
        pen.ellipse(_points(left, 12.6, left + 8.6, 17.4), fill=(0, 0, 0, 0))
    _stroke(pen, DARK, 1.4, 14, 13, 14, 23)
    _round(pen, DARK, 13, 0, 15, 3)


def _cup(pen: Pen) -> None:
    teal: Colour = (0, 150, 136)
    _bend(pen, teal, 2.4, (17, 10, 27.5, 22), 270, 90)
    _area(pen, teal, 3, 9, 22, 9, 20, 26, 5, 26)
    _round(pen, (0, 110, 100), 3, 6.5, 22, 11.5)
    _round(pen, (96, 56, 30), 4.6, 7.5, 20.4, 10.8)
    _block(pen, WHITE, 4.3, 15, 20.7, 17.5)
    for x in (9, 14.5):
        _bend(pen, WHITE, 1.1, (x - 1.5, 0, x + 1.5, 3), 90, 270)
        _bend(pen, WHITE, 1.1, (x - 1.5, 3, x + 1.5, 6), 270, 90)


def _apple(pen: Pen) -> None:
    green: Colour = (126, 196, 40)
    _round(pen, green, 2.5, 7, 16.5, 26)
    _round(pen, green, 11.5, 7, 25.5, 26)
    _block(pen, green, 8, 18, 20, 27, 4)
    _round(pen, (206, 240, 140), 6, 10.5, 9.5, 16)
    _stroke(pen, (96, 60, 30), 1.8, 14, 10, 14.6, 2)
    _area(pen, (36, 120, 40), 14.5, 6, 18, 1.5, 24, 2, 20, 6)


def _chair(pen: Pen) -> None:
    wood: Colour = (98, 48, 28)
    for x in (5, 20.5):
        _block(pen, wood, x, 1, x + 2.5, 27.5)
    for y in (2.5, 7.5):
        _block(pen, wood, 5, y, 23, y + 2.6)
    _block(pen, (246, 170, 120), 3.5, 14, 24.5, 18.5, 1.5)
    _block(pen, wood, 6, 22, 22, 23.8)


def _clock(pen: Pen) -> None:
    _round(pen, (34, 44, 84), 1, 1, 27, 27)
    _round(pen, (252, 250, 236), 4, 4, 24, 24)
    for x, y in ((14, 5.8), (22.2, 14), (14, 22.2), (5.8, 14)):
        _round(pen, (34, 44, 84), x - 1.1, y - 1.1, x + 1.1, y + 1.1)
    _stroke(pen, (34, 44, 84), 1.8, 14, 14, 14, 7.5)
    _stroke(pen, (34, 44, 84), 1.8, 14, 14, 19, 16.5)
    _round(pen, (220, 60, 50), 12.5, 12.5, 15.5, 15.5)


def _book(pen: Pen) -> None:
    cover: Colour = (28, 66, 132)
    _area(pen, cover, 0.5, 7, 14, 10, 27.5, 7, 27.5, 24, 14, 27, 0.5, 24)
    _area(pen, (250, 246, 230), 2.5, 5, 13.6, 8.5, 13.6, 24.5, 2.5, 21.5)
    _area(pen, (236, 230, 210), 25.5, 5, 14.4, 8.5, 14.4, 24.5, 25.5, 21.5)
    for y in (9, 12, 15, 18):
        _stroke(pen, (140, 140, 150), 0.8, 4.5, y, 11.5, y + 2)
        _stroke(pen, (140, 140, 150), 0.8, 23.5, y, 16.5, y + 2)


def _hat(pen: Pen) -> None:
    black: Colour = (52, 50, 58)
    _block(pen, black, 7, 3, 21, 23, 1.5)
    _block(pen, (230, 60, 110), 7, 15, 21, 19.5)
    _round(pen, black, 0.5, 18.5, 27.5, 25.5)
    _block(pen, (230, 60, 110), 7, 15, 21, 19)
    _round(pen, (92, 90, 102), 8.5, 5, 11, 13)


_DRAWN: dict[str, Callable[[Pen], None]] = {
    "apple": _apple, "ball": _ball, "bench": _bench, "bird": _bird, "book": _book, "car": _car, "cat": _cat,
    "chair": _chair, "clock": _clock, "cup": _cup, "dog": _dog, "flower": _flower, "hat": _hat, "kite": _kite,
    "tree": _tree, "umbrella": _umbrella,
}  # fmt: skip
OBJECTS: tuple[str, ...] = tuple(_DRAWN)


@cache
def icon(name: str) -> np.ndarray:
    """The drawing uint8[28, 28, 4] (RGBA) of one of `OBJECTS`; raises KeyError naming them."""
    if name not in _DRAWN:
        raise KeyError(f"no icon is named {name!r}; there are {', '.join(OBJECTS)}")
    large = Pillow.new("RGBA", (ICON_PX * _SCALE, ICON_PX * _SCALE), (0, 0, 0, 0))
    _DRAWN[name](ImageDraw.Draw(large))
    # averaging in premultiplied colour: transparent black must not darken the edges
    values = np.asarray(large, np.float64).reshape(ICON_PX, _SCALE, ICON_PX, _SCALE, 4)
    alpha = values[..., 3:] / 255
    cover = alpha.mean(axis=(1, 3))
    colour = (values[..., :3] * alpha).mean(axis=(1, 3)) / np.maximum(cover, 1e-9)
    drawn = np.concatenate([colour, cover * 255], axis=-1).round().astype(np.uint8)
    drawn.flags.writeable = False
    return drawn
