"""The embed stage: batches as listed, faults in their places, frames as one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from negscale.core.backend import Image
from negscale.core.image import ImageError
from negscale.core.stage import Fault, Reject, Resources, Row
from negscale.stages.embed import Embed


class Lengths:
    """A dual encoder by arithmetic, which notes what came together."""

    exact = True
    id = "lengths"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def load(self) -> None:
        return

    def close(self) -> None:
        return

    def encode_images(self, images: Sequence[Image]) -> np.ndarray:
        self.calls.append(len(images))
        return np.array([[image.mean(), 1.0] for image in images], np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.calls.append(len(texts))
        return np.array([[len(text) or np.nan, 0.0] for text in texts], np.float32)

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        return [len(text) > 3 for text in texts]


class Eyes:
    """Pictures named by their brightness; "clip" has two frames, "gone" cannot be read."""

    def views(self, image: Mapping[str, Any], box: Sequence[float] | None) -> list[Image]:
        if image["uri"] == "gone":
            raise ImageError("missing_image", "gone: no such image")
        levels = (0, 4) if image["uri"] == "clip" else (int(image["uri"]),)
        return [np.full((2, 2, 3), level, np.uint8) for level in levels]


def row(batch: int, *, image: str = "", text: str | None = None) -> Row:
    return {
        "id": image or text,
        "image": {"uri": image} if image else None,
        "box_xywh_px": None,
        "text": text,
        "batch": batch,
    }


def vectors(outcomes: Sequence[Any]) -> list[Any]:
    return [one.kind if isinstance(one, Fault) else np.frombuffer(one["vector"], "<f4").tolist() for one in outcomes]


def test_batches_faults_and_frames() -> None:
    encoder = Lengths()
    stage = Embed(lambda: encoder, Eyes(), Resources())
    stage.setup()
    found = stage.process([
        row(0, image="7"), row(0, image="gone"), row(0, image="clip"), row(1, image="gone"), row(2, image="9"),
        row(0, text="abcd"), row(0, text=""), row(1, text="ab"),
    ])  # fmt: skip
    stage.close()
    mean = np.array([2.0, 1.0]) / np.hypot(2, 1)
    shown = vectors(found)
    assert shown[:2] == [[7.0, 1.0], "missing_image"]
    assert np.allclose(shown[2], mean)
    assert shown[3:] == ["missing_image", [9.0, 1.0], [4.0, 0.0], "not_finite", [2.0, 0.0]]
    assert encoder.calls == [3, 1, 2, 1]  # two pictures of which one has two frames; no call for a batch of faults
    cuts = [one["text_cut"] for one in found if not isinstance(one, (Fault, Reject))]
    assert cuts == [None, None, None, True, False]
    assert next(one for one in found if isinstance(one, Fault) and one.kind == "not_finite").retryable
