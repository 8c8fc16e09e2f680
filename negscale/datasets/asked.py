"""Distinct pairs of an image and texts that a multimodal LLM is asked about, named by their content.

A list is one Parquet file, made by whoever wants the answers: an evaluation makes one of all its benchmarks, so that an item
that two of them share (VALSE's existence and its validated part) is asked about once. The file says which rows are a shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError, PlanError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import IMAGE
from negscale.datasets.images import ImageReader
from negscale.storage.folder import open_folder

ASKED = pa.schema([("image", IMAGE), ("texts", pa.list_(pa.string()))])
ASKED_FILE = pa.schema([("id", pa.string()), ("shard", pa.string()), *ASKED])


class AskedConfig(Config):
    """A list of images with texts."""

    kind: Literal["asked"] = "asked"
    uri: Location
    """The Parquet file: id, shard, image, texts."""
    image_root: Location = ""
    """Folder or URI that the images are relative to."""

    def build(self) -> AskedSource:
        """The source."""
        return AskedSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.image_root)


class AskedSource:
    """The rows of the file, in shards as it says."""

    schema = ASKED

    def __init__(self, config: AskedConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """The file's shards; its rows become the run's index. Raises ConfigError without the file, PlanError for another one."""
        folder, _, name = self.config.uri.rpartition("/")
        try:
            table = pq.read_table(pa.BufferReader(open_folder(folder or ".").read(name)))
        except FileNotFoundError:
            raise ConfigError(f"source.uri: there is no list {self.config.uri}") from None
        except pa.ArrowInvalid as error:
            raise PlanError(f"source.uri: {self.config.uri} is no Parquet file: {error}") from None
        if table.schema.names != ASKED_FILE.names:
            raise PlanError(
                f"source.uri: {self.config.uri} has the columns {table.schema.names}, not {ASKED_FILE.names}"
            )
        shards: list[Shard] = []
        names, start = table["shard"].to_pylist(), 0
        for at in range(1, len(names) + 1):
            if at == len(names) or names[at] != names[start]:
                shards.append(Shard(names[start], at - start))
                start = at
        if len({shard.name for shard in shards}) != len(shards):
            raise PlanError(f"source.uri: the rows of a shard of {self.config.uri} do not stand together")
        return Listing(tuple(shards), {"asked": digest_of(table), "rows": len(table)}, table.drop_columns(["shard"]))

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The rows of a shard: those of the index."""
        assert index is not None
        return index


def asked_id(content: bytes, texts: Sequence[str]) -> str:
    """The name of an image with texts. content: SHA-256 of the image's file; the order of the texts counts."""
    digest = sha256(content)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(data)}:".encode() + data)
    return f"asked-{digest.hexdigest()[:48]}"


def digest_of(asked: pa.Table) -> str:
    """32 hex digits over the names of the rows and how they are divided, whatever their images are called."""
    digest = sha256()
    for row in zip(asked["id"].to_pylist(), asked["shard"].to_pylist(), strict=True):
        digest.update("\t".join(row).encode() + b"\n")
    return digest.hexdigest()[:32]
