"""NegRefCOCOg's file (NegationCLIP, arXiv 2501.10913; `parkquasar/NegationCLIP`, NegRefCOCOg/NegRefCOCOg.json).

A list of ``{image, phrase, ref_bbox, bbox_list}``, boxes (x, y, w, h) in pixels. What differs: `bbox_list` keeps the
drawn order (the target is first in all 440 released items, where a scorer whose ties go to the first option scores
100 %), `target` is its index there, and `id` names the row. The authors' scorer compares boxes with `ref_bbox`, so it
reads this file as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from negscale.exports.finished import ExportResult, open_finished, require_columns
from negscale.exports.publish import staged_file
from negscale.storage.run_folder import RunFolder

_COLUMNS = ("id", "image", "expression", "boxes_xywh_px", "target")
_DECIMALS = 2  # COCO's own


def export_negrefcocog(run: RunFolder, out: str, allow_over_budget: bool = False) -> ExportResult:
    """Write the kept rows of a finished run to the file `out` (a path or URI), in the order of their shards and ids.

    Raises PlanError for unfinished runs, for runs over their quarantine budget (unless allowed), and for runs without
    referring expressions.
    """
    finished = open_finished(run, allow_over_budget)
    require_columns(finished.schema(), _COLUMNS, "the negrefcocog-json export")
    rows = 0
    with staged_file(out) as path:
        with path.open("w", encoding="utf-8") as file:
            file.write("[")
            for table in finished.tables(_COLUMNS):
                for row in table.to_pylist():
                    file.write((",\n" if rows else "\n") + json.dumps(item_of(row)))
                    rows += 1
            file.write("\n]\n")
        size = path.stat().st_size
    return ExportResult(out, rows, 1, size)


def item_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A kept row as the released file would have it, with `target` and `id`; a drawn scene is named by its URI."""
    boxes = [[round(value, _DECIMALS) for value in box] for box in row["boxes_xywh_px"]]
    uri = row["image"]["uri"]
    name = uri.rpartition("/")[2]
    return {
        "image": name if "." in name else uri, "phrase": row["expression"],
        "ref_bbox": boxes[row["target"]], "bbox_list": boxes, "target": row["target"], "id": row["id"],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Overlap:
    """Distinct (image, phrase) pairs of two files."""

    ours: int
    released: int
    common: int


def overlap_with(items: Iterable[Mapping[str, Any]], released: Iterable[Mapping[str, Any]]) -> Overlap:
    """How many items two NegRefCOCOg files share, by the image's 12-digit number and the phrase's words.

    COCO's numbers are the same in the 2014 and 2017 splits, whose file names differ.
    """
    ours, theirs = {_key(item) for item in items}, {_key(item) for item in released}
    return Overlap(len(ours), len(theirs), len(ours & theirs))


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    name = str(item["image"])
    number = re.search(r"\d{12}", name)
    return number[0] if number else name, " ".join(re.findall(r"[a-z0-9]+", str(item["phrase"]).lower()))
