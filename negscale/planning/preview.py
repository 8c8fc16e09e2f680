"""`preview`: a few rows of the real source through the real models, before money is spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from negscale.core.pipeline import Listing, Pipeline, Shard, Source

_PLACES = 4  # shards, evenly spread over the source, that the rows come from


def preview_listing(listing: Listing, rows: int) -> Listing:
    """Up to `rows` rows of a listing, from shards spread over the whole source."""
    shards = [shard for shard in listing.shards if shard.rows]
    starts, at = {}, 0
    for shard in listing.shards:
        starts[shard.name] = at
        at += shard.rows
    count = min(_PLACES, len(shards), max(1, rows))
    picked: list[Shard] = []
    slices: list[pa.Table] = []
    left = rows
    for n in range(count):
        shard = shards[n * len(shards) // count]
        take = min(shard.rows, -(-left // (count - n)))
        left -= take
        picked.append(Shard(shard.name, take, shard.where))
        if listing.index is not None:
            slices.append(listing.index.slice(starts[shard.name], take))
    index = pa.concat_tables(slices) if slices else None
    return Listing(tuple(picked), {**listing.identity, "preview_rows": rows}, index)


class PreviewSource:
    """The first rows of the picked shards."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.schema = source.schema

    def list(self) -> Listing:
        return self._source.list()

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        if index is not None:
            return self._source.read(shard, index)
        # sources without an index know their whole shards only
        whole = next(s for s in self._source.list().shards if s.name == shard.name)
        return self._source.read(whole, None).slice(0, shard.rows)


def preview_pipeline(build: Callable[[Any], Pipeline], config: Any) -> Pipeline:
    """The pipeline of a config with its source cut short; top-level, so that workers can build it."""
    pipeline = build(config)
    return Pipeline(pipeline.name, PreviewSource(pipeline.source), pipeline.steps, pipeline.facts)
