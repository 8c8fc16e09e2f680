"""A conversation as vLLM's chat templates take it: messages, images before the text of their turn."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image as Pil

from negscale.core.backend import ChatRequest, Image, Turn


def messages_of(request: ChatRequest) -> list[dict[str, Any]]:
    """The request's turns as chat messages; images as PIL, RGB."""
    return [{"role": turn.role, "content": _content(turn)} for turn in request.turns]


def image_problem(image: Image) -> str:
    """Why `image` is not uint8[H, W, 3] with pixels in it; empty when it is."""
    if not isinstance(image, np.ndarray):
        return f"expected an image as a numpy array uint8[H, W, 3], got {type(image).__name__}"
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        return f"expected an image as uint8[H, W, 3] in RGB, got {image.dtype}{list(image.shape)}"
    return ""


def _content(turn: Turn) -> str | list[dict[str, Any]]:
    if turn.image is None:
        return turn.text
    # vLLM takes images of the conversation itself; no URL is ever fetched
    picture = {"type": "image_pil", "image_pil": Pil.fromarray(turn.image)}
    return [picture, {"type": "text", "text": turn.text}]
