"""An image maker for toyworld: draws the place and the objects that a prompt affirms.

The place of Stable Diffusion in HardNeg-Syn (NegBench, arXiv 2501.09425, section D.1). Its failures are those of such
models, as parameters: an object that was asked for is left out, one that was not wanted is there, the picture is black.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from negscale.backends.tiny.matcher import objects_in
from negscale.backends.tiny.misbehaviour import Conduct, Misbehaviour
from negscale.core.backend import Image, ImageRequest
from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.core.stage import Fault, Resources
from negscale.datasets.toy_scenes import PLACE_BY_NAME, PLACES, SCENE_PX, Placed, Scene, draw
from negscale.language.polarity import polarity

VERSION = 1
_CELL_PX = SCENE_PX // 3
_JITTER_PX = 5
_MOST = 4  # objects of a picture


class TinyMakerConfig(Config):
    """The embedded maker. The shares are drawn per request and seed, so that another seed may succeed."""

    kind: Literal["tiny_maker"] = "tiny_maker"
    forgets: float = Field(default=0.0, ge=0, le=1)
    """Share of pictures without the object that the prompt names last."""
    insists: float = Field(default=0.0, ge=0, le=1)
    """Share of pictures with an object of the negative prompt."""
    blank: float = Field(default=0.0, ge=0, le=1)
    """Share of black pictures."""
    misbehaviour: Misbehaviour = Misbehaviour()

    def build(self) -> TinyMaker:
        return TinyMaker(self)

    def resources(self) -> Resources:
        """A fraction of a core would do."""
        return Resources(cpus=1.0, row_ms=2.0)


class TinyMaker:
    """`ImageMaker`; exact. A prompt without any of toyworld's objects is a Fault."""

    exact = True

    def __init__(self, config: TinyMakerConfig | None = None) -> None:
        self._config = config or TinyMakerConfig()
        self._conduct = Conduct(self._config.misbehaviour)

    @property
    def id(self) -> str:
        return f"tiny/maker@{VERSION}"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def make(self, requests: Sequence[ImageRequest]) -> list[Image | Fault]:
        """uint8[96, 96, 3] per request."""
        self._conduct.before_call([request.prompt for request in requests], [request.seed for request in requests])
        return [self._one(request) for request in requests]

    def _one(self, request: ImageRequest) -> Image | Fault:
        if self._conduct.malforms(request.prompt, request.seed):
            return Fault("not_a_number", "the picture is NaN (misbehaviour.malformed)", retryable=True)
        what = self.scene_of(request)
        if what is None:
            return Fault("unknown_object", f"the prompt {request.prompt[:200]!r} names none of toyworld's objects")
        if float(rng_for(request.seed, "tiny_maker", "blank").random()) < self._config.blank:
            return np.zeros((SCENE_PX, SCENE_PX, 3), np.uint8)
        return draw(what)

    def scene_of(self, request: ImageRequest) -> Scene | None:
        """What is drawn for a request: the truth about the picture. None where no object is asked for."""
        names = [name for name in objects_in(request.prompt) if polarity(request.prompt, name) == "affirmed"]
        if not names:
            return None
        rng = rng_for(request.seed, "tiny_maker", request.prompt, request.negative_prompt)
        fate, insists, light = rng.random(3).tolist()
        if fate < self._config.forgets:
            names = names[:-1]
        unwanted = objects_in(request.negative_prompt)
        if unwanted and insists < self._config.insists:
            names.append(unwanted[0])
        named = [place for name, place in PLACE_BY_NAME.items() if re.search(rf"\b{name}\b", request.prompt, re.I)]
        place = named[0] if named else PLACES[int(rng.random() * len(PLACES))]
        return Scene(place, _side_by_side(names[:_MOST], rng), int(light * 21) - 10)


def _side_by_side(names: Sequence[str], rng: np.random.Generator) -> tuple[Placed, ...]:
    """Neighbours in the lower two rows of the grid, in order, from a drawn cell on."""
    start = int(rng.random() * 6)
    jitters = rng.integers(0, _JITTER_PX, (len(names), 2)).tolist()
    placed = []
    for number, (name, (dx, dy)) in enumerate(zip(names, jitters, strict=True)):
        row, column = divmod((start + number) % 6, 3)
        column = column if row == 0 else 2 - column  # the lower row runs back: neighbours in order are neighbours drawn
        placed.append(Placed(name, column * _CELL_PX + dx, (row + 1) * _CELL_PX + dy))
    return tuple(placed)
