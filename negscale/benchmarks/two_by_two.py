"""Any file of 2 x 2 groups: two images, two captions, caption i true of image i and false of the other.

The form is Winoground's (Thrush et al., arXiv 2204.03162); scores are its text, image and group scores. Read are CSV and
JSON lines (or a JSON list) with the columns image_a, image_b, caption_a, caption_b, or image_0 .. caption_1, and where
they are there `group` and `type` (or `tag`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from negscale.benchmarks.released import ReleasedBenchmark
from negscale.core.errors import ConfigError

_NAMES = (("image_a", "image_b", "caption_a", "caption_b"), ("image_0", "image_1", "caption_0", "caption_1"))


def read(path: str, text: str) -> Iterator[Mapping[str, Any]]:
    """Items of a file of groups. Raises ConfigError naming the columns or the row that do not fit."""
    names: tuple[str, ...] = ()
    for number, row in enumerate(_rows(path, text)):
        if not names:
            names = next((known for known in _NAMES if all(name in row for name in known)), ())
            if not names:
                wanted = " or ".join(", ".join(known) for known in _NAMES)
                raise ConfigError(f"{path}: expected the columns {wanted}; it holds {', '.join(map(str, row))}")
        values = [row.get(name) for name in names]
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(f"{path}, row {number}: {name} is {value!r}; expected text")
        kind = row.get("type") or row.get("tag") or ""
        yield {"images": values[:2], "texts": values[2:], "type": str(kind), "group": str(row.get("group") or "")}


def _rows(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    if path.lower().endswith((".csv", ".tsv")):
        return csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.lower().endswith(".tsv") else ",")
    try:
        content = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(r) for r in text.splitlines() if r.strip()]
        )
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: neither JSON nor JSON lines: {error}") from None
    if not all(isinstance(row, dict) for row in content):
        raise ConfigError(f"{path}: expected objects with named fields, got {str(content)[:80]!r}")
    return content


PAPER = "form and scores of Winoground: Thrush et al., arXiv 2204.03162, CVPR 2022"
TWO_BY_TWO = ReleasedBenchmark(
    "two-by-two", "two images, two captions: text, image and group score", "two_by_two",
    ("*two_by_two*.csv", "*two_by_two*.jsonl", "winoground*.jsonl"), "those that the file names",
    "any file with the columns image_a, image_b, caption_a, caption_b", read,
    paper=PAPER,
)  # fmt: skip
