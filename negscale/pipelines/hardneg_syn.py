"""HardNeg-Syn (NegBench, Alhamoud et al., arXiv 2501.09425, section D.1): two pictures a scene, with and without an object.

An LLM writes the scenes, a diffusion model renders both pictures, a detector verifies them; kept pairs become questions
(`task: mcq`) or captions for retrieval (`task: retrieval`). See `negscale.stages.hardneg` for what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from pydantic import Field

from negscale.backends.config import JudgeConfig, resources_of
from negscale.backends.image_store import ImageStoreConfig
from negscale.backends.makers import MakerConfig
from negscale.backends.negbench_config import NegcapConfig, RephraserConfig
from negscale.backends.scene_writers import SceneWriterConfig
from negscale.backends.statements import GrammarRephraserConfig, TemplateNegaterConfig
from negscale.backends.tiny.maker import TinyMakerConfig
from negscale.backends.tiny.scenes import TinySceneWriterConfig
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.config import Config
from negscale.core.explode import Explode
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources, Stage
from negscale.datasets.images import ImageReader
from negscale.datasets.labels import LabelsConfig
from negscale.datasets.toy_icons import OBJECTS
from negscale.pipelines.negationclip import CheckConfig
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.hardneg import MakeScenePair, ProposeScene, TellSide, VerifyScenePair
from negscale.stages.questions import WriteOptions
from negscale.stages.retrieval import WriteRetrievalCaption
from negscale.storage.folder import open_folder

NAME = "negbench_hardneg_syn"
WHOLE_SHARD = 1_000_000  # rows of one call: the pictures of a shard lie in one file


class HardnegSynConfig(Config):
    """Labels to verified pairs of pictures with questions or captions."""

    seed: int = 0
    """Seed of every draw; each row draws from (seed, row id, stage, attempt)."""
    max_attempts: int = Field(default=3, ge=1)
    """Times a model is asked, each with a new seed, before what it gives is quarantined or refused."""
    task: Literal["mcq", "retrieval"] = "mcq"
    """Four-way questions, or a caption a picture."""
    source: LabelsConfig = LabelsConfig(labels=OBJECTS)
    writer: SceneWriterConfig = TinySceneWriterConfig()
    maker: MakerConfig = TinyMakerConfig()
    call_images: int = Field(default=32, ge=1)
    """Pictures of one call of the maker; a multiple of its passes wastes no padding."""
    images: ImageStoreConfig = ImageStoreConfig()
    verifier: JudgeConfig = TinyJudgeConfig()
    rephraser: RephraserConfig | None = GrammarRephraserConfig()
    """Words the options of task=mcq; None keeps the templates."""
    max_option_words: int = Field(default=40, ge=4)
    caption_writer: NegcapConfig = TemplateNegaterConfig()
    """Writes the absence into the captions of task=retrieval."""
    check: CheckConfig = CheckConfig()
    runtime: RuntimeConfig = RuntimeConfig()


def hardneg_syn(config: HardnegSynConfig) -> Pipeline:
    """Scene, two pictures, verification; then one row a picture."""
    runtime = config.runtime
    store = f"{runtime.run_root.rstrip('/')}/{NAME}/{runtime.version}"  # the run folder: images move with their rows

    def needs(name: str, backend: Config | None = None) -> Resources:
        return stage_resources(name, resources_of(backend) if backend else Resources(), runtime)

    steps: list[Stage | Explode] = [
        ProposeScene(config.writer.build, config.seed, config.max_attempts, needs(ProposeScene.name, config.writer)),
        MakeScenePair(
            config.maker.build, partial(config.images.build, store), config.call_images, config.seed, config.max_attempts,
            replace(needs(MakeScenePair.name, config.maker), batch_rows=WHOLE_SHARD),
        ),
        VerifyScenePair(
            config.verifier.build, ImageReader(store), config.seed, config.max_attempts,
            needs(VerifyScenePair.name, config.verifier),
        ),
        Explode("sides", "side"),
        TellSide(config.seed, needs(TellSide.name)),
    ]  # fmt: skip
    if config.task == "mcq":
        rephraser = config.rephraser
        steps.append(
            WriteOptions(
                rephraser.build if rephraser else None, "image", config.seed, config.max_attempts,
                config.max_option_words, needs(WriteOptions.name, rephraser),
            )
        )  # fmt: skip
    else:
        writer = config.caption_writer
        steps.append(
            WriteRetrievalCaption(
                writer.build, config.check.options(), config.seed, config.max_attempts,
                needs(WriteRetrievalCaption.name, writer),
            )
        )  # fmt: skip
    return Pipeline(NAME, config.source.build(), tuple(steps))


def _backends(config: HardnegSynConfig) -> Mapping[str, Any]:
    """Role -> model, not loaded."""
    words: Config | None = config.rephraser if config.task == "mcq" else config.caption_writer
    parts = {
        "writer": config.writer, "maker": config.maker, "verifier": config.verifier,
        "rephraser" if config.task == "mcq" else "caption_writer": words,
    }  # fmt: skip
    found: dict[str, Any] = {}
    for role, part in parts.items():
        built: Any = part
        if built is not None:
            found[role] = built.build()
    return found


def _prepared(config: HardnegSynConfig, listing: Listing) -> HardnegSynConfig:
    """`config` with an absolute run root, since workers have working folders of their own."""
    root = open_folder(config.runtime.run_root).uri
    return config.model_copy(update={"runtime": config.runtime.model_copy(update={"run_root": root})})


HARDNEG_SYN = Recipe(
    name=NAME, config=HardnegSynConfig, source=lambda config: config.source.build(), build=hardneg_syn,
    backends=_backends, prepare=_prepared,
)  # fmt: skip
