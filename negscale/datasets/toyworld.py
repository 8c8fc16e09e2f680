"""Source of drawn scenes: the offline default.

There are no files: a row is a function of (seed, index), and a picture is drawn when it is read.
"""

from __future__ import annotations

import math
from typing import Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import CAPTION
from negscale.datasets.captions import CaptionRows, image_ref
from negscale.datasets.images import ImageReader
from negscale.datasets.toy_scenes import SCENE_PX, captions, scene

VERSION = 1  # of the drawings and captions; bears identity


class ToyworldConfig(Config):
    """Drawn scenes with two or three captions each."""

    kind: Literal["toyworld"] = "toyworld"
    images: int = Field(default=256, ge=1)
    """Scenes drawn."""
    captions_per_image: int = Field(default=2, ge=1, le=5)
    """Rows per scene."""
    seed: int = 0
    """The world: other seeds give other scenes."""
    shard_rows: int = Field(default=512, ge=1)
    """Rows in a unit of work, rounded down to whole images."""

    def build(self) -> ToyworldSource:
        """The source."""
        return ToyworldSource(self)

    def reader(self) -> ImageReader:
        """Draws the pictures."""
        return ImageReader()


class ToyworldSource:
    """Rows "toy-00000042-0": scene 42, caption 0. All rows of a scene lie in one shard."""

    schema = CAPTION

    def __init__(self, config: ToyworldConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Shards by arithmetic; nothing is drawn."""
        per_shard = max(1, self.config.shard_rows // self.config.captions_per_image)
        shards = tuple(
            Shard(
                f"toyworld-{number:06d}", self.config.captions_per_image * self._count(number, per_shard), str(number)
            )
            for number in range(math.ceil(self.config.images / per_shard))
        )
        return Listing(shards, {"toyworld": VERSION, "images": self.config.images, "seed": self.config.seed})

    def _count(self, number: int, per_shard: int) -> int:
        return min(per_shard, self.config.images - number * per_shard)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The envelope and the caption columns of the shard's scenes."""
        config = self.config
        per_shard = max(1, config.shard_rows // config.captions_per_image)
        number = int(shard.where)
        rows = CaptionRows()
        for image in range(number * per_shard, number * per_shard + self._count(number, per_shard)):
            texts = captions(scene(config.seed, image), config.seed, image, config.captions_per_image)
            ref = image_ref(f"toyworld:{config.seed}/{image}", height_px=SCENE_PX, width_px=SCENE_PX)
            name = f"toy-{image:08d}"
            for k, text in enumerate(texts):
                rows.add(f"{name}-{k}", ref, text, image_id=name, caption_id=str(k), image_captions=texts)
        return rows.table()
