"""An object out of one photograph into another: its cutout, its light, its edge.

Edges are feathered inwards only, and colours near the edge are carried out from the inside, so that nothing of the old
background shows. The light is moved by the difference of the two photographs, not to the target's own colours: an orange
stays orange, in the target's light (mean and deviation in Lab as in Reinhard et al., "Color Transfer between Images",
2001, who take the target's for the whole picture).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Pillow

from negscale.backends.instance_bank import Instance
from negscale.backends.instance_masks import instance_mask
from negscale.core.backend import Image
from negscale.core.boxes import Box

_SPREAD_LIMITS = (0.75, 1.33)  # of a channel's deviation: a grey day does not flatten an object to nothing
_MOST_SHIFT = 30.0  # Lab units
_MARGIN_PX = 2
_DIGITS = 3


@dataclass(frozen=True)
class Light:
    """Mean and standard deviation of a photograph in Lab: float64[3] each."""

    mean: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class Cutout:
    """An instance by itself. The mask's window is `box`, whole pixels of the photograph that it comes from."""

    pixels: Image  # uint8[h, w, 3], colours carried outwards over the edge
    mask: np.ndarray  # float32[h, w], 0..1
    light: Light  # of the photograph
    colour: np.ndarray  # float64[3], mean of the instance in Lab


def light_of(image: Image) -> Light:
    """Rounded, so that it is equal on every machine."""
    small = image[:: max(1, image.shape[0] // 256), :: max(1, image.shape[1] // 256)]
    lab = to_lab(small).reshape(-1, 3).astype(np.float64)
    return Light(lab.mean(0).round(_DIGITS), lab.std(0).round(_DIGITS))


def cut_out(one: Instance, photograph: Image) -> Cutout:
    """The instance from its photograph. Raises ValueError when its mask cannot be read or is empty."""
    if photograph.shape[:2] != one.image_hw:
        raise ValueError(
            f"{one.image} has {photograph.shape[1]} x {photograph.shape[0]} pixels, its annotations are of "
            f"{one.image_hw[1]} x {one.image_hw[0]}"
        )
    x, y, w, h = one.box
    left, top = max(0, int(x) - _MARGIN_PX), max(0, int(y) - _MARGIN_PX)
    right = min(one.image_hw[1], int(np.ceil(x + w)) + _MARGIN_PX)
    bottom = min(one.image_hw[0], int(np.ceil(y + h)) + _MARGIN_PX)
    mask = instance_mask(one.segmentation, (left, top, right - left, bottom - top), one.image_hw)
    rows, columns = np.nonzero(mask > 0.5)
    if not len(rows):
        raise ValueError(f"the mask of instance {one.id} covers no pixel of its box")
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    inner = photograph[top:bottom, left:right][window]
    mask = np.ascontiguousarray(mask[window])
    colour = to_lab(inner)[mask > 0.5].astype(np.float64).mean(0).round(_DIGITS)
    return Cutout(_carried_out(inner, mask), mask, light_of(photograph), colour)


def _carried_out(pixels: Image, mask: np.ndarray) -> Image:
    """Colours from well inside the mask carried over its edge: annotators' outlines take some background in."""
    radius = max(1.0, 0.012 * float(np.sqrt(mask.shape[0] * mask.shape[1])))
    core = _blurred(np.pad(mask, 8), radius)[8:-8, 8:-8] > 0.8
    if core.sum() < 0.3 * mask.sum():  # thin things are edge all over
        return pixels
    weight = core.astype(np.float32)
    near = _blurred(weight, 2 * radius)
    carried = np.stack([_blurred(pixels[..., k] * weight, 2 * radius) for k in range(3)], -1)
    carried /= np.maximum(near, 1e-3)[..., None]
    share = np.where(core | (near < 0.02), 1.0, 0.25)[..., None]
    return (pixels * share + carried * (1 - share)).clip(0, 255).round().astype(np.uint8)


def paste(
    target: Image,
    cutout: Cutout,
    box: Box,
    feather_px: float,
    harmonise: float,
    mirrored: bool = False,
    shadow: float = 0.0,
) -> tuple[Image, tuple[float, float, float, float]]:
    """(a copy of `target` with the cutout scaled into `box`, the box of what is seen of it: left, top, right, bottom).

    feather_px: width of the soft edge; harmonise: 0..1, how much of the difference in light is made up for; shadow: 0..1,
    how dark the ground is at the object's foot. Raises ValueError when nothing of the cutout is left at that size.
    """
    height, width = target.shape[:2]
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    w, h = min(width - left, max(1, round(box[2]))), min(height - top, max(1, round(box[3])))
    pixels = Pillow.fromarray(cutout.pixels).resize((w, h), Pillow.Resampling.LANCZOS)
    mask = np.asarray(Pillow.fromarray(cutout.mask).resize((w, h), Pillow.Resampling.BOX))
    colour, alpha = np.asarray(pixels), feathered(mask, feather_px)
    if mirrored:
        colour, alpha = colour[:, ::-1], alpha[:, ::-1]
    rows, columns = np.nonzero(alpha > 0.5)
    if not len(rows):
        raise ValueError(f"nothing is left of an object scaled to {w} x {h} pixels")
    if harmonise:
        colour = relit(colour, cutout.light, light_of(target), harmonise)
    result = target.copy()
    if shadow:
        _shade(result, alpha, left, top, shadow)
    region = result[top : top + h, left : left + w]
    region[:] = (region + (colour.astype(np.float32) - region) * alpha[..., None]).round().clip(0, 255).astype(np.uint8)
    seen = (left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1)
    return result, tuple(map(float, seen))  # type: ignore[return-value]


def _shade(image: Image, alpha: np.ndarray, left: int, top: int, darkness: float) -> None:
    """Darken the ground around the object's foot, in place: without a shadow things seem to float."""
    height = alpha.shape[0]
    foot = np.nonzero((alpha[int(0.85 * height) :] > 0.5).any(0))[0]
    if not len(foot):
        return
    half = 0.6 * (foot[-1] - foot[0] + 1), max(2.0, 0.05 * height)
    middle = left + (foot[0] + foot[-1] + 1) / 2, top + height - half[1] / 2
    rows = slice(max(0, int(middle[1] - 3 * half[1])), min(image.shape[0], int(middle[1] + 3 * half[1]) + 1))
    columns = slice(max(0, int(middle[0] - 3 * half[0])), min(image.shape[1], int(middle[0] + 3 * half[0]) + 1))
    y, x = np.mgrid[rows, columns]
    away = ((x + 0.5 - middle[0]) / half[0]) ** 2 + ((y + 0.5 - middle[1]) / half[1]) ** 2
    light = 1 - darkness * np.exp(-away)
    image[rows, columns] = (image[rows, columns] * light[..., None]).round().astype(np.uint8)


def feathered(mask: np.ndarray, feather_px: float) -> np.ndarray:
    """Alpha that falls to 0 at the mask's outline, within it, over about `feather_px` pixels."""
    pad = int(np.ceil(3 * feather_px)) + 1
    soft = _blurred(np.pad(mask, pad), max(feather_px, 1e-3) / 2)[pad:-pad, pad:-pad]
    return np.clip(2 * soft - 0.9, 0, 1) if feather_px > 0 else mask


def relit(pixels: Image, its: Light, wanted: Light, strength: float) -> Image:
    """`pixels` moved from the light of one photograph towards that of another; uint8[H, W, 3]."""
    lab = to_lab(pixels).astype(np.float64)
    scale = np.clip(wanted.spread / np.maximum(its.spread, 1e-3), *_SPREAD_LIMITS) ** strength
    shift = np.clip(wanted.mean - its.mean, -_MOST_SHIFT, _MOST_SHIFT) * strength
    return to_rgb((lab - its.mean) * scale + its.mean + shift)


def to_lab(image: Image) -> np.ndarray:
    """CIE L*a*b* float32[H, W, 3] of sRGB."""
    return _opencv().cvtColor(image.astype(np.float32) / 255, _opencv().COLOR_RGB2LAB)


def to_rgb(lab: np.ndarray) -> Image:
    """sRGB uint8[H, W, 3] of L*a*b*; colours that sRGB lacks are cut."""
    rgb = _opencv().cvtColor(lab.astype(np.float32), _opencv().COLOR_LAB2RGB)
    return (rgb * 255).round().clip(0, 255).astype(np.uint8)


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    return _opencv().GaussianBlur(np.ascontiguousarray(values, np.float32), (0, 0), sigma)


def _opencv() -> Any:
    import cv2

    return cv2
