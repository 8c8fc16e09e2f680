"""An editor asked to obey NeIn's sentences, and every score of what it made (arXiv 2409.06481, section 4).

Rows come from a finished nein run or from the released files (the image without the object, and one with it). The editor
edits the one with the object; judges and measures look at input and edit, and leave what they found in the row, so that
all of `negscale eval nein` is a reduction over rows: killed, it goes on. What differs from the paper: three instructions
beside the denial must leave the object alone, judges see the input too, and nothing is divided by a typed-in count.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import pyarrow as pa
from pydantic import Field

from negscale.backends.config import resources_of
from negscale.backends.control_editor import ControlEditorConfig
from negscale.backends.editors import EditorConfig
from negscale.backends.image_features import ImageFeaturesConfig, PixelFeaturesConfig
from negscale.backends.image_store import ImageStoreConfig
from negscale.backends.nein_judges import ChatObjectJudgeConfig, ObjectJudgeConfig
from negscale.backends.perceptual import LpipsConfig
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.explode import Explode
from negscale.core.pipeline import Listing, Pipeline
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Resources, Stage
from negscale.datasets.images import ImageReader
from negscale.datasets.nein_files import NeinFilesConfig
from negscale.datasets.run import RunConfig
from negscale.language.object_heads import EXCLUDED_HEADS
from negscale.pipelines.recipe import Recipe, stage_resources
from negscale.stages.edit_controls import CONTROLS, AffirmDenials
from negscale.stages.edit_queries import (
    COLUMNS,
    KINDS,
    ChooseSplit,
    EditForEvaluation,
    ListCaptionObjects,
    PlanEditQueries,
    QueryKind,
)
from negscale.stages.edit_scores import (
    CompareFeatures,
    ComparePerception,
    KeepFeatures,
    MeasurePixels,
    SeeObjects,
)
from negscale.storage.folder import open_folder

NAME = "nein_eval"
WHOLE_SHARD = 1_000_000  # rows of one call: the images of a shard lie in one file, whatever the runtime config says
NeinSourceConfig: TypeAlias = Annotated[RunConfig | NeinFilesConfig, Field(discriminator="kind")]
EvaluatedEditorConfig: TypeAlias = Annotated[ControlEditorConfig | EditorConfig, Field(discriminator="kind")]


class NeinReportConfig(Config):
    """How scores become figures; may change without editing anything anew."""

    bears_identity: ClassVar[bool] = False

    seed: int = 0
    """Of the resampling that gives the intervals."""
    draws: int = Field(default=1000, ge=100)
    """Resamples of the images."""
    unchanged_peak: float = Field(default=0.1, ge=0, le=1)
    """An edit leaves the input alone when no window of a sixth of each side changed more, as mean |difference| in 0..1. A
    latent editor loses some 0.02 by encoding and decoding alone, everywhere (the tiny one up to 0.09 in one window); a small
    object that goes changes its window by 0.2."""
    fid_parts: Literal[0, 5, 10, 20, 30, 50] = 10
    """Parts of the jackknife that gives FID its interval, each one more FID; 0 = no interval."""
    released_rows: int | None = Field(default=None, ge=1)
    """What the as-released shares are divided by: 24182 in the authors' scripts; null = the rows there are."""
    released_retention_rows: int | None = Field(default=None, ge=1)
    """The same for retention: 24120 there; null = the rows in whose input an object was seen."""


class NeinEvalConfig(Config):
    """Evaluate an editor on a nein run."""

    seed: int = 0
    """Seed of every edit and question; each row draws from (seed, row id, stage, attempt)."""
    max_attempts: int = Field(default=3, ge=1)
    """Times a judge is asked, each with a new seed, before an answer that cannot be read counts as missing."""
    source: NeinSourceConfig
    """kind=run: a finished run of nein, nein_edit or nein_filter, `source.image_root` being where its `image` column lies;
    kind=nein_json: the released files, whose denials get an affirmative control."""
    edited_root: Location = ""
    """Folder that `image_with_object` is relative to; empty = source.uri, of files source.root. Of a nein_filter run: the
    nein_edit run's folder."""
    split: Literal["", "train", "eval"] = ""
    """Rows of this split only; empty = all."""
    editor: EvaluatedEditorConfig = ControlEditorConfig()
    call_rows: int = Field(default=32, ge=1)
    """Queries of one call of the editor, which cuts its micro-batches from them."""
    kinds: tuple[QueryKind, ...] = ()
    """Instructions to try; empty = all that the run has columns for."""
    images: ImageStoreConfig = ImageStoreConfig()
    nouns: Literal["compound", "root"] = "compound"
    """Retention asks for "tennis racket" or, as released, for "racket"."""
    excluded_heads: tuple[str, ...] = EXCLUDED_HEADS
    """Nouns of captions that name no thing; [] as released."""
    vqa: ObjectJudgeConfig | None = ChatObjectJudgeConfig()
    """A multimodal LLM that is asked whether an object is in the image."""
    detector: ObjectJudgeConfig | None = TinyJudgeConfig()
    """A detector that looks for the object; its score is the best confidence."""
    clip: ImageFeaturesConfig | None = None
    """Features of CLIP-I."""
    dino: ImageFeaturesConfig | None = None
    """Features of DINO."""
    fid: ImageFeaturesConfig | None = PixelFeaturesConfig()
    """Features of the Fréchet distance; kept in the rows (2,048 numbers twice a row with Inception)."""
    lpips: LpipsConfig | None = None
    report: NeinReportConfig = NeinReportConfig()
    runtime: RuntimeConfig = RuntimeConfig()


def nein_eval(config: NeinEvalConfig) -> Pipeline:
    """Look at the input, edit it by each instruction, look again."""
    runtime = config.runtime
    store = f"{runtime.run_root.rstrip('/')}/{NAME}/{runtime.version}"  # the run folder: images move with their rows

    def needs(name: str, backend: Config | None = None) -> Resources:
        return stage_resources(name, resources_of(backend) if backend else Resources(), runtime)

    images, edited = config.source.reader(), ImageReader(config.edited_root or _edited_root(config.source))
    readers = (images, edited, ImageReader(store))
    steps: list[Stage | Explode] = [
        *([ChooseSplit(config.split, needs("choose_split"))] if config.split else []),
        *([AffirmDenials(needs("affirm_denials"))] if isinstance(config.source, NeinFilesConfig) else []),
        ListCaptionObjects(config.nouns, config.excluded_heads, needs("list_caption_objects")),
        *_judges(config, needs, "input", "image_with_object", edited),
        PlanEditQueries(config.kinds or KINDS, needs("plan_edit_queries")),
        Explode("edit_queries", "edit_query"),
        EditForEvaluation(
            config.editor.build, functools.partial(config.images.build, store), images, edited, config.seed,
            config.call_rows, replace(needs("edit_for_evaluation", config.editor), batch_rows=WHOLE_SHARD),
        ),
        *_judges(config, needs, "edit", "edited_image", readers[2]),
        MeasurePixels(*readers, needs("measure_pixels")),
    ]  # fmt: skip
    for role, encoder in (("clip", config.clip), ("dino", config.dino)):
        if encoder is not None:
            name = f"compare_{role}"
            steps.append(CompareFeatures(name, f"{role}_cosine", encoder.build, *readers, needs(name, encoder)))
    if config.fid is not None:
        steps.append(KeepFeatures(config.fid.build, *readers, needs("keep_features", config.fid)))
    if config.lpips is not None:
        steps.append(ComparePerception(config.lpips.build, *readers, needs("compare_perception", config.lpips)))
    return Pipeline(name=NAME, source=config.source.build(), steps=tuple(steps))


def _judges(config: NeinEvalConfig, needs: Any, when: str, column: str, images: ImageReader) -> list[Stage]:
    """One stage a judge: `see_input_vqa` writes `vqa_input`, `see_edit_detector` writes `detector_edit`."""
    found: list[Stage] = []
    for role, judge in (("vqa", config.vqa), ("detector", config.detector)):
        if judge is not None:
            name = f"see_{when}_{role}"
            found.append(
                SeeObjects(
                    name, column, f"{role}_{when}", judge.build, images, config.seed, config.max_attempts,
                    needs(name, judge),
                )
            )  # fmt: skip
    return found


def _edited_root(source: NeinSourceConfig) -> str:
    return source.uri if isinstance(source, RunConfig) else source.edited_root


def nein_eval_backends(config: NeinEvalConfig) -> Mapping[str, Any]:
    """Role -> backend, not loaded."""
    roles = ("editor", "vqa", "detector", "clip", "dino", "fid", "lpips")
    return {role: part.build() for role in roles if (part := getattr(config, role)) is not None}


def nein_eval_prepared(config: NeinEvalConfig, listing: Listing) -> NeinEvalConfig:
    """`config` with the kinds that the run has columns for and an absolute run root (workers have folders of their own)."""
    root = open_folder(config.runtime.run_root).uri
    schema: pa.Schema = config.source.build().schema
    names = [*schema.names, *(CONTROLS.names if isinstance(config.source, NeinFilesConfig) else ())]
    there = tuple(kind for kind in KINDS if all(column in names for column in COLUMNS[kind]))
    absent: list[QueryKind] = [kind for kind in config.kinds if kind not in there]
    if absent or not there:
        kind: QueryKind = absent[0] if absent else "negative"
        raise ConfigError(
            f"kinds: {kind!r} needs the columns {', '.join(COLUMNS[kind])}; {_edited_root(config.source)} has {schema.names}. "
            f"Give a run of nein, nein_edit or nein_filter as source.uri"
        )
    runtime = config.runtime.model_copy(update={"run_root": root})
    return config.model_copy(update={"kinds": config.kinds or there, "runtime": runtime})


NEIN_EVAL = Recipe(
    name=NAME, config=NeinEvalConfig, source=lambda config: config.source.build(), build=nein_eval,
    backends=nein_eval_backends, prepare=nein_eval_prepared,
)  # fmt: skip
