"""Rows of a nein run on drawn scenes, written by hand, with the images of both columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from negscale.core.backend import Image
from negscale.core.image import ImageError
from negscale.datasets.toy_scenes import paste

SIDE = 96


class Pictures:
    """Reads images by name from a dictionary, as `ImageReader` reads them from a folder; counts decodings."""

    def __init__(self, **images: Image) -> None:
        self.images = images
        self.reads: list[str] = []

    def read(self, ref: Mapping[str, Any]) -> Image:
        self.reads.append(ref["uri"])
        if ref["uri"] not in self.images:
            raise ImageError("missing_image", f"no {ref['uri']}")
        return self.images[ref["uri"]]


def picture(*names: str, side: int = SIDE) -> Image:
    """A pale picture with icons side by side in its upper part."""
    canvas = np.full((side, side, 3), 225, np.uint8)
    for place, name in enumerate(names):
        paste(canvas, name, 2 + 31 * place, 4)
    return canvas


def row(row_id: str = "a#0", **columns: Any) -> dict[str, Any]:
    """A quintuplet: a cat is absent from the truth and added to the input; the caption names a dog."""
    made: dict[str, Any] = {
        "id": row_id, "image": {"uri": "truth"}, "image_with_object": {"uri": "input"}, "image_id": "a",
        "caption": "A dog in the park", "absent_object": "cat", "negative_instruction": "There is no cat.",
        "affirmative_instruction": "There is a cat.", "keep_instruction": "There is no car.",
        "kept_absent_object": "car", "two_objects_instruction": "There is a dog but no cat.", "affirmed_object": "dog",
        "caption_objects": ["dog", "park"], "split": "eval",
    }  # fmt: skip
    return made | columns


def queries(base: Mapping[str, Any], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that Explode makes of one."""
    named = {"keep": base["kept_absent_object"]}
    return [
        {
            **base, "id": f"{base['id']}#{place}",
            "edit_query": {
                "kind": kind, "instruction": base[f"{kind}_instruction"],
                "named_object": named.get(kind, base["absent_object"]),
            },
        }
        for place, kind in enumerate(kinds)
    ]  # fmt: skip
