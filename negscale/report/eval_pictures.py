"""Thumbnails of the items that an evaluation's page shows, within a budget; an image that cannot be had says why."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from PIL import features

from negscale.core.image import ImageError
from negscale.report.gallery_images import ReadsImages, encode_small

SIDES_PX = (288, 224, 176, 128, 96)
_PROBED = 12


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture as a data URI with the size of the image in pixels, or why there is none."""

    src: str
    width: int = 0
    height: int = 0
    why_not: str = ""


@dataclass(slots=True)
class Thumbnails:
    """By reference, and what could not be read."""

    by_reference: dict[str, Thumbnail] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)
    side_px: int = 0


def make_thumbnails(references: Iterable[str], reader: ReadsImages, budget_bytes: int) -> Thumbnails:
    """One thumbnail a distinct reference, as large as lets all of them fit into budget_bytes (of encoded pictures)."""
    wanted = list(dict.fromkeys(references))
    suffix = "webp" if features.check("webp") else "jpg"
    kind = "webp" if suffix == "webp" else "jpeg"
    found = Thumbnails(side_px=_side(wanted, reader, budget_bytes, suffix))
    used = 0
    for name in wanted:
        try:
            image = reader.read({"uri": name})
        except ImageError as error:
            found.unread[error.kind] += 1
            found.by_reference[name] = Thumbnail("", why_not=f"{error.kind}: {error}"[:200])
            continue
        data = encode_small(image, found.side_px, suffix)
        height, width = image.shape[:2]
        if used + len(data) > budget_bytes:
            found.by_reference[name] = Thumbnail("", width, height, "no room in the page: more --megabytes")
            continue
        used += len(data)
        found.by_reference[name] = Thumbnail(
            f"data:image/{kind};base64,{b64encode(data).decode()}", width, height
        )  # fmt: skip
    return found


def _side(wanted: Sequence[str], reader: ReadsImages, budget_bytes: int, suffix: str) -> int:
    """The largest side at which all are likely to fit, judged by some of them."""
    probed = []
    for name in wanted[:: max(1, len(wanted) // _PROBED)][:_PROBED]:
        try:
            probed.append(reader.read({"uri": name}))
        except ImageError:
            continue
    for side in SIDES_PX:
        mean = sum(len(encode_small(image, side, suffix)) for image in probed) / max(1, len(probed))
        if 1.15 * mean * len(wanted) <= budget_bytes:
            return side
    return SIDES_PX[-1]
