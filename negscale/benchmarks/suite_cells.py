"""From an evaluated benchmark to what is kept of it: rows that can be looked at, a cell, and tests between models.

The papers compare single numbers of two tables. Here the comparison is of the same items: McNemar's test on credits, and a
paired bootstrap over images, which takes account of items that share one (`negscale.metrics.paired`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from negscale.benchmarks.cells import Cell, Gain, Pair, Published, headline
from negscale.benchmarks.figures import KS
from negscale.benchmarks.reference import references
from negscale.benchmarks.released import Task
from negscale.benchmarks.released_run import Evaluated, Prepared
from negscale.benchmarks.scoring import GROUP_PARTS, ranks_of
from negscale.core.arrow import compute as pc
from negscale.core.rng import rng_for
from negscale.metrics.paired import mcnemar, paired_bootstrap
from negscale.metrics.retrieval import expected_hits


def cell_of(found: Evaluated, model: str, model_id: str, scorer: str, lineage: Mapping[str, Any]) -> Cell:
    """The cell of one model on one benchmark. model: its key."""
    benchmark, gain = found.benchmark, found.gain
    over = None if gain is None else Gain(gain[0], gain[1].value, gain[1].low, gain[1].high, gain[1].p)
    published = references()
    rows = tuple(
        Published(
            row.model,
            row.metric,
            row.fraction,
            published.sources[row.source].paper,
            published.faults(row),
            row.evidence,
        )
        for row in published.of(benchmark.name)
    )
    main = headline(benchmark.task, found.figures).estimate
    return Cell(
        benchmark.name, benchmark.version, benchmark.paper, benchmark.task, model, model_id, scorer,
        items=main.count + main.missing, missing=main.missing, notes=found.notes, skipped=found.skipped,
        scores=found.figures, controls=found.controls, gain=over, reference=rows, lineage=dict(lineage),
        faults=benchmark.faults,
    )  # fmt: skip


def item_rows(found: Evaluated, one: Prepared) -> pa.Table:
    """The score rows with what each item showed: `image` (paths below the image root), `texts`, `boxes_xywh_px`."""
    items = one.located.items
    place = {name: at for at, name in enumerate(items["id"].to_pylist())}
    chosen = items.take(pa.array([place[name] for name in found.rows["id"].to_pylist()], pa.int64()))
    table = found.rows
    for column, name in (("images", "image"), ("texts", "texts"), ("boxes_xywh_px", "boxes_xywh_px")):
        table = table.append_column(name, chosen[column].combine_chunks())
    return table


def to_parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file; equal tables have equal ones."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def pairs_of(task: Task, rows: Mapping[str, pa.Table], seed: int = 0) -> tuple[Pair, ...]:
    """Tests of every two models on the same items. rows: model key -> `item_rows`; pairs without a common item are left out."""
    found: list[Pair] = []
    for a, b in combinations(rows, 2):
        for score, first, second, images in _credits(task, rows[a], rows[b]):
            if not np.any(~np.isnan(first) & ~np.isnan(second)):
                continue
            gap = paired_bootstrap(first, second, images, rng_for(seed, "pair", score))
            bounds = (a, b, score, gap.value, gap.low, gap.high)
            if task != "retrieve":
                found.append(Pair(*bounds, mcnemar(first, second).exact_p, "mcnemar"))
            found.append(Pair(*bounds, gap.p, "paired bootstrap"))
    return tuple(found)


def _credits(
    task: Task, a: pa.Table, b: pa.Table
) -> Sequence[tuple[str, np.ndarray, np.ndarray, list[str]]]:  # fmt: skip
    """(score, credits of a, credits of b, images) of each score that is tested."""
    if task == "retrieve":
        first, second = (table.filter(pc.equal(table["direction"], "text_to_image")) for table in (a, b))
        images = first["image_id"].to_pylist()
        return [
            (f"text_to_image/recall@{k}", expected_hits(ranks_of(first), k), expected_hits(ranks_of(second), k), images)
            for k in KS
        ]
    names = [(f"{part}_score", f"{part}_credit") for part in GROUP_PARTS] if task == "two_by_two" else []
    images = a["image_id"].to_pylist()
    return [
        (score, _column(a, column), _column(b, column), images)
        for score, column in names or [("accuracy", "credit")]
    ]  # fmt: skip


def _column(table: pa.Table, name: str) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in table[name].to_pylist()], float)
