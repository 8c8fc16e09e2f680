"""A detector for toyworld: the box of the best match of each object that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from negscale.backends.pixels import pixel_fault
from negscale.backends.tiny.vision import VERSION, find, object_named
from negscale.core.backend import Detection, Image
from negscale.core.config import Config
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import OBJECTS


class TinyDetectorConfig(Config):
    """The embedded detector: sees toyworld's objects in the pixels."""

    kind: Literal["tiny_detector"] = "tiny_detector"
    min_score: float = Field(default=0.5, ge=0, le=1)
    """Boxes with a lower score are left out; from 0.5 on the object is there."""

    def build(self) -> TinyDetector:
        """The backend, not yet loaded."""
        return TinyDetector(self)


class TinyDetector:
    """`Detector`; exact. At most one box an object."""

    exact = True

    def __init__(self, config: TinyDetectorConfig | None = None) -> None:
        self.vocabulary: tuple[str, ...] | None = OBJECTS
        self._least = (config or TinyDetectorConfig()).min_score

    @property
    def id(self) -> str:
        return f"tiny/detector@{VERSION}"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def detect(self, images: Sequence[Image], labels: Sequence[Sequence[str]]) -> list[list[Detection] | Fault]:
        """The boxes of each image, for the objects that are asked for beside it."""
        return [self._one(image, names) for image, names in zip(images, labels, strict=True)]

    def _one(self, image: Image, names: Sequence[str]) -> list[Detection] | Fault:
        if (fault := pixel_fault(image)) is not None:
            return fault
        known = [(label, object_named(label)) for label in names]
        found = [(label, find(image, name)) for label, name in known if name is not None]
        return [Detection(label, d.score, d.box_xyxy_px) for label, d in found if d.score >= self._least]
