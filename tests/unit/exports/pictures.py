"""Real image files for runs of the tests, and rows of questions, retrieval sets and several captions a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from negscale.core.schema import CAPTION, ENVELOPE, IMAGE, NEGATED_CAPTION, extend

STRINGS = pa.list_(pa.string())
OBJECTS = pa.schema([("positive_objects", STRINGS), ("negative_objects", STRINGS)])
QUESTIONS = extend(ENVELOPE, pa.schema([
    ("image", IMAGE), ("options", STRINGS), ("answer", pa.int8()), ("question_type", pa.string())
]))  # fmt: skip
RETRIEVAL = extend(
    extend(ENVELOPE, pa.schema([("image", IMAGE), ("image_id", pa.string()), ("captions", STRINGS)])), OBJECTS
)
SEVERAL = extend(extend(extend(ENVELOPE, CAPTION), OBJECTS), NEGATED_CAPTION)  # NegCap: one row per written caption
ODD = ["a 'quoted' \"cat\"", "no, no; [nothing]", "line\nbreak, tab\t", "back\\slash", "雪 \u2028"]


def reference(uri: str | None, offset: int | None = None, length: int | None = None) -> dict[str, Any]:
    """An IMAGE struct."""
    return {"uri": uri, "offset": offset, "length": length, "sha256": None, "height_px": None, "width_px": None}


def question(row_id: str, **columns: Any) -> dict[str, Any]:
    """A question row; columns override."""
    options = ["A cat.", "A dog and no cat.", "No dog.", "Neither."]
    return {
        "id": row_id, "rejection": None, "quarantine": None, "image": reference(f"val/{row_id}.jpg"), "options": options,
        "answer": 1, "question_type": "hybrid", **columns,
    }  # fmt: skip


def several(row_id: str, negated: str, **columns: Any) -> dict[str, Any]:
    """One of several captions written for a parent; columns override."""
    parent = row_id.partition("#")[0]
    return {
        "id": row_id, "rejection": None, "quarantine": None, "image": reference(f"val/{parent}.jpg"),
        "caption": f"caption of {parent}", "image_captions": [f"caption of {parent}"], "image_id": parent, "caption_id": "0",
        "positive_objects": ["dog", "tree"], "negative_objects": ["cat", "car"], "negated_caption": negated, **columns,
    }  # fmt: skip


def write_picture(path: Path, seed: int, format: str) -> bytes:
    """A small picture on disk; gives its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path, format)
    return path.read_bytes()


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its envelope."""
    return {k: v for k, v in row.items() if k not in ("rejection", "quarantine")}
