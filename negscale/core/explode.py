"""`Explode`: the only operator that changes the row count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.core.schema import REJECTION
from negscale.core.stage import healthy_mask, set_column


@dataclass(frozen=True, slots=True)
class Explode:
    """One row per element of list column `column`, the element in the new column `into`.

    Child k of row `r` has the id ``r#k``; siblings stay adjacent; an empty or null list is a rejection. The list
    itself stays, so that a row that broke before this step can still be exploded by a retry.
    """

    column: str
    into: str

    @property
    def name(self) -> str:
        """What appears in rejections: ``explode_<column>``."""
        return f"explode_{self.column}"


def apply_explode(explode: Explode, table: pa.Table, step: int = 0) -> pa.Table:
    """Explode the healthy rows of `table`; refused and faulty rows pass through unchanged."""
    lists = table[explode.column].combine_chunks()
    field = pa.field(explode.into, lists.type.value_type)
    live = healthy_mask(table, step)
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    empty = pc.and_(live, pc.equal(lengths, 0)).to_pylist()
    if any(empty):
        marks: list[Any] = [
            {"stage": explode.name, "reason": "empty_list"} if e else r
            for e, r in zip(empty, table["rejection"].to_pylist(), strict=True)
        ]
        table = set_column(table, pa.field("rejection", REJECTION), marks)
    opened = pc.and_(live, pc.greater(lengths, 0)).to_pylist()
    before = table[explode.into].to_pylist() if explode.into in table.column_names else [None] * len(table)
    ids = table["id"].to_pylist()
    parents: list[int] = []
    child_ids: list[str] = []
    elements: list[Any] = []
    for i, row_opens in enumerate(opened):
        if not row_opens:
            parents.append(i)
            child_ids.append(ids[i])
            elements.append(before[i])
            continue
        for k, element in enumerate(lists[i].as_py()):
            parents.append(i)
            child_ids.append(f"{ids[i]}#{k}")
            elements.append(element)
    result = table.take(pa.array(parents, pa.int64()))
    result = set_column(result, pa.field("id", pa.string(), nullable=False), child_ids)
    return set_column(result, field, elements)
