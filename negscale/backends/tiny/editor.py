"""An editor for toyworld: paints the named icon at a free place, erases what an instruction denies.

The place of InstructPix2Pix in NeIn (arXiv 2409.06481, section 3.1). It reads words (polarity and scope, by grammar) and
pixels, never the scene; its failures are parameters, so that a filter has something to judge and the truth is known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
from pydantic import Field

from negscale.backends.pixels import pixel_fault
from negscale.backends.tiny.matcher import objects_in
from negscale.backends.tiny.misbehaviour import Conduct, Misbehaviour
from negscale.backends.tiny.vision import find, object_named
from negscale.core.backend import Edit, EditRequest, Image
from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.core.stage import Fault, Resources
from negscale.datasets.toy_icons import ICON_PX, OBJECTS, icon
from negscale.datasets.toy_scenes import PLACES, SCENE_PX, background, paste
from negscale.language.polarity import polarity

VERSION = 1
_ADD = re.compile(r"^\s*(?:add|paint|draw|put)\b", re.IGNORECASE)
_REMOVE = re.compile(r"^\s*(?:remove|erase|delete)\b", re.IGNORECASE)
_TRIES = 40
_DARK = 150  # backgrounds are pale: a pixel with a channel below is part of an object


class TinyEditorConfig(Config):
    """The embedded editor. The shares are drawn per request and seed, so that another seed may succeed."""

    kind: Literal["tiny_editor"] = "tiny_editor"
    habit: Literal["obeys", "removes_named", "does_nothing"] = "obeys"
    """obeys: adds, and removes what is denied; removes_named: removes whatever a sentence names; does_nothing."""
    nothing: float = Field(default=0.0, ge=0, le=1)
    """Share of edits in which nothing is painted."""
    wrong: float = Field(default=0.0, ge=0, le=1)
    """Share of edits in which another object is painted."""
    blank: float = Field(default=0.0, ge=0, le=1)
    """Share of edits that come out black."""
    micro_batch: int = Field(default=8, ge=1)
    """Edits of one model call."""
    fits: int | None = Field(default=None, ge=1)
    """Edits that fit into memory: a larger call runs out of it and is halved until it fits. None = any number."""
    misbehaviour: Misbehaviour = Misbehaviour()

    def build(self) -> TinyEditor:
        """The backend, not yet loaded."""
        return TinyEditor(self)

    def resources(self) -> Resources:
        """A fraction of a core would do."""
        return Resources(cpus=1.0, row_ms=3.0)


class TinyEditor:
    """`ImageEditor`; exact. An edit is a function of its request alone. Unknown objects are a Fault."""

    exact = True

    def __init__(self, config: TinyEditorConfig | None = None) -> None:
        self._config = config or TinyEditorConfig()
        self._conduct = Conduct(self._config.misbehaviour)

    @property
    def id(self) -> str:
        return f"tiny/editor@{VERSION}"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def edit(self, requests: Sequence[EditRequest]) -> list[Edit | Fault]:
        """One edit per request, in order."""
        texts = [f"{request.image_id} {request.instruction}" for request in requests]
        self._conduct.before_call(texts, [request.seed for request in requests])
        size = self._config.micro_batch
        while self._config.fits is not None and size > self._config.fits:
            size = max(1, size // 2)
        return [self._one(request, text, size) for request, text in zip(requests, texts, strict=True)]

    def _one(self, request: EditRequest, text: str, batch: int) -> Edit | Fault:
        if (fault := pixel_fault(request.image, request.image_id)) is not None:
            return fault
        if self._conduct.malforms(text, request.seed):
            return Fault("not_a_number", "the output is NaN (misbehaviour.malformed)", retryable=True)
        rng = rng_for(request.seed, "tiny_editor", request.instruction)
        fate = float(rng.random())
        config = self._config
        if fate < config.blank:
            return Edit(np.zeros_like(request.image), None, batch)
        if _ADD.match(request.instruction) is None or config.habit == "does_nothing":
            return Edit(self._rewritten(request), None, batch)
        name = object_named(request.subject) or next(iter(objects_in(request.instruction)), None)
        if name is None:
            return Fault("unknown_subject", f"{request.instruction!r} names none of toyworld's {len(OBJECTS)} objects")
        if fate < config.blank + config.nothing:
            return Edit(request.image.copy(), None, batch)
        if fate < config.blank + config.nothing + config.wrong:
            others = [other for other in OBJECTS if other != name]
            name = others[int(rng.random() * len(others))]
        return _painted(request.image, name, rng, batch)

    def _rewritten(self, request: EditRequest) -> Image:
        """The image after a sentence about what should (not) be in it."""
        text, habit = request.instruction, self._config.habit
        image = request.image.copy()
        if habit == "does_nothing":
            return image
        for name in objects_in(text):
            denied = _REMOVE.match(text) is not None or polarity(text, name) in ("denied", "both")
            if habit == "removes_named" or denied:
                erase(image, name)
        return image


def _painted(image: Image, name: str, rng: np.random.Generator, batch: int) -> Edit | Fault:
    height, width = image.shape[:2]
    if min(height, width) < ICON_PX:
        return Fault("image_too_small", f"{height} x {width} pixels; an icon needs {ICON_PX}")
    x, y = _free_place(image, rng)
    edited = image.copy()
    paste(edited, name, x, y)
    return Edit(edited, (float(x), float(y), float(x + ICON_PX), float(y + ICON_PX)), batch)


def _free_place(image: Image, rng: np.random.Generator) -> tuple[int, int]:
    """Of some random places the one with the fewest pixels that belong to objects; the first that has none."""
    height, width = image.shape[:2]
    dark = np.zeros((height + 1, width + 1), np.int32)
    dark[1:, 1:] = (image.min(axis=2) < _DARK).cumsum(axis=0).cumsum(axis=1)
    best = (1 << 30, 0, 0)
    for down, right in rng.random((_TRIES, 2)).tolist():
        y, x = int(down * (height - ICON_PX + 1)), int(right * (width - ICON_PX + 1))
        there = dark[y + ICON_PX, x + ICON_PX] - dark[y, x + ICON_PX] - dark[y + ICON_PX, x] + dark[y, x]
        best = min(best, (int(there), x, y))
        if there == 0:
            break
    return best[1], best[2]


def erase(image: Image, name: str) -> bool:
    """Paint the background over the best match of an object, in place; False when it is not to be seen."""
    found = find(image, name)
    if found.score < 0.5:
        return False
    x, y = int(found.box_xyxy_px[0]), int(found.box_xyxy_px[1])
    covered = icon(name)[..., 3] > 0
    region = image[y : y + ICON_PX, x : x + ICON_PX]
    region[covered] = _behind(image)[y : y + ICON_PX, x : x + ICON_PX][covered]
    return True


def _behind(image: Image) -> Image:
    """The empty place: the one of toyworld's that most pixels agree with, else the image's own typical colour."""
    if image.shape[:2] == (SCENE_PX, SCENE_PX):
        differences = [(image.astype(np.int16) - place).astype(np.int16) for place in _backgrounds()]
        lights = [int(np.median(difference)) for difference in differences]
        agree = [
            int((np.abs(difference - light).max(axis=2) <= 1).sum())
            for difference, light in zip(differences, lights, strict=True)
        ]
        best = int(np.argmax(agree))
        if agree[best] > SCENE_PX * SCENE_PX // 4:
            return np.clip(_backgrounds()[best] + np.int16(lights[best]), 0, 255).astype(np.uint8)
    typical = np.median(image.reshape(-1, 3), axis=0).astype(np.uint8)
    return np.broadcast_to(typical, image.shape)


@cache
def _backgrounds() -> tuple[np.ndarray, ...]:
    return tuple(background(place.name) for place in PLACES)
