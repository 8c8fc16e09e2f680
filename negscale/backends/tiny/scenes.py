"""A scene writer for toyworld: the places where an object is likely, and what is likely beside it.

The place of Llama-3.1 in HardNeg-Syn (NegBench, arXiv 2501.09425, section D.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from negscale.backends.tiny.misbehaviour import Conduct, Misbehaviour
from negscale.backends.tiny.vision import object_named
from negscale.core.backend import Scene, SceneRequest
from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import PLACES


class TinySceneWriterConfig(Config):
    """The embedded scene writer."""

    kind: Literal["tiny_scene_writer"] = "tiny_scene_writer"
    misbehaviour: Misbehaviour = Misbehaviour()

    def build(self) -> TinySceneWriter:
        return TinySceneWriter(self)


class TinySceneWriter:
    """`SceneWriter`; exact. A label that toyworld does not have is a Fault."""

    exact = True
    id = "tiny/scene_writer@1"

    def __init__(self, config: TinySceneWriterConfig | None = None) -> None:
        self._conduct = Conduct((config or TinySceneWriterConfig()).misbehaviour)

    def load(self) -> None: ...

    def close(self) -> None: ...

    def write(self, requests: Sequence[SceneRequest]) -> list[Scene | Fault]:
        """One scene per request, a function of that request alone."""
        labels, seeds = [request.label for request in requests], [request.seed for request in requests]
        self._conduct.before_call(labels, seeds)
        return [self._one(request) for request in requests]

    def _one(self, request: SceneRequest) -> Scene | Fault:
        if self._conduct.malforms(request.label, request.seed):
            return Fault("unparsable", "expected 'setting | object', got '' (misbehaviour.malformed)", retryable=True)
        name = object_named(request.label)
        if name is None:
            return Fault(
                "unknown_object", f"{request.label!r} is not among the objects of toyworld: {', '.join(OBJECTS)}"
            )
        rng = rng_for(request.seed, "tiny_scene_writer", name)
        at = OBJECTS.index(name)
        chances = np.array([place.weights()[at] for place in PLACES])
        place = PLACES[_drawn(chances, float(rng.random()))]
        beside = place.weights().copy()
        beside[at] = 0
        return Scene(f"a {place.name}", OBJECTS[_drawn(beside, float(rng.random()))])


def _drawn(weights: np.ndarray, draw: float) -> int:
    return min(int(np.searchsorted(np.cumsum(weights) / weights.sum(), draw, "right")), len(weights) - 1)
