"""Binary questions on chest radiographs (NegBench, Alhamoud et al., arXiv 2501.09425, section 3). No model.

Control: "This image shows X." against another finding. Negation: against "This image does not show X.". The drop from
one to the other is NegBench's measure. Beyond the paper: see `negscale.datasets.chexpert_questions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import field_validator

from negscale.core.config import Config
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources
from negscale.datasets.chexpert import FINDING_NAMES, ChexpertConfig
from negscale.datasets.chexpert_questions import ChexpertQuestionsSource, QuestionRules
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.finding_questions import WriteTwoOptions


class ChexpertBinaryConfig(Config):
    """Two-option questions on findings."""

    seed: int = 0
    """Seed of every draw."""
    source: ChexpertConfig
    findings: tuple[str, ...] = (
        "Lung Opacity", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion",
    )  # fmt: skip
    """Findings that are asked about; NegBench's published figures are on Lung Opacity."""
    blank: Literal["ignore", "absent"] = "ignore"
    """What a finding that the report does not mention means."""
    uncertain: Literal["ignore", "present", "absent"] = "ignore"
    """What a finding that the report is unsure of means (the labels' U-Ignore, U-Ones and U-Zeros)."""
    runtime: RuntimeConfig = RuntimeConfig()

    @field_validator("findings")
    @classmethod
    def _known(cls, findings: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in findings if name not in FINDING_NAMES]
        if unknown or not findings:
            raise ValueError(f"expected some of {', '.join(FINDING_NAMES)}; unknown: {unknown}")
        return tuple(dict.fromkeys(findings))


def _source(config: ChexpertBinaryConfig) -> ChexpertQuestionsSource:
    return ChexpertQuestionsSource(
        config.source, QuestionRules(config.findings, config.blank, config.uncertain), config.seed
    )


def chexpert_binary(config: ChexpertBinaryConfig) -> Pipeline:
    """The questions that the labels can answer, balanced, as two texts."""
    resources = stage_resources(WriteTwoOptions.name, Resources(), config.runtime)
    return Pipeline("negbench/chexpert_binary", _source(config), (WriteTwoOptions(config.seed, resources),))


def _no_models(config: ChexpertBinaryConfig) -> Mapping[str, Any]:
    return {}


def _as_it_is(config: ChexpertBinaryConfig, listing: Listing) -> ChexpertBinaryConfig:
    return config


CHEXPERT_BINARY = Recipe(
    name="chexpert_binary", config=ChexpertBinaryConfig, source=_source, build=chexpert_binary, backends=_no_models,
    prepare=_as_it_is,
)  # fmt: skip
