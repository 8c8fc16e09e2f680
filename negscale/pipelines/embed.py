"""Vectors of distinct pictures and texts by one dual encoder: what every evaluation of it shares.

`negscale eval` makes the list and starts the run; the rows are vectors by content, which any later run finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from negscale.backends.config import resources_of
from negscale.backends.dual_encoders import EncoderConfig
from negscale.core.config import Config
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.things import PictureReader, ThingsConfig
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.embed import Embed
from negscale.storage.folder import open_folder

NAME = "embed"
WHOLE_SHARD = 1_000_000  # rows of one call: the list says which of them are a batch


class EmbedConfig(Config):
    """Embed a list of things."""

    source: ThingsConfig
    encoder: EncoderConfig
    """Its vectors are kept as they are; training-free scorers turn them later."""
    runtime: RuntimeConfig = RuntimeConfig()


def embed(config: EmbedConfig) -> Pipeline:
    """Read, encode."""
    wish = stage_resources(Embed.name, resources_of(config.encoder), config.runtime)
    pictures = PictureReader(config.source.reader())
    stage = Embed(config.encoder.build, pictures, replace(wish, batch_rows=WHOLE_SHARD))
    return Pipeline(name=NAME, source=config.source.build(), steps=(stage,))


def embed_backends(config: EmbedConfig) -> Mapping[str, Any]:
    """Role -> backend, not loaded."""
    return {"encoder": config.encoder.build()}


def embed_prepared(config: EmbedConfig, listing: Listing) -> EmbedConfig:
    """`config` with absolute roots, since workers have working folders of their own."""
    runtime = config.runtime.model_copy(update={"run_root": open_folder(config.runtime.run_root).uri})
    root = config.source.image_root
    source = config.source.model_copy(update={"image_root": open_folder(root).uri if root else ""})
    return config.model_copy(update={"runtime": runtime, "source": source})


EMBED = Recipe(
    name=NAME, config=EmbedConfig, source=lambda config: config.source.build(), build=embed, backends=embed_backends,
    prepare=embed_prepared,
)  # fmt: skip
