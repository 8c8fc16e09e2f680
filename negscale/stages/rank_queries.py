"""Where the best right item of each query stands among all items: exact, a block of queries at a time.

NegBench (arXiv 2501.09425, `retrieval.py`) holds queries x items scores. Here a worker holds the items and the scores of one
block; what is kept of a query are four counts, from which any recall follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from negscale.core.stage import Outcome, Resources, Row, Stage

RANKED = pa.schema([(name, pa.int64()) for name in ("above", "tied", "positives", "before")])  # -1 = not scored


class HasVectors(Protocol):
    """Vectors of queries and items."""

    def items(self) -> np.ndarray: ...  # float32[m, d]
    def queries(self, numbers: Sequence[int]) -> np.ndarray: ...  # float32[n, d]


class RankQueries(Stage):
    """Reads a query's number and its right items, writes its place."""

    name = "rank_queries"
    version = 1
    reads = pa.schema([("query", pa.int64()), ("right_items", pa.list_(pa.int64()))])
    writes = RANKED

    def __init__(self, vectors: HasVectors, ranker: Callable[..., Any], resources: Resources) -> None:
        """ranker: (queries, items, right items of each) -> counts as `negscale.metrics.ranking.rank` gives them."""
        self._vectors, self._rank, self.resources = vectors, ranker, resources

    def setup(self) -> None:
        self._vectors.items()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        queries = self._vectors.queries([row["query"] for row in rows])
        ranks = self._rank(queries, self._vectors.items(), [row["right_items"] for row in rows])
        columns = [getattr(ranks, field.name).tolist() for field in RANKED]
        return [dict(zip(RANKED.names, values, strict=True)) for values in zip(*columns, strict=True)]
