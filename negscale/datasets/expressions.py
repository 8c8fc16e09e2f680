"""Rows of referring-expression sources: cleaned text, unique ids, every annotated object of the image beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.schema import ENVELOPE, EXPRESSION
from negscale.datasets.captions import clean_caption, fault, storable

TABLE = pa.schema([*ENVELOPE, *EXPRESSION])
MAX_EXPRESSION_WORDS = 100


def instance(id_: str, category: str, box_xywh_px: Sequence[float], crowd: bool = False) -> dict[str, Any]:
    """The INSTANCE struct."""
    return {"id": id_, "category": category, "box_xywh_px": list(box_xywh_px), "crowd": crowd}


class ExpressionRows:
    """Collects rows of the expression schema; ids that occurred before are made unique and quarantined."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._rows: list[dict[str, Any]] = []

    def add(
        self, row_id: str, image: Mapping[str, Any] | None, expression: str | None, *, image_id: str, expression_id: str,
        referred_id: str, instances: Sequence[Mapping[str, Any]], broken: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Append one row; `broken` is a fault of the row that outweighs those of its text."""
        text, problem = clean_caption(expression, MAX_EXPRESSION_WORDS)
        row_id = unique = storable(row_id)
        problem, copy = broken or problem, 2
        while unique in self._ids:
            unique = f"{row_id}~{copy}"
            copy += 1
        if unique != row_id:
            problem = problem or fault("duplicate_id", f"id {row_id!r} occurred before; kept as {unique!r}")
        self._ids.add(unique)
        self._rows.append({
            "id": unique, "rejection": None, "quarantine": problem, "image": image, "image_id": storable(image_id),
            "expression": text, "expression_id": storable(expression_id), "referred_id": storable(referred_id),
            "instances": instances,
        })  # fmt: skip

    def table(self) -> pa.Table:
        """The rows so far."""
        return pa.Table.from_pylist(self._rows, schema=TABLE)
