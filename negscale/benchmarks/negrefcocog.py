"""NegRefCOCOg: which of two regions a negated expression means (NegationCLIP, Park et al., arXiv 2501.10913).

A JSON list of ``{image, phrase, ref_bbox, bbox_list}``, boxes (x, y, w, h) in pixels; a region is its crop. In all 440
released items the referred box is the first of two; chance is 50 %, and a 95 % interval is about 4.6 points to either
side. What differs from the released scorer: `negscale.metrics.grounding`. Crops beyond the image are cut at its border,
where the release pads with black; long phrases are cut instead of raising.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from negscale.benchmarks.released import ReleasedBenchmark
from negscale.core.errors import ConfigError


def read(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """Items of NegRefCOCOg's JSON. Raises ConfigError naming the item that does not fit."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, list):
        raise ConfigError(f"{path}: expected a list of items, got {type(content).__name__}")
    for number, item in enumerate(content):
        where = f"{path}, item {number}"
        missing = [
            k for k in ("image", "phrase", "ref_bbox", "bbox_list") if not isinstance(item, dict) or k not in item
        ]
        if missing:
            raise ConfigError(f"{where}: no {missing[0]!r}: {str(item)[:120]}")
        boxes = [_box(box, where) for box in item["bbox_list"]]
        target = _box(item["ref_bbox"], where)
        if len(boxes) < 2 or target not in boxes:
            raise ConfigError(f"{where}: ref_bbox {target} is not one of two or more boxes: {boxes}")
        yield {
            "images": [item["image"]], "boxes_xywh_px": boxes, "texts": [item["phrase"]], "answer": boxes.index(target)
        }  # fmt: skip


def _box(values: Any, where: str) -> list[float]:
    good = isinstance(values, list) and len(values) == 4 and all(isinstance(v, (int, float)) for v in values)
    if not good or not all(map(isfinite, values)) or min(values[2:]) <= 0:
        raise ConfigError(f"{where}: {values!r} is no box; expected [x, y, width, height] with a positive size")
    return [float(v) for v in values]


PAPER = "NegationCLIP: Park et al., arXiv 2501.10913, ICCV 2025"
NEGREFCOCOG = ReleasedBenchmark(
    "negrefcocog", "440 negated expressions, each of one of two regions of a COCO train2014 image", "choose_region",
    ("NegRefCOCOg.json", "negrefcocog*.json"), "COCO train2014",
    "JSON: repository parkquasar/NegationCLIP, folder NegRefCOCOg; images: cocodataset.org, train2014 (or train2017 and val2017)",
    read, ("the referred box is the first in every item, and the released scorer gives ties to the first",),
    paper=PAPER,
)  # fmt: skip
