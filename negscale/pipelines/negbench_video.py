"""NegBench's video sets (Alhamoud et al., arXiv 2501.09425, section 2.2): MCQ-Neg and Retrieval-Neg for clips with captions.

Any source in MSR-VTT's layout. Objects come from the captions; with frames on disk they are also looked for in the pixels.
See `negscale.stages.video` for what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from negscale.backends.config import JudgeConfig, resources_of
from negscale.backends.negbench_config import (
    ChatExtractorConfig,
    ChatListProposerConfig,
    ExtractorConfig,
    ListProposerConfig,
    NegcapConfig,
    RephraserConfig,
)
from negscale.backends.statements import TemplateNegaterConfig
from negscale.core.config import Config
from negscale.core.explode import Explode
from negscale.core.pipeline import Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources, Stage
from negscale.datasets.msrvtt import MsrvttConfig
from negscale.datasets.video_captions import FramesConfig, VideoCaptions
from negscale.pipelines.negationclip import CheckConfig
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.pipelines.statistics import with_statistics
from negscale.stages.negcap import DrawAbsentObjects
from negscale.stages.object_lists import ProposeNegatives
from negscale.stages.questions import PlanQuestions, WriteOptions
from negscale.stages.retrieval import WriteRetrievalCaption
from negscale.stages.video import BelieveCaptions, ExtractFromCaptions, FramesRule, VerifyInFrames


class VideoConfig(Config):
    """What both video sets share."""

    seed: int = 0
    """Seed of every draw; each row draws from (seed, row id, stage, attempt)."""
    max_attempts: int = Field(default=3, ge=1)
    """Times a model is asked, each with a new seed, before an unparsable answer is quarantined."""
    source: MsrvttConfig
    extractor: ExtractorConfig = ChatExtractorConfig()
    least_mentions: int = Field(default=2, ge=1)
    """Captions of a clip that must state an object before it counts as present."""
    proposer: ListProposerConfig = ChatListProposerConfig()
    proposals: int = Field(default=5, ge=1)
    """Absent objects proposed a clip; none that any caption mentions."""
    frames: FramesConfig | None = None
    """Frames to look at; None = the captions alone are believed, as in the paper."""
    verifier: JudgeConfig | None = None
    """Looks for the objects in the frames."""
    frames_rule: FramesRule = "any"
    """any: an object is there when one frame shows it; mean: by the mean of the frames' scores."""
    verify_positives: bool = True
    """Look for the stated objects too."""
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _frames_and_verifier(self) -> VideoConfig:
        if (self.frames is None) != (self.verifier is None):
            given, lacking = ("verifier", "frames") if self.frames is None else ("frames", "verifier")
            raise ValueError(
                f"{given} is set and {lacking} is not; frames are judged by a verifier: set both or neither"
            )
        return self


class VideoMcqConfig(VideoConfig):
    """Four-way questions about clips."""

    questions: int = Field(default=1, ge=1)
    """Questions a clip, each about another absent object."""
    rephraser: RephraserConfig | None = None
    """Words the options; None keeps the templates ("This video features ...")."""
    max_option_words: int = Field(default=40, ge=4)


class VideoRetrievalConfig(VideoConfig):
    """One caption a clip that also says what is missing."""

    writer: NegcapConfig = TemplateNegaterConfig()
    check: CheckConfig = CheckConfig()


def _needs(config: VideoConfig, name: str, backend: Config | None = None) -> Resources:
    return stage_resources(name, resources_of(backend) if backend else Resources(), config.runtime)


def object_steps(config: VideoConfig, least_positives: int) -> tuple[Stage, ...]:
    """List from the captions, propose, verify (in frames, or by belief)."""
    steps: list[Stage] = [
        ExtractFromCaptions(
            config.extractor.build, least_positives, config.least_mentions, config.seed, config.max_attempts,
            _needs(config, ExtractFromCaptions.name, config.extractor),
        ),
        ProposeNegatives(
            config.proposer.build, config.proposals, config.seed, config.max_attempts,
            _needs(config, ProposeNegatives.name, config.proposer),
        ),
    ]  # fmt: skip
    if config.frames is None or config.verifier is None:
        steps.append(BelieveCaptions(_needs(config, BelieveCaptions.name)))
    else:
        steps.append(
            VerifyInFrames(
                config.verifier.build, config.frames.build(), config.frames_rule, least_positives,
                config.verify_positives, config.seed, config.max_attempts,
                _needs(config, VerifyInFrames.name, config.verifier),
            )
        )  # fmt: skip
    return tuple(steps)


def _source(config: VideoConfig) -> VideoCaptions:
    return VideoCaptions(config.source.build())


def video_mcq(config: VideoMcqConfig) -> Pipeline:
    """The objects, then one row a question, its options worded and checked."""
    rephraser = config.rephraser
    return Pipeline(
        "negbench/video_mcq", _source(config),
        (
            *object_steps(config, least_positives=1),
            PlanQuestions(config.questions, config.seed, _needs(config, PlanQuestions.name)),
            Explode("question_plans", "question_plan"),
            WriteOptions(
                rephraser.build if rephraser else None, "video", config.seed, config.max_attempts,
                config.max_option_words, _needs(config, WriteOptions.name, rephraser),
            ),
        ),
    )  # fmt: skip


def video_retrieval_neg(config: VideoRetrievalConfig) -> Pipeline:
    """The objects, then one absent object a clip, written into its caption."""
    return Pipeline(
        "negbench/video_retrieval_neg", _source(config),
        (
            *object_steps(config, least_positives=0),
            DrawAbsentObjects(1, config.seed, _needs(config, DrawAbsentObjects.name)),
            Explode("absent_objects", "absent_object"),
            WriteRetrievalCaption(
                config.writer.build, config.check.options(), config.seed, config.max_attempts,
                _needs(config, WriteRetrievalCaption.name, config.writer),
            ),
        ),
    )  # fmt: skip


def _backends(config: Any) -> Mapping[str, Any]:
    """Role -> model, not loaded."""
    roles = ("extractor", "proposer", "verifier", "rephraser", "writer")
    return {role: part.build() for role in roles if (part := getattr(config, role, None)) is not None}


def _recipe(name: str, config: type[VideoConfig], build: Any) -> Recipe:
    return Recipe(
        name=name, config=config, source=_source, build=build, backends=_backends, prepare=with_statistics
    )  # fmt: skip


VIDEO_MCQ = _recipe("negbench_video_mcq", VideoMcqConfig, video_mcq)
VIDEO_RETRIEVAL_NEG = _recipe("negbench_video_retrieval_neg", VideoRetrievalConfig, video_retrieval_neg)
RECIPES = (VIDEO_MCQ, VIDEO_RETRIEVAL_NEG)
