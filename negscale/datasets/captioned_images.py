"""One row an image, with all its captions, from any captioned source (NeIn, arXiv 2409.06481, section 3: a row an image).

The source should give one row an image (`captions_per_image: 1`); of sources that give one a caption, the row of the image's
first caption stands for the image and the others are refused, so that no image is edited twice.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from negscale.core.pipeline import Listing, Shard, Source
from negscale.core.schema import ENVELOPE, IMAGE

SCHEMA = pa.schema([
    ("image", IMAGE), ("image_id", pa.string()), ("image_captions", pa.list_(pa.string())),
    ("first_caption_id", pa.string()),  # as the source names it; it names no other captions
])  # fmt: skip
_ROWS = pa.schema([*ENVELOPE, *SCHEMA])
_REFUSED = {"stage": "read", "reason": "another_caption_of_image"}


class CaptionedImages:
    """The rows of a captioned source without `caption`: what is written about an image later has that column for itself."""

    schema = SCHEMA

    def __init__(self, source: Source) -> None:
        self._source = source
        self.config: Any = getattr(source, "config", None)

    def list(self) -> Listing:
        """The source's own listing."""
        return self._source.list()

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's rows, with `SCHEMA`'s columns."""
        rows = self._source.read(shard, index).to_pylist()
        for row in rows:
            row["first_caption_id"] = row["caption_id"]
            said = row["image_captions"]
            healthy = row.get("rejection") is None and row.get("quarantine") is None
            if healthy and said and row["caption"] != said[0]:
                row["rejection"] = _REFUSED
        return pa.Table.from_pylist([{name: row.get(name) for name in _ROWS.names} for row in rows], schema=_ROWS)
