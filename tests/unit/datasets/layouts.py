"""Small datasets in every layout, written into a test's folder."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.image import encode
from negscale.core.pipeline import Source
from negscale.core.schema import CAPTION, ENVELOPE


def picture(value: int, side: int = 8) -> bytes:
    """A PNG of one grey value."""
    return encode(np.full((side, side, 3), value, np.uint8))


def read_all(source: Source) -> list[dict[str, Any]]:
    """Every row of a source, read shard by shard as an executor does; checks what every source promises."""
    listing = source.list()
    rows: list[dict[str, Any]] = []
    assert len({shard.name for shard in listing.shards}) == len(listing.shards)
    at = 0
    for shard in listing.shards:
        part = None if listing.index is None else listing.index.slice(at, shard.rows)
        at += shard.rows
        table = source.read(shard, part)
        assert table.schema.equals(pa.schema([*ENVELOPE, *CAPTION]))
        assert len(table) == shard.rows
        rows += table.to_pylist()
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == len(ids)
    assert json.dumps(dict(listing.identity)) == json.dumps(dict(source.list().identity))
    return rows


def kinds(rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Why each row is quarantined; None = healthy."""
    for row in rows:
        assert row["quarantine"] is None or row["quarantine"]["stage"] == "read"
    return [row["quarantine"] and row["quarantine"]["kind"] for row in rows]


def write_coco(root: Path, images: Sequence[Any], annotations: Sequence[Any], split: str = "val2017") -> Path:
    """COCO's annotation file; returns its path."""
    path = root / "annotations" / f"captions_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """A tar with the members in the given order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
