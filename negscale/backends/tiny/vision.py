"""Eyes for toyworld: a matched filter over the pixels, and the judge that looks through it.

The place of NegationCLIP's LLaVA check (arXiv 2501.10913, section 3) in tests and demos. It knows the sixteen icons but
not the scene: the icon's main colour is sought in the picture, its silhouette correlated with that mask, and the
drawing compared in full colour where they agree best.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from negscale.backends.tiny.misbehaviour import Conduct, Misbehaviour
from negscale.core.backend import Detection, Image, Picture, Verdict
from negscale.core.config import Config
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import ICON_PX, OBJECTS, icon

VERSION = 1
_NEAR = 40.0  # RGB distance that counts as the same colour; twice what JPEG at quality 75 does to flat areas
_CANDIDATES = 3
_FLOOR, _CEILING = 0.3, 0.9  # share of agreeing pixels: by chance, and of a clean match

_ARTICLE = re.compile(r"^(?:an?|the|any|some)\s+")
_SINGULAR = {f"{name}es" if name.endswith("ch") else f"{name}s": name for name in OBJECTS}


def object_named(text: str) -> str | None:
    """The one of OBJECTS that `text` names ("a tree", "Trees."), or None."""
    word = _ARTICLE.sub("", text.strip().lower().strip(" .!?'\""))
    word = _SINGULAR.get(word, word)
    return word if word in OBJECTS else None


@dataclass(frozen=True)
class _Template:
    colour: np.ndarray  # float32[K, 3], the fully opaque pixels
    rows: np.ndarray  # int[K]
    columns: np.ndarray  # int[K]
    main: np.ndarray  # float32[3], the most frequent colour that is not pale
    silhouette: np.ndarray  # float32[28, 28], 1 where the main colour is


@cache
def _template(name: str) -> _Template:
    rgba = icon(name)
    rows, columns = np.nonzero(rgba[..., 3] == 255)
    colour = rgba[rows, columns, :3]
    values, counts = np.unique(colour, axis=0, return_counts=True)
    # backgrounds are pale: paper and dials would be found everywhere
    main = values[int(np.argmax(counts * (values.min(axis=1) < 150)))].astype(np.float32)
    near = (_distance(rgba[..., :3], main) < _NEAR) & (rgba[..., 3] == 255)
    return _Template(colour.astype(np.float32), rows, columns, main, near.astype(np.float32))


def _distance(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return np.sqrt(((pixels.astype(np.float32) - colour) ** 2).sum(axis=-1))


def find(image: Image, name: str) -> Detection:
    """The best match of one of OBJECTS in an image uint8[H, W, 3]; score 0..1, at least 0.5 = it is there."""
    height, width = image.shape[:2]
    if height < ICON_PX or width < ICON_PX:
        return Detection(name, 0.0, (0, 0, 0, 0))
    template = _template(name)
    mask = _distance(image, template.main) < _NEAR
    if mask.sum() < 0.4 * template.silhouette.sum():
        return Detection(name, 0.0, (0, 0, 0, 0))
    spectrum = np.fft.rfft2(mask.astype(np.float32)) * np.conj(np.fft.rfft2(template.silhouette, s=mask.shape))
    # counts of agreeing pixels are whole numbers: rounding makes the choice equal on every machine
    overlap = np.rint(np.fft.irfft2(spectrum, s=mask.shape))[: height - ICON_PX + 1, : width - ICON_PX + 1]
    best = (-1.0, 0, 0)
    for at in np.argsort(-overlap, axis=None, kind="stable")[:_CANDIDATES]:
        y, x = (int(value) for value in np.unravel_index(at, overlap.shape))
        seen = image[template.rows + y, template.columns + x]
        best = max(best, (float((_distance(seen, template.colour) < _NEAR).mean()), y, x))
    share, y, x = best
    score = float(np.clip((share - _FLOOR) / (_CEILING - _FLOOR), 0, 1))
    return Detection(name, round(score, 4), (x, y, x + ICON_PX, y + ICON_PX))


class TinyJudgeConfig(Config):
    """The embedded judge: sees toyworld's objects in the pixels."""

    kind: Literal["tiny_judge"] = "tiny_judge"
    misbehaviour: Misbehaviour = Misbehaviour()

    def build(self) -> TinyJudge:
        """The backend, not yet loaded."""
        return TinyJudge(self)


class TinyJudge:
    """Judge: is the object in the picture? An object that toyworld does not have is a Fault."""

    exact = True
    needs_pixels = True

    def __init__(self, config: TinyJudgeConfig | None = None) -> None:
        self._conduct = Conduct((config or TinyJudgeConfig()).misbehaviour)

    @property
    def id(self) -> str:
        return f"tiny/judge@{VERSION}"

    def load(self) -> None:
        for name in OBJECTS:
            _template(name)

    def close(self) -> None:
        return None

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        """One verdict per (picture, claim); a claim is the name of an object."""
        texts = [f"{picture.image_id} {claim}" for picture, claim in zip(pictures, claims, strict=True)]
        self._conduct.before_call(texts, [picture.seed for picture in pictures])
        return [self._look(*item) for item in zip(pictures, claims, texts, strict=True)]

    def _look(self, picture: Picture, claim: str, text: str) -> Verdict | Fault:
        if self._conduct.malforms(text, picture.seed):
            return Verdict(None, 0.5, "perhaps, perhaps not")
        name = object_named(claim)
        if name is None:
            return Fault("unknown_object", f"{claim!r} is not among the objects of toyworld: {', '.join(OBJECTS)}")
        if picture.pixels is None:
            return Fault("missing_pixels", f"the judge needs the pixels of image {picture.image_id!r}")
        found = find(picture.pixels, name)
        return Verdict(found.score >= 0.5, found.score, f"{name} {found.score:.3f} at {found.box_xyxy_px}")
