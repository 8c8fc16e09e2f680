"""NegationCLIP's second data pipeline (Park et al., "Know 'No' Better", arXiv 2501.10913, section 3.1): beyond objects.

A VQA question answered "no" and a caption of its image become one caption that denies an object, an attribute or an
action; the paper reports 82k from VQA v2. Its code and prompt are not published. What is ours: the agreement asked of the
annotators, the questions left out, the prompt, strict parsing with new seeds, and the check of what was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from negscale.backends.config import resources_of
from negscale.backends.merger_config import ChatMergerConfig, MergerConfig
from negscale.core.config import Config
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources
from negscale.datasets.question_sources import QuestionSourceConfig
from negscale.datasets.toyworld_vqa import ToyworldVqaConfig
from negscale.language.merge_check import MergeCheckOptions
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.merging import CaptionChoice, CaptionFromNo, CheckMergedCaption
from negscale.stages.vqa import LabelNegation, SelectNoAnswer, SkipInvisible


class MergeCheckConfig(Config):
    """Thresholds of the caption check; see `negscale.language.merge_check`."""

    max_words: int = Field(default=60, ge=1)
    """Longest negated caption; CLIP reads 77 tokens."""
    max_added_words: int = Field(default=20, ge=1)
    """Words that the merging may add."""
    max_dropped_words: int = Field(default=0, ge=0)
    """Content words of the caption that may go."""
    subject_must_be_captioned: bool = True
    """Refuse captions about a subject that no caption of the image names: annotators say "no" to those too."""

    def options(self) -> MergeCheckOptions:
        return MergeCheckOptions(**self.model_dump())


class P2Config(Config):
    """NegationCLIP, pipeline 2."""

    seed: int = 0
    """Seed of every draw; each row draws from (seed, row id, stage, attempt)."""
    min_no: int = Field(default=8, ge=1)
    """Annotators (of VQA's ten) who must have answered "no"."""
    caption_choice: CaptionChoice = "random"
    """Which caption of the image: `random`, `first`, `longest`, or `related` (most words shared with the question)."""
    max_attempts: int = Field(default=3, ge=1)
    """Times the model is asked, each with a new seed, before an unparsable answer is quarantined."""
    source: QuestionSourceConfig = ToyworldVqaConfig()
    merger: MergerConfig = ChatMergerConfig()
    check: MergeCheckConfig = MergeCheckConfig()
    runtime: RuntimeConfig = RuntimeConfig()


def p2(config: P2Config) -> Pipeline:
    """Select clear noes to visible questions, name their kind, merge, check what was written."""

    def needs(name: str, backend: Config | None = None) -> Resources:
        return stage_resources(name, resources_of(backend) if backend else Resources(), config.runtime)

    return Pipeline(
        name="negationclip/p2",
        source=config.source.build(),
        steps=(
            SelectNoAnswer(config.min_no, needs("select_no_answer")),
            SkipInvisible(needs("skip_invisible")),
            LabelNegation(needs("label_negation")),
            CaptionFromNo(
                config.merger.build, config.caption_choice, config.seed, config.max_attempts,
                needs("caption_from_no", config.merger),
            ),
            CheckMergedCaption(config.check.options(), needs("check_merged_caption")),
        ),
    )  # fmt: skip


def p2_backends(config: P2Config) -> Mapping[str, Any]:
    """Role -> model, not loaded."""
    return {"merger": config.merger.build()}


def p2_prepared(config: P2Config, listing: Listing) -> P2Config:
    """`config` as it is: nothing is fitted."""
    return config


P2 = Recipe(
    name="negationclip_p2", config=P2Config, source=lambda config: config.source.build(), build=p2,
    backends=p2_backends, prepare=p2_prepared,
)  # fmt: skip
