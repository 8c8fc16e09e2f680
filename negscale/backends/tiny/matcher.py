"""Image-text matching for toyworld: how much of what a text names is to be seen.

The place of BLIP in NeIn's selection and filter (arXiv 2409.06481, section 3.1). Like a cosine of two vectors, and unlike a
question about one object, it may stay high when one of several objects is missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from negscale.backends.tiny.misbehaviour import Conduct, Misbehaviour
from negscale.backends.tiny.vision import find, object_named
from negscale.core.backend import Picture, Verdict
from negscale.core.config import Config
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import OBJECTS

VERSION = 1
_NOUN = re.compile(rf"\b(?:{'|'.join(OBJECTS)})(?:e?s)?\b", re.IGNORECASE)


class TinyMatcherConfig(Config):
    """The embedded matcher: a text against toyworld's pictures."""

    kind: Literal["tiny_matcher"] = "tiny_matcher"
    threshold: float = Field(default=0.4, ge=0, le=1)
    """The text fits when the score reaches this."""
    misbehaviour: Misbehaviour = Misbehaviour()

    def build(self) -> TinyMatcher:
        """The backend, not yet loaded."""
        return TinyMatcher(self)


class TinyMatcher:
    """`Judge`: the mean score of the objects that the claim names; 0.5 for a text that names none."""

    exact = True
    needs_pixels = True

    def __init__(self, config: TinyMatcherConfig | None = None) -> None:
        self._config = config or TinyMatcherConfig()
        self._conduct = Conduct(self._config.misbehaviour)

    @property
    def id(self) -> str:
        return f"tiny/matcher@{VERSION}"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        """One verdict per (picture, text)."""
        texts = [f"{picture.image_id} {claim}" for picture, claim in zip(pictures, claims, strict=True)]
        self._conduct.before_call(texts, [picture.seed for picture in pictures])
        return [self._look(picture, claim) for picture, claim in zip(pictures, claims, strict=True)]

    def _look(self, picture: Picture, claim: str) -> Verdict | Fault:
        if picture.pixels is None:
            return Fault("missing_pixels", f"the matcher needs the pixels of image {picture.image_id!r}")
        names = objects_in(claim)
        found = [find(picture.pixels, name).score for name in names]
        score = round(float(np.mean(found)), 4) if found else 0.5
        said = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, found, strict=True))
        return Verdict(score >= self._config.threshold, score, said or "names no object")


def objects_in(text: str) -> list[str]:
    """Toyworld's objects that a text names, each once, in order."""
    named = (object_named(found[0]) for found in _NOUN.finditer(text))
    return list(dict.fromkeys(name for name in named if name is not None))
