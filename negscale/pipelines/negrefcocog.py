"""NegRefCOCOg: referring expressions with a negation, the referred object against others of its category.

After NegationCLIP (Park et al., "Know 'No' Better", arXiv 2501.10913, section 4; 440 released items, no code). The
defaults give the patches of the two released items whose COCO boxes were at hand; see `negscale.core.boxes`. Beyond the
paper: negation by scope, the target's place drawn, and a check of the denial against the annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from negscale.core.config import Config
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources
from negscale.datasets.config import ReferringSourceConfig
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toyworld_referring import ToyworldReferringConfig
from negscale.language.nouns import COCO_80
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.referring import (
    CandidateRules,
    CheckDenial,
    ChooseCandidates,
    DenialRules,
    SelectNegatedExpression,
)


class CandidatesConfig(Config):
    """Which objects compete, and how their patches are cut."""

    min_side_px: float = Field(default=32.0, ge=0)
    """Shorter side of an annotated box, at least. The paper's size rule is unpublished."""
    min_area_px: float = Field(default=96.0 * 96.0, ge=0)
    """Area of an annotated box, at least; the default is COCO's limit of large objects."""
    max_iou: float = Field(default=0.0, ge=0, le=1)
    """Overlap of two candidates' annotated boxes, at most."""
    expansion: float = Field(default=3.0, ge=1)
    """Side of the patch as a multiple of the box's side, before it meets a border."""
    keep_apart: bool = True
    """A patch ends at the annotated box of another candidate."""
    max_negatives: int = Field(default=1, ge=1, le=99)
    """Other objects per target; the released items have one."""

    def rules(self) -> CandidateRules:
        return CandidateRules(**self.model_dump())


class DenialConfig(Config):
    """When an annotated object counts as being at a candidate, so that an expression may not deny it."""

    margin: float = Field(default=0.25, ge=0)
    """Share of the candidate's width and height by which its box grows for this check."""
    min_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the denied object's area that must lie in the grown box."""


class NegRefConfig(Config):
    """Referring expressions with negation."""

    seed: int = 0
    """Seed of every draw; each row draws from (seed, row id, stage)."""
    source: ReferringSourceConfig = ToyworldReferringConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    denial: DenialConfig = DenialConfig()
    runtime: RuntimeConfig = RuntimeConfig()


def negrefcocog(config: NegRefConfig) -> Pipeline:
    """Select expressions that deny something, choose their candidates, check the denial."""
    vocabulary = OBJECTS if isinstance(config.source, ToyworldReferringConfig) else COCO_80
    denial = DenialRules(config.denial.margin, config.denial.min_share, vocabulary)

    def needs(name: str) -> Resources:
        return stage_resources(name, Resources(), config.runtime)

    return Pipeline(
        name="negationclip/negrefcocog",
        source=config.source.build(),
        steps=(
            SelectNegatedExpression(needs(SelectNegatedExpression.name)),
            ChooseCandidates(config.candidates.rules(), config.seed, needs(ChooseCandidates.name)),
            CheckDenial(denial, needs(CheckDenial.name)),
        ),
    )


def _no_models(config: NegRefConfig) -> Mapping[str, Any]:
    return {}


def _as_it_is(config: NegRefConfig, listing: Listing) -> NegRefConfig:
    return config


NEGREFCOCOG = Recipe(
    name="negrefcocog", config=NegRefConfig, source=lambda config: config.source.build(), build=negrefcocog,
    backends=_no_models, prepare=_as_it_is,
)  # fmt: skip
