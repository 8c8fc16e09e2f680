"""A recipe: what `negscale VERB NAME` looks up. One entry per pipeline; the YAML of the same name lies in configs/recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from negscale.core.config import Config
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a config becomes a pipeline."""

    name: str
    config: type[Config]
    source: Callable[[Any], Any]  # config -> Source
    build: Callable[[Any], Pipeline]  # runs on every worker: light, loads nothing
    backends: Callable[
        [Any], Mapping[str, Any]
    ]  # config -> role -> Backend, not loaded; for ids and checks on the driver
    prepare: Callable[[Any, Listing], Any]  # config -> config with its builds made (statistics fitted)


def stage_resources(name: str, wish: Resources, runtime: RuntimeConfig) -> Resources:
    """A stage's resources: its backend's wish, overridden by what the runtime config says of the stage."""
    actors = runtime.actors.get(name, wish.actors)
    return replace(
        wish, actors=actors, gpus=runtime.gpus.get(name, wish.gpus),
        custom=runtime.custom_resources.get(name, wish.custom),
        batch_rows=runtime.batch_rows.get(name, wish.batch_rows),
        shard_timeout_s=min(wish.shard_timeout_s, runtime.shard_timeout_s),
    )  # fmt: skip
