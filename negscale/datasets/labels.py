"""Names of objects as rows: what sets that are made from words alone begin with (HardNeg-Syn, arXiv 2501.09425, D.1)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import ENVELOPE
from negscale.datasets.captions import storable
from negscale.datasets.indexed import indexed_listing, read_config_file, safe_name, slice_of_index
from negscale.storage.folder import open_folder

LABEL = pa.schema([("label", pa.string()), ("scene_number", pa.int32())])
TABLE = pa.schema([*ENVELOPE, *LABEL])


class LabelsConfig(Config):
    """A list of names."""

    kind: Literal["labels"] = "labels"
    labels: tuple[str, ...] = ()
    """Names of objects, e.g. [dog, school bus]."""
    file: Location = ""
    """Text file with a name a line, instead of `labels`; of ImageNet's "dog, domestic dog" the first name counts."""
    scenes: int = Field(default=1, ge=1)
    """Rows a name."""
    shard_rows: int = Field(default=64, ge=1)
    """Rows in a unit of work."""

    def build(self) -> LabelsSource:
        """The source."""
        return LabelsSource(self)

    def names(self) -> tuple[str, ...]:
        """The names, each once, in order. Raises ConfigError when there is none."""
        lines: list[str] = list(self.labels)
        if self.file:
            text = read_config_file(open_folder("."), self.file, "source.file").decode("utf-8-sig", "surrogateescape")
            lines += [line.partition(",")[0] for line in text.splitlines()]
        names = tuple(dict.fromkeys(name for line in lines if (name := " ".join(storable(line).split()))))
        if not names:
            raise ConfigError("source.labels and source.file name no object; set one, e.g. source.labels='[dog, bus]'")
        return names


class LabelsSource:
    """Rows "school-bus-0000-3f2a91c4": label, number of the scene, and the start of the label's hash."""

    schema = LABEL

    def __init__(self, config: LabelsConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """A row for each name and scene."""
        names = self.config.names()
        rows: list[dict[str, Any]] = [
            {
                "id": f"{safe_name(name)}-{number:04d}-{sha256(name.encode()).hexdigest()[:8]}", "rejection": None,
                "quarantine": None, "label": name, "scene_number": number,
            }
            for name in names for number in range(self.config.scenes)
        ]  # fmt: skip
        identity = {"labels_sha256": sha256("\n".join(names).encode()).hexdigest(), "scenes": self.config.scenes}
        return indexed_listing("labels", pa.Table.from_pylist(rows, schema=TABLE), self.config.shard_rows, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)
