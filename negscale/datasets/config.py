"""All sources as one config type: the key `kind` chooses."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from negscale.datasets.coco import CocoConfig
from negscale.datasets.folder import FolderConfig
from negscale.datasets.image_text import ParquetConfig
from negscale.datasets.img2dataset import Img2datasetConfig
from negscale.datasets.refcoco import RefcocoConfig
from negscale.datasets.run import RunConfig
from negscale.datasets.toyworld import ToyworldConfig
from negscale.datasets.toyworld_referring import ToyworldReferringConfig
from negscale.datasets.voc import VocConfig
from negscale.datasets.webdataset import WebDatasetConfig

SourceConfig: TypeAlias = Annotated[
    ToyworldConfig | CocoConfig | FolderConfig | ParquetConfig | WebDatasetConfig | Img2datasetConfig | VocConfig | RunConfig,
    Field(discriminator="kind"),
]  # fmt: skip
ReferringSourceConfig: TypeAlias = Annotated[ToyworldReferringConfig | RefcocoConfig, Field(discriminator="kind")]
