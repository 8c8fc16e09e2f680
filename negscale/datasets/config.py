"""All sources as one config type: the key `kind` chooses."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from negscale.datasets.coco import CocoConfig
from negscale.datasets.folder import FolderConfig
from negscale.datasets.image_text import ParquetConfig
from negscale.datasets.toyworld import ToyworldConfig
from negscale.datasets.webdataset import WebDatasetConfig

SourceConfig: TypeAlias = Annotated[
    ToyworldConfig | CocoConfig | FolderConfig | ParquetConfig | WebDatasetConfig, Field(discriminator="kind")
]
