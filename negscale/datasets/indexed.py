"""Sources whose metadata is one file: rows are made once, on the driver, and handed to workers in slices."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.datasets.images import is_absolute
from negscale.storage.folder import Folder, open_folder


def indexed_listing(name: str, rows: pa.Table, shard_rows: int, identity: Mapping[str, Any]) -> Listing:
    """Shard number i is rows [i * shard_rows, (i + 1) * shard_rows) of the index."""
    shards = tuple(
        Shard(f"{safe_name(name)}-{i:06d}", min(shard_rows, len(rows) - i * shard_rows))
        for i in range(math.ceil(len(rows) / shard_rows))
    )
    return Listing(shards, dict(identity), rows)


def slice_of_index(shard: Shard, index: pa.Table | None) -> pa.Table:
    """The rows of a shard, which its index slice holds complete."""
    if index is None or len(index) != shard.rows:
        found = "none" if index is None else f"{len(index)} rows"
        raise ValueError(
            f"shard {shard.name!r} needs its slice of the listing's index ({shard.rows} rows), got {found}"
        )
    return index


def safe_name(text: str) -> str:
    """`text` as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[-60:] or "data"


def below(folder: Folder, path: str) -> tuple[Folder, str]:
    """(folder, path in it) of a path that is relative to `folder`, absolute, or a URI."""
    if not is_absolute(path):
        return folder, path
    parent, _, name = path.rpartition("/")
    return open_folder(parent or "/"), name


def read_config_file(folder: Folder, path: str, key: str, hint: str = "") -> bytes:
    """The bytes of a file that a config names; ConfigError with what to do when it cannot be had."""
    place, name = below(folder, path)
    try:
        return place.read(name)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ConfigError(f"{key}: there is no file {place.uri}/{name}{hint}") from None
