"""Captions that deny an object, each with its image, from any source of the project: what `agreement` asks a judge about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa

from negscale.core.backend import Image, Picture
from negscale.core.image import ImageError
from negscale.core.pipeline import Source, conform
from negscale.core.rng import seed_for
from negscale.core.schema import ENVELOPE, extend
from negscale.core.stage import Fault
from negscale.scan.agreement import denied_objects


class ReadsImages(Protocol):
    """Decodes an IMAGE reference; raises ImageError."""

    def read(self, ref: Mapping[str, Any]) -> Image: ...


def denials(
    source: Source, images: ReadsImages, needs_pixels: bool, seed: int = 0
) -> Iterator[tuple[Picture | Fault, str]]:
    """(picture, caption) of every healthy row whose caption denies an object; a Fault where its image cannot be read.

    The source has the columns caption, image and image_id. One image is held at a time: its captions are neighbours.
    """
    last: tuple[Any, Image | Fault | None] = (None, None)
    for table in _tables(source):
        for row in table.select(["id", "quarantine", "caption", "image", "image_id"]).to_pylist():
            if row["quarantine"] is not None or not denied_objects(row["caption"] or ""):
                continue
            if needs_pixels and last[0] != row["image"]:
                last = (row["image"], _read(images, row["image"] or {}))
            if isinstance(last[1], Fault):
                yield last[1], row["caption"]
            else:
                yield Picture(last[1], row["image_id"], seed_for(seed, row["id"], "agreement")), row["caption"]


def _tables(source: Source) -> Iterator[pa.Table]:
    listing, at = source.list(), 0
    for shard in listing.shards:
        index = None if listing.index is None else listing.index.slice(at, shard.rows)
        at += shard.rows
        yield conform(source.read(shard, index), extend(ENVELOPE, source.schema))


def _read(images: ReadsImages, ref: Mapping[str, Any]) -> Image | Fault:
    try:
        return images.read(ref)
    except ImageError as error:
        return Fault(error.kind, str(error))
