"""Answers of a multimodal LLM to a list of images with texts: what `negscale.benchmarks.answering` scores.

One run a model and protocol, like every run: shards, resume, quarantine, manifest. The released evaluators of multimodal
models (NegBench, arXiv 2501.09425) print an accuracy and keep no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from negscale.backends.config import ChatConfig, resources_of
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.core.config import Config
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.asked import AskedConfig
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.answering import AnswerChoices, Protocol
from negscale.storage.folder import open_folder

NAME = "answers"


class AnswersConfig(Config):
    """Ask a multimodal LLM."""

    seed: int = 0
    """Of the order of lettered options and of every draw of the model."""
    max_attempts: int = Field(default=3, ge=1)
    """Times that a question is asked, each with a new seed, before an answer that cannot be read counts as missing."""
    source: AskedConfig
    chat: ChatConfig = TinyChatConfig()
    """A multimodal LLM."""
    protocol: Protocol = "letter"
    """letter: which of the texts is true; yes_no: whether each of them is."""
    runtime: RuntimeConfig = RuntimeConfig()


def answers(config: AnswersConfig) -> Pipeline:
    """Look, ask, read."""
    wish = stage_resources(AnswerChoices.name, resources_of(config.chat), config.runtime)
    stage = AnswerChoices(
        config.chat.build, config.protocol, config.source.reader(), config.seed, config.max_attempts, wish
    )  # fmt: skip
    return Pipeline(name=NAME, source=config.source.build(), steps=(stage,))


def answers_backends(config: AnswersConfig) -> Mapping[str, Any]:
    """Role -> backend, not loaded."""
    return {"chat": config.chat.build()}


def answers_prepared(config: AnswersConfig, listing: Listing) -> AnswersConfig:
    """`config` with absolute roots, since workers have working folders of their own. Raises ConfigError for a blind model."""
    chat = config.chat.build()
    if not chat.accepts_images:
        raise ConfigError(f"chat: {chat.id} sees no images as configured; a model with images_per_prompt=1 is needed")
    runtime = config.runtime.model_copy(update={"run_root": open_folder(config.runtime.run_root).uri})
    root = config.source.image_root
    source = config.source.model_copy(update={"image_root": open_folder(root).uri if root else ""})
    return config.model_copy(update={"runtime": runtime, "source": source})


ANSWERS = Recipe(
    name=NAME, config=AnswersConfig, source=lambda config: config.source.build(), build=answers, backends=answers_backends,
    prepare=answers_prepared,
)  # fmt: skip
