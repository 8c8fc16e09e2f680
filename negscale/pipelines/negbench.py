"""NegBench's data (Alhamoud et al., arXiv 2501.09425): captions that also say what is missing, and questions about it.

`negcap` writes up to three negated captions a caption (fine-tuning, section 2.3), `retrieval_neg` one (evaluation, 2.2);
`negmcq` asks one four-way question a caption, `mcq_neg` up to three an image. All share the head: list the objects,
propose absent ones, verify both in the image. Beyond the paper: every row and the positives are verified too, every
caption and every option is checked after it was written, and options are shuffled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from negscale.backends.config import JudgeConfig, resources_of
from negscale.backends.negbench_config import (
    ChatExtractorConfig,
    ChatListProposerConfig,
    ChatListValidatorConfig,
    ChatNegcapConfig,
    ChatRephraserConfig,
    ExtractorConfig,
    ListProposerConfig,
    NegcapConfig,
    RephraserConfig,
)
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.config import Config
from negscale.core.explode import Explode
from negscale.core.pipeline import Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources, Stage
from negscale.datasets.config import SourceConfig
from negscale.datasets.toyworld import ToyworldConfig
from negscale.pipelines.negationclip import CheckConfig
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.pipelines.statistics import with_statistics
from negscale.stages.captions import CheckNegatedCaption
from negscale.stages.negcap import DrawAbsentObjects, WriteNegCap
from negscale.stages.object_lists import ExtractObjects, ProposeNegatives, ValidateLists, VerifyObjects
from negscale.stages.questions import PlanQuestions, WriteOptions


class ObjectsConfig(Config):
    """The head that all of NegBench's sets share."""

    seed: int = 0
    """Seed of every draw; each row draws from (seed, row id, stage, attempt)."""
    max_attempts: int = Field(default=3, ge=1)
    """Times a model is asked, each with a new seed, before an unparsable answer is quarantined. The paper asks once."""
    source: SourceConfig = ToyworldConfig()
    extractor: ExtractorConfig = ChatExtractorConfig()
    proposer: ListProposerConfig = ChatListProposerConfig()
    proposals: int = Field(default=5, ge=1)
    """Absent objects proposed a row, before verification."""
    validator: ChatListValidatorConfig | None = None
    """An LLM that is asked whether the lists hold objects only (section 2.3)."""
    verifier: JudgeConfig = TinyJudgeConfig()
    verify_positives: bool = True
    """Look for the listed objects too; the paper verifies the negatives only."""
    runtime: RuntimeConfig = RuntimeConfig()


class NegcapRecipeConfig(ObjectsConfig):
    """Captions that also say what is missing."""

    captions: int = Field(default=3, ge=1)
    """Negated captions a row, each about another absent object (M in the paper)."""
    writer: NegcapConfig = ChatNegcapConfig()
    check: CheckConfig = CheckConfig()


class McqRecipeConfig(ObjectsConfig):
    """Four-way questions."""

    questions: int = Field(default=1, ge=1)
    """Questions a row, each about another absent object."""
    medium: Literal["image", "video"] = "image"
    """What the templates call it."""
    rephraser: RephraserConfig | None = ChatRephraserConfig()
    """None keeps the templates (the paper's "templated" sets)."""
    max_option_words: int = Field(default=40, ge=4)


@dataclass(frozen=True, slots=True)
class _Needs:
    runtime: RuntimeConfig

    def __call__(self, name: str, backend: Config | None = None) -> Resources:
        return stage_resources(name, resources_of(backend) if backend else Resources(), self.runtime)


def objects_steps(config: ObjectsConfig, least_positives: int) -> tuple[Stage, ...]:
    """List, propose, (validate,) verify. Rows end with `least_positives` seen objects and one absent at least."""
    needs = _Needs(config.runtime)
    steps: list[Stage] = [
        ExtractObjects(
            config.extractor.build, least_positives, config.seed, config.max_attempts,
            needs("extract_objects", config.extractor),
        ),
        ProposeNegatives(
            config.proposer.build, config.proposals, config.seed, config.max_attempts,
            needs("propose_negatives", config.proposer),
        ),
    ]  # fmt: skip
    if config.validator is not None:
        validator = config.validator
        steps.append(
            ValidateLists(validator.build, config.seed, config.max_attempts, needs("validate_lists", validator))
        )
    steps.append(
        VerifyObjects(
            config.verifier.build, config.source.reader(), least_positives, config.verify_positives, config.seed,
            config.max_attempts, needs("verify_objects", config.verifier),
        )
    )  # fmt: skip
    return tuple(steps)


def caption_pipeline(name: str, config: NegcapRecipeConfig) -> Pipeline:
    """The head, then one row a chosen absent object, written and checked."""
    needs = _Needs(config.runtime)
    return Pipeline(
        name=name, source=config.source.build(),
        steps=(
            *objects_steps(config, least_positives=0),
            DrawAbsentObjects(config.captions, config.seed, needs("draw_absent_objects")),
            Explode("absent_objects", "absent_object"),
            WriteNegCap(config.writer.build, config.seed, config.max_attempts, needs("write_negcap", config.writer)),
            CheckNegatedCaption(config.check.options(), needs("check_negated_caption")),
        ),
    )  # fmt: skip


def question_pipeline(name: str, config: McqRecipeConfig) -> Pipeline:
    """The head, then one row a question, its options worded and checked."""
    needs = _Needs(config.runtime)
    rephraser = config.rephraser
    return Pipeline(
        name=name, source=config.source.build(),
        steps=(
            *objects_steps(config, least_positives=1),
            PlanQuestions(config.questions, config.seed, needs("plan_questions")),
            Explode("question_plans", "question_plan"),
            WriteOptions(
                rephraser.build if rephraser else None, config.medium, config.seed, config.max_attempts,
                config.max_option_words, needs("write_options", rephraser),
            ),
        ),
    )  # fmt: skip


def negcap(config: NegcapRecipeConfig) -> Pipeline:
    return caption_pipeline("negbench/negcap", config)


def retrieval_neg(config: NegcapRecipeConfig) -> Pipeline:
    return caption_pipeline("negbench/retrieval_neg", config)


def negmcq(config: McqRecipeConfig) -> Pipeline:
    return question_pipeline("negbench/negmcq", config)


def mcq_neg(config: McqRecipeConfig) -> Pipeline:
    return question_pipeline("negbench/mcq_neg", config)


def _backends(config: Any) -> Mapping[str, Any]:
    """Role -> model, not loaded."""
    roles = ("extractor", "proposer", "validator", "verifier", "writer", "rephraser")
    return {role: part.build() for role in roles if (part := getattr(config, role, None)) is not None}


def _recipe(name: str, config: type[ObjectsConfig], build: Any) -> Recipe:
    return Recipe(
        name=name, config=config, source=lambda config: config.source.build(), build=build, backends=_backends,
        prepare=with_statistics,
    )  # fmt: skip


NEGCAP = _recipe("negbench_negcap", NegcapRecipeConfig, negcap)
RETRIEVAL_NEG = _recipe("negbench_retrieval_neg", NegcapRecipeConfig, retrieval_neg)
NEGMCQ = _recipe("negbench_negmcq", McqRecipeConfig, negmcq)
MCQ_NEG = _recipe("negbench_mcq_neg", McqRecipeConfig, mcq_neg)
RECIPES = (NEGCAP, NEGMCQ, RETRIEVAL_NEG, MCQ_NEG)
