"""What the adapters of vision models share: is this a picture, which pictures go together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from negscale.core.backend import Image
from negscale.core.stage import Fault

_T = TypeVar("_T")
_A = TypeVar("_A")


def pixel_fault(image: Image | None, image_id: str = "") -> Fault | None:
    """The Fault that stands for what is no uint8[H, W, 3] picture; None for one."""
    named = f"image {image_id!r}: " if image_id else ""
    if image is None:
        return Fault("no_pixels", f"{named}came without pixels; this backend needs them")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        return Fault("bad_pixels", f"{named}expected uint8[H, W, 3], got {image.dtype}{list(image.shape)}")
    return None


def in_batches(jobs: Sequence[_T], size: int, run: Callable[[Sequence[_T]], Sequence[_A]]) -> list[_A]:
    """`run` over `jobs` in slices of `size`; its answers in order."""
    answers: list[_A] = []
    for start in range(0, len(jobs), size):
        answers += run(jobs[start : start + size])
    return answers


def need_pictures(images: Sequence[Image]) -> None:
    """Raise ValueError naming the first array that is no picture."""
    for number, image in enumerate(images):
        fault = pixel_fault(image)
        if fault is not None:
            raise ValueError(f"image {number}: {fault.message}")
