"""What a mission is: the runs that make its data, the training on them, and the evaluation before and after.

A step is named as on the command line: a recipe, its -c fragments and its overrides, in which ``@{KEY}`` stands for the
folder of the run that the step KEY made, or that the user names (data, benchmarks, images), or of this package's tiny
models (tiny). Benchmarks that nobody released are made by the mission itself: its exams.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import Field, field_validator, model_validator

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.tiny_models.files import WEIGHTS

_NAME = re.compile(r"@\{([^}]*)\}")
PLACES = ("data", "benchmarks", "images")
TINY = "tiny"
_T = TypeVar("_T")
_KEY = re.compile(r"[a-z][a-z0-9_]*")


class Step(Config):
    """A verb's arguments."""

    recipe: str
    """As `negscale generate`, `train` or `eval` calls it."""
    config: tuple[str, ...] = ()
    """Fragments of configs/, as after -c."""
    set: tuple[str, ...] = ()
    """Overrides, e.g. source.images=1000; @{KEY} is the folder of the run that the step KEY made."""


class Exam(Config):
    """A benchmark made here: a run of `generate` as NegBench's CSV, or a build. Exactly one of both."""

    run: str = ""
    """Name of a step of `generate`."""
    build: str = ""
    """As `negscale build` calls it."""
    config: tuple[str, ...] = ()
    """Fragments of configs/ for the build."""
    set: tuple[str, ...] = ()
    """Overrides of the build."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Exam:
        if bool(self.run) == bool(self.build):
            raise ValueError(f"an exam is a run or a build; got run={self.run!r} and build={self.build!r}")
        return self


class MissionConfig(Config):
    """One paper from data to figures."""

    generate: Mapping[str, Step] = Field(min_length=1)
    """By a name of yours; in this order."""
    exams: Mapping[str, Exam] = Field(default_factory=dict)
    """By the name of a folder that `negscale eval all` knows a benchmark by: balanced, mcq_neg, retrieval_neg. They lie in
    @{benchmarks}, which then cannot be set."""
    runtime: tuple[str, ...] = ()
    """Fragments of every generation and evaluation, e.g. runtime/one_node_8gpu."""
    train: Step
    """train_clip_text_... or edit_..., on the runs above."""
    evaluate: Step
    """all: the released benchmarks of a folder, for text encoders; nein: for editors. The models come from the training."""
    data: Location = ""
    """Where the source data lie: @{data} in the steps."""
    benchmarks: Location = ""
    """Folder of the released benchmark files: @{benchmarks}."""
    images: Location = ""
    """Folder of the benchmarks' images: @{images}."""
    run_root: Location = "runs"
    """Folder or URI below which everything lies."""
    version: str = Field(default="dev", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Of the runs and the training."""

    @field_validator("generate", "exams")
    @classmethod
    def _keys(cls, value: Mapping[str, _T]) -> Mapping[str, _T]:
        for key in value:
            if not _KEY.fullmatch(key) or key in (*PLACES, TINY):
                raise ValueError(
                    f"step {key!r}: expected lower-case letters, digits, '_', and none of {', '.join((*PLACES, TINY))}"
                )
        return value

    @model_validator(mode="after")
    def _exams_are_of_runs(self) -> MissionConfig:
        if self.exams and self.benchmarks:
            raise ValueError(f"benchmarks={self.benchmarks!r}, but this mission makes its own: leave it out")
        for key, exam in self.exams.items():
            if exam.run and exam.run not in self.generate:
                raise ValueError(f"exam {key}: there is no step {exam.run!r}; there are {', '.join(self.generate)}")
        return self

    @property
    def exam_root(self) -> str:
        """Where the exams lie."""
        return f"{self.run_root.rstrip('/')}/benchmarks/{self.version}"

    @property
    def places(self) -> dict[str, str]:
        """The folders that are known before anything has run: those that the user names, the exams', the tiny models'."""
        named = {key: getattr(self, key) for key in PLACES if getattr(self, key)}
        own = {"benchmarks": self.exam_root} if self.exams else {}
        return {**named, **own, TINY: str(WEIGHTS)}


def resolved(step: Step, folders: Mapping[str, str]) -> list[str]:
    """The overrides of a step with the folders of the runs made so far, and those that the user names.

    Raises ConfigError for a step that there is not, or a folder that is not set.
    """

    def folder(found: re.Match[str]) -> str:
        key = found[1]
        if key in folders:
            return folders[key].rstrip("/")
        if key in PLACES:
            raise ConfigError(f"{step.recipe} needs {key}: set {key}=FOLDER")
        raise ConfigError(f"{step.recipe}: @{{{key}}} is no step before it; there are {', '.join(folders) or 'none'}")

    return [_NAME.sub(folder, override) for override in step.set]
