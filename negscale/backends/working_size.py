"""The size at which an editor works, and the way there and back.

InstructPix2Pix's script (`edit_cli.py`, which NeIn runs) scales the long side to 512 px, rounds the short one up to a
multiple of 64 and crops the middle, so that the edited picture shows less than the source: NeIn then compares the two pixel by
pixel although they are not aligned. What differs: by default the whole picture is worked on and the edit comes back in
the source's size; `crop` is the script's way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from negscale.core.backend import Image

Fit = Literal["whole", "crop"]


@dataclass(frozen=True, slots=True)
class WorkingSize:
    """Scales pictures for an editor. `long_px` 0 = as they are."""

    long_px: int
    multiple_px: int
    fit: Fit

    def of(self, height_px: int, width_px: int) -> tuple[int, int]:
        """(height, width) at which a picture of this size is worked on.

        >>> WorkingSize(512, 64, "crop").of(427, 640), WorkingSize(512, 64, "whole").of(427, 640)
        ((384, 512), (320, 512))
        """
        if not self.long_px:
            return height_px, width_px
        factor, step = self.long_px / max(height_px, width_px), self.multiple_px
        if self.fit == "crop":
            short = min(height_px, width_px)
            factor = math.ceil(short * factor / step) * step / short
            # a panorama would grow far beyond the long side: it is cut at it
            sides = [min(int(side * factor) // step * step, self.long_px) for side in (height_px, width_px)]
        else:
            sides = [math.floor(side * factor / step + 0.5) * step for side in (height_px, width_px)]
        height, width = (max(step, side) for side in sides)
        return height, width

    def fitted(self, image: Image) -> Image:
        """`image` at its working size."""
        height, width = self.of(*image.shape[:2])
        if image.shape[:2] == (height, width):
            return image
        picture, how = Pillow.fromarray(image), Pillow.Resampling.LANCZOS
        if self.fit == "crop":
            return np.asarray(ImageOps.fit(picture, (width, height), method=how))
        return np.asarray(picture.resize((width, height), how))

    def restored(self, edited: Image, source: Image) -> Image:
        """`edited` in the size of `source`; as it is when it shows a cut-out."""
        if self.fit == "crop" or edited.shape == source.shape:
            return edited
        height, width = source.shape[:2]
        return np.asarray(Pillow.fromarray(edited).resize((width, height), Pillow.Resampling.LANCZOS))
