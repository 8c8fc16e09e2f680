"""NeIn's data (Bui et al., arXiv 2409.06481, section 3): images with an object added, and sentences that deny it.

`nein_select` chooses absent objects and writes the instructions, `nein_edit` makes the edits, `nein_filter` judges them,
each from the finished run of the one before; `nein` is the chain of the three. A kept row is a quintuplet: source image,
caption, absent object, negative sentence, image with the object; for training an editor the image with the object is the
input and the source image the ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from pydantic import Field

from negscale.backends.annotation_judge import AnnotationJudgeConfig
from negscale.backends.config import resources_of
from negscale.backends.editors import EditorConfig
from negscale.backends.image_store import ImageStoreConfig
from negscale.backends.negbench_config import ExtractorConfig
from negscale.backends.nein_judges import (
    CaptionJudgeConfig,
    ChatCaptionJudgeConfig,
    ChatObjectJudgeConfig,
    LocatorConfig,
    MatcherConfig,
    ObjectJudgeConfig,
    ScorerConfig,
    build_judges,
    chat_key,
)
from negscale.backends.object_lists import CaptionNounsConfig
from negscale.backends.tiny.editor import TinyEditorConfig
from negscale.backends.tiny.matcher import TinyMatcherConfig
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.config import Config
from negscale.core.errors import ConfigError
from negscale.core.explode import Explode
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources, Stage
from negscale.datasets.captioned_images import CaptionedImages
from negscale.datasets.config import SourceConfig
from negscale.datasets.images import ImageReader
from negscale.datasets.run import RunConfig
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toyworld import ToyworldConfig
from negscale.language.nouns import COCO_80
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.edit_plans import AffirmAnotherObject, RankAbsentObjects, Selection, WriteInstructions
from negscale.stages.edit_verdicts import EditRules, JudgeEdit, Role
from negscale.stages.edits import EditImage, EditLimits
from negscale.storage.folder import open_folder

WHOLE_SHARD = 1_000_000  # rows of one call: the images of a shard lie in one file, whatever the runtime config says


class SelectionConfig(Config):
    """Which objects are added to an image."""

    vocabulary: Literal["coco80", "toyworld"] | tuple[str, ...] = "coco80"
    """Names to draw from."""
    scorer: ScorerConfig = TinyJudgeConfig()
    """Scores a bare name against the image; low = surely absent."""
    annotations: AnnotationJudgeConfig | None = None
    """Annotated objects are never drawn; None where the images have no annotations."""
    drawn: int = Field(default=15, ge=1)
    """Names drawn an image, before they are scored."""
    below: float = Field(default=0.4, ge=0, le=1)
    """Names that score as much are left out."""
    edits: int = Field(default=5, ge=1)
    """Edits an image, at most: the lowest scores. Caption i gets object i; when captions run out, they come again."""
    eval_share: float = Field(default=0.066, ge=0, le=1)
    """Share of the images whose rows have split=eval; the released set has 24,182 of 366,957 rows there."""
    split_seed: int = 0
    """Decides which images those are. Keep it over all runs on the same images, or the splits mix."""

    def names(self) -> tuple[str, ...]:
        """The vocabulary spelled out. Raises ConfigError when it is empty."""
        known = {"coco80": COCO_80, "toyworld": OBJECTS}
        names = known[self.vocabulary] if isinstance(self.vocabulary, str) else tuple(dict.fromkeys(self.vocabulary))
        if not all(name.strip() for name in names) or not names:
            raise ConfigError(f"selection.vocabulary: expected names of objects, got {list(names)}; or set coco80")
        return names

    def build(self) -> Selection:
        return Selection(self.names(), self.drawn, self.edits, self.below, self.eval_share, self.split_seed)


class EditLimitsConfig(Config):
    """How images are handed to the editor."""

    call_rows: int = Field(default=32, ge=1)
    """Edits of one call, from which the editor cuts its micro-batches; a multiple of these wastes no padding."""
    max_attempts: int = Field(default=3, ge=1)
    """Times an edit that comes out blank, NaN or out of memory is made, each with a new seed, before it is quarantined."""
    min_side_px: int = Field(default=32, ge=1)
    """Images with a shorter side are refused."""
    max_aspect: float = Field(default=4.0, ge=1)
    """Longer side over shorter; images beyond are refused."""

    def build(self) -> EditLimits:
        return EditLimits(**self.model_dump())


class FilterConfig(Config):
    """Which edits are kept. A judge that is null is not asked."""

    matcher: MatcherConfig | None = TinyMatcherConfig()
    """Scores "CAPTION. This image has a OBJECT."."""
    above: float = Field(default=0.4, ge=0, le=1)
    """The matcher's score must be above."""
    caption_judge: CaptionJudgeConfig | None = ChatCaptionJudgeConfig()
    """Does the caption still describe the image?"""
    object_judge: ObjectJudgeConfig | None = ChatObjectJudgeConfig()
    """Is the object there?"""
    second_judge: ObjectJudgeConfig | None = None
    """Is the object there? A judge of another family (a detector beside a chat model)."""
    second_must_agree: bool = True
    """False: the second judge's answer is recorded and refuses nothing."""
    max_change_outside: float | None = Field(default=None, ge=0, le=1)
    """Largest mean |difference| (0..1) outside of the added object's box; None = any. Without a box an edit passes."""
    locator: LocatorConfig | None = None
    """Finds the object's box in edits whose editor tells none; None leaves those unmeasured."""
    box_margin: float = Field(default=0.15, ge=0)
    """The box grows by this share of its size on each side."""
    judge_all: bool = True
    """False: a refused row is asked nothing more. Saves answers of a slow judge; agreement is then known of fewer rows."""
    max_attempts: int = Field(default=3, ge=1)
    """Times a judge is asked, each with a new seed, before an answer that is neither yes nor no is quarantined."""

    def rules(self) -> EditRules:
        return EditRules(
            self.above, self.max_change_outside, self.box_margin, self.second_must_agree, self.judge_all,
            self.max_attempts,
        )  # fmt: skip

    def judges(self) -> dict[Role, Any]:
        """Role -> config of the judges that are asked."""
        parts: dict[Role, Any] = {
            "matcher": self.matcher, "caption": self.caption_judge, "object": self.object_judge,
            "second": self.second_judge,
        }  # fmt: skip
        return {role: part for role, part in parts.items() if part is not None}

    def resources(self) -> Resources:
        """Of one worker, which holds all the judges."""
        distinct: dict[str, Resources] = {}
        for role, part in self.judges().items():
            shared = isinstance(part, (ChatCaptionJudgeConfig, ChatObjectJudgeConfig))
            distinct[chat_key(part) if shared else role] = resources_of(part)
        wishes = [*distinct.values(), *([resources_of(self.locator)] if self.locator else [])]
        return Resources(
            cpus=max((w.cpus for w in wishes), default=1.0), gpus=sum((w.gpus for w in wishes), 0.0),
            calls=min((w.calls for w in wishes), default=1), batch_rows=max((w.batch_rows for w in wishes), default=64),
        )  # fmt: skip


class NeinConfig(Config):
    """What all of NeIn's recipes share."""

    seed: int = 0
    """Seed of every draw; each row draws from (seed, row id, stage, attempt)."""
    runtime: RuntimeConfig = RuntimeConfig()


class SelectConfig(NeinConfig):
    """Images to instructions."""

    source: SourceConfig = ToyworldConfig(captions_per_image=1)
    """Captioned images, best with one row an image (captions_per_image: 1)."""
    selection: SelectionConfig = SelectionConfig(vocabulary="toyworld")
    style: Literal["grammatical", "as_released"] = "grammatical"
    """as_released writes the authors' strings as they are ("Add a hourglass.", "No scissors in the image.")."""
    extractor: ExtractorConfig | None = CaptionNounsConfig(vocabulary=OBJECTS)
    """Lists the caption's objects, for "There is a dog but no cat."; None writes no such instruction."""


class EditConfig(NeinConfig):
    """Instructions to edited images."""

    source: RunConfig
    """A finished nein_select run; `source.image_root` is the image folder of that run's own source."""
    editor: EditorConfig = TinyEditorConfig()
    edits: EditLimitsConfig = EditLimitsConfig()
    images: ImageStoreConfig = ImageStoreConfig()


class FilterRecipeConfig(NeinConfig):
    """Edited images to quintuplets."""

    source: RunConfig
    """A finished nein_edit run; `source.image_root` is the folder of the source images."""
    filter: FilterConfig = FilterConfig()


class ChainConfig(SelectConfig):
    """Images to quintuplets."""

    editor: EditorConfig = TinyEditorConfig()
    edits: EditLimitsConfig = EditLimitsConfig()
    images: ImageStoreConfig = ImageStoreConfig()
    filter: FilterConfig = FilterConfig()


def _select_steps(config: SelectConfig) -> tuple[Stage | Explode, ...]:
    runtime, chosen = config.runtime, config.selection
    steps: list[Stage | Explode] = [
        RankAbsentObjects(
            chosen.scorer.build, chosen.annotations.build if chosen.annotations else None, config.source.reader(),
            chosen.build(), config.seed, stage_resources(RankAbsentObjects.name, resources_of(chosen.scorer), runtime),
        ),
        Explode("edit_plans", "edit_plan"),
        WriteInstructions(
            config.style, config.seed, stage_resources(WriteInstructions.name, Resources(), runtime)
        ),
    ]  # fmt: skip
    if config.extractor is not None:
        needs = stage_resources(AffirmAnotherObject.name, resources_of(config.extractor), runtime)
        steps.append(AffirmAnotherObject(config.extractor.build, config.seed, 3, needs))
    return tuple(steps)


def _edit_step(config: EditConfig | ChainConfig, store: str) -> EditImage:
    needs = stage_resources(EditImage.name, resources_of(config.editor), config.runtime)
    return EditImage(
        config.editor.build, partial(config.images.build, store), config.source.reader(), config.edits.build(),
        config.seed, replace(needs, batch_rows=WHOLE_SHARD),
    )  # fmt: skip


def _judge_step(config: FilterRecipeConfig | ChainConfig, store: str) -> JudgeEdit:
    rules = config.filter
    return JudgeEdit(
        partial(build_judges, rules.judges()), rules.rules(), config.source.reader(), ImageReader(store), config.seed,
        stage_resources(JudgeEdit.name, rules.resources(), config.runtime),
        rules.locator.build if rules.locator else None,
    )  # fmt: skip


def _run_folder(name: str, runtime: RuntimeConfig) -> str:
    return f"{runtime.run_root.rstrip('/')}/{name}/{runtime.version}"  # images move with their rows


def select(config: SelectConfig) -> Pipeline:
    return Pipeline("nein_select", CaptionedImages(config.source.build()), _select_steps(config))


def edit(config: EditConfig) -> Pipeline:
    return Pipeline("nein_edit", config.source.build(), (_edit_step(config, _run_folder("nein_edit", config.runtime)),))


def judge(config: FilterRecipeConfig) -> Pipeline:
    return Pipeline("nein_filter", config.source.build(), (_judge_step(config, config.source.uri),))


def chain(config: ChainConfig) -> Pipeline:
    store = _run_folder("nein", config.runtime)
    steps = (*_select_steps(config), _edit_step(config, store), _judge_step(config, store))
    return Pipeline("nein", CaptionedImages(config.source.build()), steps)


def _backends(config: Any) -> Mapping[str, Any]:
    """Role -> model, not loaded."""
    chosen, rules = getattr(config, "selection", None), getattr(config, "filter", None)
    parts = {
        "scorer": chosen and chosen.scorer, "annotations": chosen and chosen.annotations,
        "extractor": getattr(config, "extractor", None), "editor": getattr(config, "editor", None),
        "matcher": rules and rules.matcher, "caption_judge": rules and rules.caption_judge,
        "object_judge": rules and rules.object_judge, "second_judge": rules and rules.second_judge,
        "locator": rules and rules.locator,
    }  # fmt: skip
    return {role: part.build() for role, part in parts.items() if part is not None}


def _prepared(config: Any, listing: Listing) -> Any:
    """`config` with an absolute run root, since workers have working folders of their own."""
    root = open_folder(config.runtime.run_root).uri
    return config.model_copy(update={"runtime": config.runtime.model_copy(update={"run_root": root})})


def _recipe(name: str, config: type[NeinConfig], build: Any, source: Any) -> Recipe:
    return Recipe(name=name, config=config, source=source, build=build, backends=_backends, prepare=_prepared)


def _captioned(config: Any) -> CaptionedImages:
    return CaptionedImages(config.source.build())


def _rows(config: Any) -> Any:
    return config.source.build()


NEIN = _recipe("nein", ChainConfig, chain, _captioned)
NEIN_SELECT = _recipe("nein_select", SelectConfig, select, _captioned)
NEIN_EDIT = _recipe("nein_edit", EditConfig, edit, _rows)
NEIN_FILTER = _recipe("nein_filter", FilterRecipeConfig, judge, _rows)
RECIPES = (NEIN, NEIN_SELECT, NEIN_EDIT, NEIN_FILTER)
