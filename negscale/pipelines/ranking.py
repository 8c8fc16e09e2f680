"""Ranking of a large set: blocks of queries against all items, on as many workers as there are.

`negscale eval` starts it where a set is too large for one process; the places are the rows of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from negscale.core.config import Config
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources
from negscale.datasets.ranking import RankingSetConfig, RankingVectors
from negscale.metrics.ranking import rank
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.rank_queries import RankQueries
from negscale.storage.folder import open_folder

NAME = "ranking"
WHOLE_SHARD = 1_000_000  # rows of one call: the source says what a block is


class RankingConfig(Config):
    """Rank a set of queries."""

    source: RankingSetConfig
    runtime: RuntimeConfig = RuntimeConfig()


def ranking(config: RankingConfig) -> Pipeline:
    """Rank."""
    wish = stage_resources(RankQueries.name, Resources(), config.runtime)
    stage = RankQueries(RankingVectors(config.source.uri), rank, replace(wish, batch_rows=WHOLE_SHARD))
    return Pipeline(name=NAME, source=config.source.build(), steps=(stage,))


def ranking_backends(config: RankingConfig) -> Mapping[str, Any]:
    """None: vectors are there already."""
    return {}


def ranking_prepared(config: RankingConfig, listing: Listing) -> RankingConfig:
    """`config` with absolute places, since workers have working folders of their own."""
    runtime = config.runtime.model_copy(update={"run_root": open_folder(config.runtime.run_root).uri})
    source = config.source.model_copy(update={"uri": open_folder(config.source.uri).uri})
    return config.model_copy(update={"runtime": runtime, "source": source})


RANKING = Recipe(
    name=NAME, config=RankingConfig, source=lambda config: config.source.build(), build=ranking,
    backends=ranking_backends, prepare=ranking_prepared,
)  # fmt: skip
