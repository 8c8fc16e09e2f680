"""NegationCLIP's data pipelines (Park et al., "Know 'No' Better", arXiv 2501.10913, section 3.1).

P1 states the absence of an object that is likely in the picture but not there; Rand-P1 takes any object. Beyond the
paper: strict parsing with new seeds, candidates that no caption of the image mentions, and a check of what was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from negscale.backends.config import (
    ChatNegaterConfig,
    ChatProposerConfig,
    JudgeConfig,
    NegaterConfig,
    ProposerConfig,
    resources_of,
)
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.backend import Strategy
from negscale.core.config import Config
from negscale.core.pipeline import Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources
from negscale.datasets.config import SourceConfig
from negscale.datasets.toyworld import ToyworldConfig
from negscale.language.check import CheckOptions
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.pipelines.statistics import with_statistics
from negscale.stages.captions import CheckNegatedCaption, NegateCaption
from negscale.stages.objects import ProposeAbsentObject, VerifyAbsent


class CheckConfig(Config):
    """Thresholds of the caption check; see `negscale.language.check.CheckOptions`."""

    max_words: int = Field(default=60, ge=1)
    """Longest negated caption; CLIP reads 77 tokens."""
    max_added_words: int = Field(default=20, ge=1)
    """Words that the rewriting may add."""
    max_dropped_words: int = Field(default=0, ge=0)
    """Content words of the caption that may go."""
    max_new_nouns: int = Field(default=0, ge=0)
    """Nouns that may be asserted though no caption of the image has them."""
    max_extra_denied: int = Field(default=0, ge=0)
    """Objects beside the absent one that may be denied."""

    def options(self) -> CheckOptions:
        return CheckOptions(**self.model_dump())


class P1Config(Config):
    """NegationCLIP, pipeline 1."""

    seed: int = 0
    """Seed of every draw; each row draws from (seed, row id, stage, attempt)."""
    strategy: Strategy = "contextual"
    """`contextual` asks for a likely object, `random` for any (Rand-P1)."""
    max_attempts: int = Field(default=3, ge=1)
    """Times a model is asked, each with a new seed, before an unparsable answer is quarantined. The paper asks once."""
    source: SourceConfig = ToyworldConfig()
    proposer: ProposerConfig = ChatProposerConfig()
    verifier: JudgeConfig = TinyJudgeConfig()
    negater: NegaterConfig = ChatNegaterConfig()
    check: CheckConfig = CheckConfig()
    runtime: RuntimeConfig = RuntimeConfig()


def p1(config: P1Config) -> Pipeline:
    """Propose an absent object, verify its absence, rewrite the caption, check what was written."""
    runtime = config.runtime

    def needs(name: str, backend: Config | None) -> Resources:
        return stage_resources(name, resources_of(backend) if backend else Resources(), runtime)

    return Pipeline(
        name="negationclip/p1",
        source=config.source.build(),
        steps=(
            ProposeAbsentObject(
                config.proposer.build, config.strategy, config.seed, config.max_attempts,
                needs("propose_absent_object", config.proposer),
            ),
            VerifyAbsent(
                config.verifier.build, config.source.reader(), config.seed, config.max_attempts,
                needs("verify_absent", config.verifier),
            ),
            NegateCaption(
                config.negater.build, config.seed, config.max_attempts, needs("negate_caption", config.negater)
            ),
            CheckNegatedCaption(config.check.options(), needs("check_negated_caption", None)),
        ),
    )  # fmt: skip


def p1_backends(config: P1Config) -> Mapping[str, Any]:
    """Role -> model, not loaded."""
    return {"proposer": config.proposer.build(), "verifier": config.verifier.build(), "negater": config.negater.build()}


P1 = Recipe(
    name="negationclip_p1", config=P1Config, source=lambda config: config.source.build(), build=p1,
    backends=p1_backends, prepare=with_statistics,
)  # fmt: skip
