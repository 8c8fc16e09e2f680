"""Export layouts of small COCO detectors: what the network wants to see and how its raw output becomes boxes.

YOLOX (Ge et al. 2021, without decode-in-inference), NanoDet-m (the first generation's six outputs) and FastestDet. Each
project's own demo thresholds at 0.25 or more and drops the rest; here every class score survives, because ranking
*absence* needs the low scores. The wrong colour order or scaling raises no error and ruins the scores, so that both are
part of the layout and not of the config.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from negscale.core.backend import Image

LayoutName: TypeAlias = Literal["yolox", "nanodet", "fastestdet"]
Raw: TypeAlias = Sequence[np.ndarray]
Boxes: TypeAlias = np.ndarray  # float32[N, 4], xyxy in pixels of the network's input
Scores: TypeAlias = np.ndarray  # float32[N, classes], 0..1

STRIDES = (8, 16, 32)
GREY = 114  # what YOLOX pads with; NanoDet ranks as well with it as with black


@dataclass(frozen=True, slots=True)
class Layout:
    """How one family of exports reads pixels and writes boxes."""

    mean: tuple[float, float, float]  # BGR, subtracted from 0..255
    std: tuple[float, float, float]  # BGR
    letterbox: bool  # False: the picture is stretched to the input's size
    decode: Callable[[Raw, tuple[int, int]], tuple[Boxes, Scores]]  # (outputs, input height and width)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the network's input: input pixel = picture pixel * scale."""

    scale_x: float
    scale_y: float

    def to_picture(self, boxes: Boxes, height: int, width: int) -> np.ndarray:
        """Boxes in pixels of the picture, clipped to it."""
        factors = np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], np.float32)
        return np.clip(boxes / factors, 0, np.array([width, height, width, height], np.float32))


def prepare(image: Image, layout: Layout, size: tuple[int, int]) -> tuple[np.ndarray, Placement]:
    """float32[1, 3, H, W] for an RGB picture, and where the picture lies in it (top left)."""
    height, width = size
    rows, columns = image.shape[:2]
    scale_y, scale_x = height / rows, width / columns
    if layout.letterbox:
        scale_x = scale_y = min(scale_x, scale_y)
    fit = max(1, round(rows * scale_y)), max(1, round(columns * scale_x))
    small = cv2.resize(image, (fit[1], fit[0]), interpolation=cv2.INTER_LINEAR)
    canvas = np.full((height, width, 3), GREY, np.uint8)
    canvas[: fit[0], : fit[1]] = small
    pixels = canvas[:, :, ::-1].astype(np.float32)  # all three were trained on OpenCV's BGR
    pixels = (pixels - np.array(layout.mean, np.float32)) / np.array(layout.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]), Placement(fit[1] / columns, fit[0] / rows)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Logistic function."""
    return 1.0 / (1.0 + np.exp(-values))


def _grid(size: tuple[int, int], strides: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(float32[N, 2] column and row of each cell, float32[N, 1] its stride), level by level, row-major."""
    cells, steps = [], []
    for stride in strides:
        rows, columns = np.mgrid[0 : size[0] // stride, 0 : size[1] // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], 1))
        steps.append(np.full((rows.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)


def _decode_yolox(raw: Raw, size: tuple[int, int]) -> tuple[Boxes, Scores]:
    (output,) = raw
    rows = output[0]  # [cells, x y log(w) log(h) objectness classes...]
    cells, strides = _grid(size, STRIDES)
    centre = (rows[:, :2] + cells) * strides
    half = np.exp(rows[:, 2:4]) * strides / 2
    return np.concatenate([centre - half, centre + half], 1), rows[:, 4:5] * rows[:, 5:]


def _decode_nanodet(raw: Raw, size: tuple[int, int]) -> tuple[Boxes, Scores]:
    levels = len(STRIDES)
    scores = np.concatenate([level[0] for level in raw[:levels]])
    bins = np.concatenate([level[0] for level in raw[levels:]])
    bins = bins.reshape(len(bins), 4, -1)  # one distribution over 0..reg_max per side (generalised focal loss)
    weights = np.exp(bins - bins.max(2, keepdims=True))
    sides = (weights @ np.arange(bins.shape[2], dtype=np.float32)) / weights.sum(2)
    cells, strides = _grid(size, STRIDES)
    centre, sides = (cells + 0.5) * strides, sides * strides
    return np.concatenate([centre - sides[:, :2], centre + sides[:, 2:]], 1), scores


def _decode_fastestdet(raw: Raw, size: tuple[int, int]) -> tuple[Boxes, Scores]:
    (output,) = raw
    channels, rows, columns = output.shape[1:]
    flat = output[0].reshape(channels, -1).T  # [cells, objectness x y w h classes...]
    cells, _ = _grid((rows, columns), (1,))
    extent = np.array([size[1], size[0]], np.float32)
    centre = (cells + np.tanh(flat[:, 1:3])) / np.array([columns, rows], np.float32) * extent
    half = sigmoid(flat[:, 3:5]) * extent / 2
    return np.concatenate([centre - half, centre + half], 1), flat[:, :1] ** 0.6 * flat[:, 5:] ** 0.4


NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
LAYOUTS: dict[LayoutName, Layout] = {
    "yolox": Layout(NO_MEAN, NO_STD, True, _decode_yolox),
    "nanodet": Layout((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), True, _decode_nanodet),
    "fastestdet": Layout(NO_MEAN, (255.0, 255.0, 255.0), False, _decode_fastestdet),
}


def expected_outputs(layout: LayoutName, size: tuple[int, int], classes: int) -> list[tuple[int, ...]]:
    """Shapes of the outputs of such an export, to tell a file of another layout before it answers nonsense."""
    cells = [(size[0] // stride) * (size[1] // stride) for stride in STRIDES]
    if layout == "yolox":
        return [(1, sum(cells), 5 + classes)]
    if layout == "nanodet":
        return [(1, n, classes) for n in cells] + [(1, n, 32) for n in cells]
    return [(1, 5 + classes, size[0] // 16, size[1] // 16)]


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float, most: int) -> np.ndarray:
    """int[K]: boxes that survive greedy non-maximum suppression of one class, best first.

    boxes float[N, 4] xyxy, scores float[N]; ties go to the earlier box. The best box always survives.
    """
    order = np.argsort(-scores, kind="stable")[:most]
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        other = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(other - corner, 0), axis=1)
        order = rest[shared <= overlap * np.maximum(areas[best] + areas[rest] - shared, 1e-9)]
    return np.array(kept, int)
