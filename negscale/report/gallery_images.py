"""Pictures of the gallery: thumbnails, and where an edit changed the image, within a budget of bytes.

The side of the thumbnails is the largest that lets all of them fit, judged by the first rows of the sample. An image that
cannot be had is named on its card and counted. Equal references are read once.
"""

from __future__ import annotations

import io
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image as Pillow
from PIL import features

from negscale.core.backend import Image
from negscale.core.image import ImageError
from negscale.report.gallery_rows import HEAT, Layout

SIDES_PX = (448, 384, 320, 256, 208, 160, 128, 96, 72)
_QUALITY = 76
_PROBED = 16  # rows whose pictures are made at every side, to see how large they get
_THREADS = 8
_SLACK = 1.1  # the probed rows may be smaller than the others
HEAT_FULL = 0.5  # mean |difference| of the three channels, in 0..1, from which the colour is the strongest
# from transparent to bright: the reader sees change on a dimmed grey copy of the picture
_HEAT_STOPS = np.array([[64, 0, 96], [190, 30, 90], [250, 120, 30], [255, 235, 90]], np.float32)


class ReadsImages(Protocol):
    """Decodes an IMAGE reference; raises ImageError."""

    def read(self, ref: Mapping[str, Any]) -> Image: ...


@dataclass(slots=True)
class Pictures:
    """The pictures of a page: encoded bytes in the order of the cards, and what each card shows of them."""

    data: list[bytes] = field(default_factory=list)
    figures: list[list[list[Any]]] = field(default_factory=list)  # a card's [label, picture or -1, why not, boxes]
    side_px: int = 0
    suffix: str = "webp"
    read: int = 0  # distinct images that were read
    unread: Counter[str] = field(default_factory=Counter)  # distinct images that could not be, by kind
    no_room: int = 0  # pictures beyond the budget


@dataclass(frozen=True, slots=True)
class _Made:
    """What one row's images became: bytes by key, or why not; the heat picture; the size of each image in pixels."""

    pictures: Mapping[str, bytes | ImageError]
    heat: bytes | None
    sizes: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Small:
    """An image shrunk at once, so that a worker holds one photograph of full size at a time."""

    pixels: Image
    size: tuple[int, int]  # width and height that it had


def make_pictures(
    rows: Sequence[Mapping[str, Any]], layout: Layout, reader: ReadsImages, budget_bytes: int | None,
) -> Pictures:  # fmt: skip
    """Thumbnails of every row's images and differences; budget_bytes: of all together, None for no limit.

    Deterministic: what does not fit is what comes last in the order of the rows.
    """
    made = Pictures(suffix="webp" if features.check("webp") else "jpg")
    made.side_px = _side(rows, layout, reader, budget_bytes, made.suffix)
    numbers: dict[str, int | ImageError] = {}  # key of an image -> its picture's number
    sizes: dict[str, tuple[int, int]] = {}
    used = 0

    def place(data: bytes) -> int:
        nonlocal used
        if budget_bytes is not None and used + len(data) > budget_bytes:
            made.no_room += 1
            return -1
        used += len(data)
        made.data.append(data)
        return len(made.data) - 1

    for row, work in _worked(rows, layout, reader, made.side_px, made.suffix):
        for key, data in work.pictures.items():
            if key in numbers:
                continue
            if isinstance(data, ImageError):
                made.unread[data.kind] += 1
                numbers[key] = data
            else:
                made.read += 1
                numbers[key] = place(data)
        sizes |= work.sizes
        made.figures.append(_figures(row, layout, numbers, sizes, None if work.heat is None else place(work.heat)))
    return made


def _figures(
    row: Mapping[str, Any], layout: Layout, numbers: Mapping[str, int | ImageError],
    sizes: Mapping[str, tuple[int, int]], heat: int | None,
) -> list[list[Any]]:  # fmt: skip
    figures: list[list[Any]] = []
    for column in layout.images:
        ref = reference(row.get(column))
        if ref is None:
            if column in (layout.pair or (layout.images[0],)):
                figures.append([layout.figure_label(column), -1, "none: the row did not come that far"])
            continue
        found = numbers[key_of(ref)]
        if isinstance(found, ImageError):
            figures.append([layout.figure_label(column), -1, f"{found.kind}: {found}"[:300]])
            continue
        figure: list[Any] = [
            layout.figure_label(column),
            found,
            "" if found >= 0 else "no room in the page: use --folder",
        ]
        if boxes := _boxes(row, column, sizes[key_of(ref)]):
            figure.append(boxes)
        figures.append(figure)
    if heat is not None:
        figures.append([HEAT, heat, "" if heat >= 0 else "no room in the page: use --folder"])
    return figures


def _boxes(row: Mapping[str, Any], column: str, size: tuple[int, int]) -> list[list[float]]:
    """[x, y, width, height, whether it is the one meant] in shares of the picture: candidates, or where an edit was made."""
    width, height = size
    if column == "image_with_object" and (box := row.get("edit_box_xyxy_px")) and len(box) == 4:
        corners = [(box[0], box[1], box[2] - box[0], box[3] - box[1], 1)]
    elif column == "image" and row.get("boxes_xywh_px"):
        corners = [(*box, int(k == row.get("target"))) for k, box in enumerate(row["boxes_xywh_px"]) if len(box) == 4]
    else:
        return []
    return [
        [round(x / width, 4), round(y / height, 4), round(w / width, 4), round(h / height, 4), meant]
        for x, y, w, h, meant in corners
    ]


def reference(value: Any) -> Mapping[str, Any] | None:
    """An IMAGE reference of a column's value (a struct, or a path); None where the row has none."""
    if isinstance(value, str):
        return {"uri": value} if value else None
    return value if value and value.get("uri") else None


def key_of(ref: Mapping[str, Any]) -> str:
    """The same for equal references."""
    return f"{ref['uri']}@{ref.get('offset')}"


def _side(
    rows: Sequence[Mapping[str, Any]], layout: Layout, reader: ReadsImages, budget: int | None, suffix: str
) -> int:
    if budget is None:
        return SIDES_PX[0]
    probed = rows[:: max(1, len(rows) // _PROBED)][:_PROBED]
    refs = [ref for row in rows for column in layout.images if (ref := reference(row.get(column))) is not None]
    images = len({key_of(ref) for ref in refs})
    heats = sum(_has_pair(row, layout) for row in rows)
    small = [image.pixels for row in probed for image in _decoded(row, layout, reader)[0].values()]
    for side in SIDES_PX:
        mean = sum(len(encode_small(pixels, side, suffix)) for pixels in small) / max(1, len(small))
        if mean * _SLACK * (images + heats) <= budget:
            return side
    return SIDES_PX[-1]


def _has_pair(row: Mapping[str, Any], layout: Layout) -> bool:
    return layout.pair is not None and all(reference(row.get(name)) is not None for name in layout.pair)


def _worked(
    rows: Sequence[Mapping[str, Any]], layout: Layout, reader: ReadsImages, side: int, suffix: str
) -> Iterator[tuple[Mapping[str, Any], _Made]]:
    """Rows in order with their pictures, read and shrunk by several threads a little ahead."""
    seen: set[str] = set()
    waiting: deque[tuple[Mapping[str, Any], Future[_Made]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for row in rows:
            keys = {key_of(ref) for name in layout.images if (ref := reference(row.get(name))) is not None}
            waiting.append((row, pool.submit(_work, row, layout, reader, side, suffix, keys - seen)))
            seen |= keys
            if len(waiting) >= 4 * _THREADS:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def _work(
    row: Mapping[str, Any], layout: Layout, reader: ReadsImages, side: int, suffix: str, new: set[str]
) -> _Made:  # fmt: skip
    drawn = _has_pair(row, layout)
    if not new and not drawn:
        return _Made({}, None, {})
    images, errors = _decoded(row, layout, reader, None if drawn else new)
    pictures: dict[str, bytes | ImageError] = {key: error for key, error in errors.items() if key in new}
    pictures |= {key: encode_small(image.pixels, side, suffix) for key, image in images.items() if key in new}
    heat = None
    if layout.pair is not None and drawn:
        before, after = (images.get(key_of(reference(row[name]) or {})) for name in layout.pair)
        if before is not None and after is not None:
            heat = encode_small(heat_picture(before.pixels, after.pixels, side), side, suffix)
    return _Made(pictures, heat, {key: image.size for key, image in images.items()})


def _decoded(
    row: Mapping[str, Any], layout: Layout, reader: ReadsImages, only: set[str] | None = None
) -> tuple[dict[str, _Small], dict[str, ImageError]]:
    images: dict[str, _Small] = {}
    errors: dict[str, ImageError] = {}
    for column in layout.images:
        ref = reference(row.get(column))
        if ref is None or key_of(ref) in images or (only is not None and key_of(ref) not in only):
            continue
        try:
            pixels = reader.read(ref)
        except ImageError as error:
            errors[key_of(ref)] = error
            continue
        small = Pillow.fromarray(pixels, "RGB")
        small.thumbnail((SIDES_PX[0], SIDES_PX[0]), Pillow.Resampling.LANCZOS, reducing_gap=2.0)
        images[key_of(ref)] = _Small(np.asarray(small), (pixels.shape[1], pixels.shape[0]))
    return images, errors


def encode_small(image: Image, side: int, suffix: str = "webp") -> bytes:
    """The bytes of uint8[H, W, 3] shrunk to at most `side` pixels a side; smaller images stay as they are."""
    picture = Pillow.fromarray(image, "RGB")
    picture.thumbnail((side, side), Pillow.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    if suffix == "webp":
        picture.save(buffer, "WEBP", quality=_QUALITY, method=3)
    else:
        picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()


def heat_picture(before: Image, after: Image, side: int = 320) -> Image:
    """Where two images differ: `after` in dimmed grey under colours of the mean |difference| over the channels.

    The scale is fixed (strongest from HEAT_FULL of the full range), so that cards can be compared. uint8[h, w, 3] of the
    shape of `after`, at most `side` a side; `before` is stretched to it when an editor works at a size of its own.
    """
    small = Pillow.fromarray(after, "RGB")
    small.thumbnail((side, side), Pillow.Resampling.BOX)
    other = Pillow.fromarray(before, "RGB").resize(small.size, Pillow.Resampling.BOX)
    a, b = np.asarray(small, np.float32) / 255, np.asarray(other, np.float32) / 255
    strength = np.clip(np.abs(a - b).mean(2) / HEAT_FULL, 0, 1)
    at = strength * (len(_HEAT_STOPS) - 1)
    below = np.minimum(at.astype(np.int64), len(_HEAT_STOPS) - 2)
    share = (at - below)[:, :, None]
    colour = _HEAT_STOPS[below] * (1 - share) + _HEAT_STOPS[below + 1] * share
    grey = (a @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None] * 110 + 20
    opacity = np.sqrt(strength)[:, :, None]  # small changes must be seen; their colour says that they are small
    return (grey * (1 - opacity) + colour * opacity).astype(np.uint8)
