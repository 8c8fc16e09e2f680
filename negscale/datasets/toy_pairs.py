"""Drawn scenes with several objects of one kind, some with something beside them: ground truth for referring sets.

A scene has three zones, far apart. One to three of them hold an object of the scene's kind, each perhaps with a thing
beside it. Some scenes have what a referring pipeline must refuse: a kind that occurs once, an object drawn at half size,
one that covers half of another. Lengths are in units of `UNIT_PX` pixels, so that an icon is as large as a large object
of COCO (over 96 x 96 px).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from negscale.core.backend import Image
from negscale.core.rng import rng_for
from negscale.datasets.toy_icons import ICON_PX, OBJECTS, icon
from negscale.datasets.toy_scenes import PLACES, SCENE_PX, Place, background

UNIT_PX = 4
WIDTH_PX, HEIGHT_PX = 240 * UNIT_PX, SCENE_PX * UNIT_PX
BESIDE_PX = 4 * UNIT_PX  # objects on one level with a smaller gap are beside each other; zones are at least 16 apart
_ZONES = 3
_ZONE = 80
_ALOFT = frozenset({"bird", "kite", "clock"})  # nothing on the ground stands beside these
KINDS = tuple(name for name in OBJECTS if name not in _ALOFT)


@dataclass(frozen=True, slots=True)
class Item:
    """A drawn object; the box in pixels."""

    id: str
    name: str
    x_px: int
    y_px: int
    side_px: int

    @property
    def box_xywh_px(self) -> tuple[float, float, float, float]:
        """Left, top, width, height."""
        return (self.x_px, self.y_px, self.side_px, self.side_px)


@dataclass(frozen=True, slots=True)
class PairScene:
    """What is drawn. The first items, all of one kind, are those that expressions refer to."""

    place: Place
    kind: str
    items: tuple[Item, ...]
    light: int

    @property
    def of_kind(self) -> tuple[Item, ...]:
        """The objects that compete for an expression."""
        return tuple(item for item in self.items if item.name == self.kind)


def pair_scene(seed: int, index: int) -> PairScene:
    """Scene number `index` of the world `seed`."""
    rng = rng_for(seed, "toy_pairs", index)
    place = PLACES[int(rng.integers(len(PLACES)))]
    weights = np.array([place.likely.get(name, 1.0) for name in KINDS])
    kind, thing, other = rng.choice(KINDS, 3, replace=False, p=weights / weights.sum()).tolist()
    zones = rng.permutation(_ZONES)[: 1 + int(np.searchsorted((0.08, 0.62), rng.random(), "right"))]
    small, huddled = rng.random(2) < (0.12, 0.08)
    spots: list[tuple[str, int, int, int]] = []  # name, x, y, side in units
    beside: list[tuple[str, int, int, int]] = []
    for number, zone in enumerate(sorted(zones.tolist())):
        side = ICON_PX // 2 if small and number == len(zones) - 1 else ICON_PX
        left, thing_first = zone * _ZONE + int(rng.integers(8, 15)), bool(rng.random() < 0.5)
        y = 44 + int(rng.integers(0, 18))
        has, gap = bool(rng.random() < 0.55) and not huddled, int(rng.integers(0, 3))
        x = left + (ICON_PX + gap if has and thing_first else 0)
        spots.append((kind, x, y, side))
        if has:
            name = thing if rng.random() < 0.75 else other
            beside.append((name, left if thing_first else left + side + gap, y - int(rng.integers(0, 3)), ICON_PX))
    if huddled:
        name, x, y, side = spots[0]
        spots = [spots[0], (kind, x + side // 2, y + int(rng.integers(0, 3)), side)]
    items = tuple(
        Item(str(number), name, x * UNIT_PX, y * UNIT_PX, side * UNIT_PX)
        for number, (name, x, y, side) in enumerate([*spots, *beside])
    )
    return PairScene(place, kind, items, int(rng.integers(-10, 11)))


def draw_pairs(what: PairScene) -> Image:
    """The picture uint8[384, 960, 3] of a scene."""
    ground = np.concatenate([background(what.place.name), background(what.place.name)[:, ::-1]] * 2, axis=1)
    canvas = np.clip(ground[:, : WIDTH_PX // UNIT_PX] + np.int16(what.light), 0, 255).astype(np.uint8)
    for item in what.items:
        x, y, side = item.x_px // UNIT_PX, item.y_px // UNIT_PX, item.side_px // UNIT_PX
        colour, alpha = _layers(item.name, ICON_PX // side)
        region = canvas[y : y + side, x : x + side]
        region[:] = (region + (colour - region) * alpha + 0.5).astype(np.uint8)
    return canvas.repeat(UNIT_PX, axis=0).repeat(UNIT_PX, axis=1)


@cache
def _layers(name: str, shrink: int) -> tuple[np.ndarray, np.ndarray]:
    rgba = icon(name).astype(np.float32)
    side = ICON_PX // shrink
    rgba = rgba.reshape(side, shrink, side, shrink, 4).mean(axis=(1, 3))
    return rgba[..., :3], rgba[..., 3:] / 255


@dataclass(frozen=True, slots=True)
class Claim:
    """What an expression says of its object. `thing` names an object, a side, or a rank from the left (from 1)."""

    says: Literal["has", "lacks", "side", "not_side", "rank", "kind"]
    thing: str = ""

    @property
    def negated(self) -> bool:
        """Whether it is a denial."""
        return self.says in ("lacks", "not_side")


def holds(what: PairScene, item: Item, claim: Claim) -> bool:
    """Whether `claim` is true of `item`, by the geometry of the scene alone."""
    if claim.says in ("has", "lacks"):
        has = any(other.name == claim.thing and _beside(item, other) for other in what.items if other is not item)
        return has == (claim.says == "has")
    row = sorted(what.of_kind, key=lambda one: one.x_px)
    if claim.says in ("side", "not_side"):
        at_side = item is (row[0] if claim.thing == "left" else row[-1])
        return at_side == (claim.says == "side")
    return item in row and (claim.says == "kind" or row.index(item) == int(claim.thing) - 1)


def _beside(a: Item, b: Item) -> bool:
    gap = max(a.x_px, b.x_px) - min(a.x_px + a.side_px, b.x_px + b.side_px)
    level = min(a.y_px + a.side_px, b.y_px + b.side_px) - max(a.y_px, b.y_px)
    return gap <= BESIDE_PX and level > 0


@dataclass(frozen=True, slots=True)
class Expression:
    """A sentence, what it claims, and the object that the annotator meant."""

    text: str
    claim: Claim
    target: Item


_WORDS = {
    "lacks": (
        "the {a} with no {b} next to it", "the {a} without {one}", "the {a} that has no {b} beside it",
        "the {a} that is not next to {one}", "the {a} that doesn't have {one} next to it",
    ),
    "has": ("the {a} next to the {b}", "the {a} with {one} beside it"),
    "not_side": ("the {a} that is not on the {b}", "the {a} that isn't on the {b} side"),
    "side": ("the {a} on the {b}", "the {a} on the {b} side"),
    "rank": ("the {a} no . {b} from the left", "{a} no . {b}"),  # a look-alike: RefCOCOg has "batter no . 10"
    "kind": ("the {a} {place}", "{a} {place}"),
}  # fmt: skip


def expressions(what: PairScene, seed: int, index: int, count: int, wrong_share: float) -> tuple[Expression, ...]:
    """`count` (at most 12) different expressions of a scene.

    Each is true of its target and of no other object of the kind, except for about `wrong_share` of the negated ones:
    there the annotator meant another object, of which the denial is false.
    """
    rng = rng_for(seed, "toy_expressions", index)
    of_kind = what.of_kind
    things = {item.name for item in what.items} - {what.kind}
    if len(of_kind) < 2:
        things |= {name for name in KINDS if name != what.kind}  # nothing else competes: any absent thing will do
    claims = [Claim(says, thing) for says in ("lacks", "has") for thing in sorted(things)]
    claims += [Claim(says, side) for says in ("side", "not_side") for side in ("left", "right") if len(of_kind) > 1]
    claims += [Claim("rank", str(rank + 1)) for rank in range(len(of_kind)) if len(of_kind) > 1] or [Claim("kind")]
    true = {claim: [item for item in of_kind if holds(what, item, claim)] for claim in claims}
    unique = [(claim, items[0]) for claim, items in true.items() if len(items) == 1]
    negated, plain = [one for one in unique if one[0].negated], [one for one in unique if not one[0].negated]
    written: dict[str, Expression] = {}
    while len(written) < count:  # a scene has at least twelve different sentences
        pool = negated if negated and rng.random() < 0.75 else plain
        kinds = sorted({claim.says for claim, _ in pool})  # each kind of claim alike, whatever the number of its things
        says = kinds[int(rng.random() * len(kinds))]
        pool = [one for one in pool if one[0].says == says]
        claim, target = pool[int(rng.random() * len(pool))]
        draw, other = rng.random(), int(rng.integers(len(of_kind)))
        if claim.negated and draw < wrong_share and len(of_kind) > 1:
            others = [item for item in of_kind if item is not target]
            target = others[other % len(others)]
        text = _say(claim, what, int(rng.integers(len(_WORDS[claim.says]))))
        written.setdefault(text, Expression(text, claim, target))
    return tuple(written.values())


def _say(claim: Claim, what: PairScene, template: int) -> str:
    article = "an" if claim.thing in ("apple", "umbrella") else "a"
    return _WORDS[claim.says][template].format(
        a=what.kind, b=claim.thing, one=f"{article} {claim.thing}", place=what.place.phrase
    )
