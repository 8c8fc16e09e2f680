"""URL lists to images: the first step for sets that are released as URLs (CC3M, CC12M).

The run's folder is a dataset: rows in data/, image bytes in images/*.tar. Another recipe reads it with
``source.kind=run source.uri=RUN``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from negscale.backends.fetch import WebFetcherConfig
from negscale.core.config import Config
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.cc12m import CC12MConfig
from negscale.datasets.run import RunConfig
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.fetch import FetchImage
from negscale.storage.folder import open_folder

UrlSourceConfig: TypeAlias = Annotated[CC12MConfig | RunConfig, Field(discriminator="kind")]
NAME = "fetch"


class FetchConfig(Config):
    """Fetch the image of each URL."""

    source: UrlSourceConfig
    fetcher: WebFetcherConfig = WebFetcherConfig()
    runtime: RuntimeConfig = RuntimeConfig()


def fetch(config: FetchConfig) -> Pipeline:
    """Fetch, check, store."""
    runtime = config.runtime
    store = f"{runtime.run_root.rstrip('/')}/{NAME}/{runtime.version}"  # the run folder: images move with their rows
    build = functools.partial(config.fetcher.build, store)
    resources = stage_resources(FetchImage.name, config.fetcher.resources(), runtime)
    return Pipeline(name=NAME, source=config.source.build(), steps=(FetchImage(build, resources),))


def fetch_backends(config: FetchConfig) -> Mapping[str, Any]:
    """Role -> backend, not loaded."""
    return {"fetcher": config.fetcher.build()}


def fetch_prepared(config: FetchConfig, listing: Listing) -> FetchConfig:
    """`config` with an absolute run root, since workers have working folders of their own."""
    root = open_folder(config.runtime.run_root).uri
    return config.model_copy(update={"runtime": config.runtime.model_copy(update={"run_root": root})})


FETCH = Recipe(
    name="fetch", config=FetchConfig, source=lambda config: config.source.build(), build=fetch,
    backends=fetch_backends, prepare=fetch_prepared,
)  # fmt: skip
