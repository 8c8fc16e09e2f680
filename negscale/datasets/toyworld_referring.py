"""Source of referring expressions on drawn scenes: the offline default of NegRefCOCOg.

There are no files: a row is a function of (seed, index), and a picture is drawn when it is read. A share of the negated
expressions is wrong on purpose, as annotators are, so that a recipe's checks have something to find.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.backend import Image
from negscale.core.config import Config
from negscale.core.image import encode
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import EXPRESSION
from negscale.datasets.captions import image_ref
from negscale.datasets.expressions import ExpressionRows, instance
from negscale.datasets.images import ImageReader
from negscale.datasets.toy_pairs import HEIGHT_PX, WIDTH_PX, draw_pairs, expressions, pair_scene

VERSION = 1  # of the drawings and expressions; bears identity
_URI = re.compile(r"toypairs:(?P<seed>-?\d+)/(?P<index>\d+)")


class PairsReader(ImageReader):
    """Draws the scenes."""

    def __reduce__(self) -> tuple[type[PairsReader], tuple[Any, ...]]:
        return PairsReader, ()

    def read(self, ref: Mapping[str, Any]) -> Image:
        """Pixels uint8[384, 960, 3] of an IMAGE struct ``toypairs:SEED/INDEX``; raises ImageError for other URIs."""
        if (drawn := _URI.fullmatch(ref["uri"] or "")) is None:
            return super().read(ref)
        return draw_pairs(pair_scene(int(drawn["seed"]), int(drawn["index"])))

    def read_bytes(self, ref: Mapping[str, Any]) -> bytes:
        """As PNG."""
        return encode(self.read(ref)) if _URI.fullmatch(ref["uri"] or "") else super().read_bytes(ref)


class ToyworldReferringConfig(Config):
    """Drawn scenes with several objects of one kind."""

    kind: Literal["toyworld_referring"] = "toyworld_referring"
    images: int = Field(default=256, ge=1)
    """Scenes drawn."""
    expressions_per_image: int = Field(default=2, ge=1, le=5)
    """Rows per scene."""
    wrong_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the negated expressions whose denial is false of the object that they are said to mean."""
    seed: int = 0
    """The world: other seeds give other scenes."""
    shard_rows: int = Field(default=512, ge=1)
    """Rows in a unit of work, rounded down to whole images."""

    def build(self) -> ToyworldReferringSource:
        """The source."""
        return ToyworldReferringSource(self)

    def reader(self) -> PairsReader:
        """Draws the pictures."""
        return PairsReader()


class ToyworldReferringSource:
    """Rows "toyref-00000042-0": scene 42, expression 0. All rows of a scene lie in one shard."""

    schema = EXPRESSION

    def __init__(self, config: ToyworldReferringConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Shards by arithmetic; nothing is drawn."""
        config, scenes = self.config, self._scenes_a_shard()
        counts = [min(scenes, config.images - first) for first in range(0, config.images, scenes)]
        shards = tuple(
            Shard(f"toyref-{number:06d}", count * config.expressions_per_image, str(number))
            for number, count in enumerate(counts)
        )
        return Listing(shards, {"toyworld_referring": VERSION, "images": config.images, "seed": config.seed})

    def _scenes_a_shard(self) -> int:
        return max(1, math.floor(self.config.shard_rows / self.config.expressions_per_image))

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The envelope and the expression columns of the shard's scenes."""
        config = self.config
        first = int(shard.where) * self._scenes_a_shard()
        rows = ExpressionRows()
        for number in range(first, min(first + self._scenes_a_shard(), config.images)):
            what = pair_scene(config.seed, number)
            said = expressions(what, config.seed, number, config.expressions_per_image, config.wrong_share)
            image = image_ref(f"toypairs:{config.seed}/{number}", height_px=HEIGHT_PX, width_px=WIDTH_PX)
            objects = [instance(item.id, item.name, item.box_xywh_px) for item in what.items]
            for k, one in enumerate(said):
                rows.add(
                    f"toyref-{number:08d}-{k}", image, one.text, image_id=f"toyref-{number:08d}", expression_id=str(k),
                    referred_id=one.target.id, instances=objects,
                )  # fmt: skip
        return rows.table()
