"""The fine-tuning data: the real recipes on a drawn world, then the rows that the tests keep for themselves taken out.

Captions are negated by grammar in all recipes (`realiser`), options worded by grammar: the recipes differ in what they
deny, as in the papers, and not in who writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from negscale import app
from negscale.backends.realiser import RealiserConfig
from negscale.backends.statements import GrammarRephraserConfig
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.run import RunConfig
from negscale.datasets.toyworld import ToyworldConfig
from negscale.datasets.toyworld_vqa import ToyworldVqaConfig
from negscale.pipelines import negationclip, negationclip_p2, negbench
from negscale.pipelines.recipe import Recipe
from negscale.science.apart import APART, TRAINED_COLUMNS, ApartConfig
from negscale.training.reader import TrainingRunConfig

RUNS = ("rand_p1", "p1", "p2", "negcap", "negmcq")


@dataclass(frozen=True, slots=True)
class Made:
    """A finished run that may be trained on."""

    uri: str
    rows: int
    refused: int  # by the split

    @property
    def training(self) -> TrainingRunConfig:
        """As a training names it."""
        return TrainingRunConfig(uri=self.uri)


def make_runs(root: str, seed: int, world: int, images: int) -> dict[str, Made]:
    """Every run of `RUNS` below `root`, made or found there. world: the drawn world; seed: of the split and all draws."""
    found = {}
    for name in RUNS:
        recipe, config = _recipe(name, seed, world, images)
        whole = _finished(recipe, config, root, f"{name}-{seed}")
        columns = tuple(column for column in TRAINED_COLUMNS if column in RunConfig(uri=whole).build().schema.names)
        kept = ApartConfig(source=RunConfig(uri=whole, columns=columns), split_seed=seed)
        found[name] = _made(kept, root, f"{name}-{seed}")
    return found


def _recipe(name: str, seed: int, world: int, images: int) -> tuple[Recipe, Any]:
    scenes = ToyworldConfig(images=images, captions_per_image=2, seed=world)
    if name in ("p1", "rand_p1"):
        strategy = "random" if name == "rand_p1" else "contextual"
        config = negationclip.P1Config(seed=seed, strategy=strategy, source=scenes, negater=RealiserConfig())
        return negationclip.P1, config
    if name == "p2":
        asked = ToyworldVqaConfig(images=images, questions_per_image=6, seed=world)
        return negationclip_p2.P2, negationclip_p2.P2Config(seed=seed, source=asked)
    if name == "negcap":
        return negbench.NEGCAP, negbench.NegcapRecipeConfig(seed=seed, source=scenes, writer=RealiserConfig())
    return negbench.NEGMCQ, negbench.McqRecipeConfig(seed=seed, source=scenes, rephraser=GrammarRephraserConfig())


def _finished(recipe: Recipe, config: Any, root: str, version: str) -> str:
    runtime = RuntimeConfig(executor="local", run_root=root, version=version, quarantine_budget=1.0)
    prepared = app.prepare_config(recipe, config.model_copy(update={"runtime": runtime}))
    app.generate(prepared)
    return prepared.spec.uri


def _made(config: ApartConfig, root: str, version: str) -> Made:
    runtime = RuntimeConfig(executor="local", run_root=root, version=version)
    prepared = app.prepare_config(APART, config.model_copy(update={"runtime": runtime}))
    manifest = app.generate(prepared)
    return Made(prepared.spec.uri, manifest.rows_kept, manifest.rows_rejected)
