"""What a mission is: the runs that make its data, the training on them, and the evaluation before and after.

A step is named as on the command line: a recipe, its -c fragments and its overrides, in which ``@{KEY}`` stands for the
folder of the run that the step KEY made, or that the user names (data, benchmarks, images).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError

_NAME = re.compile(r"@\{([^}]*)\}")
PLACES = ("data", "benchmarks", "images")
_KEY = re.compile(r"[a-z][a-z0-9_]*")


class Step(Config):
    """A verb's arguments."""

    recipe: str
    """As `negscale generate`, `train` or `eval` calls it."""
    config: tuple[str, ...] = ()
    """Fragments of configs/, as after -c."""
    set: tuple[str, ...] = ()
    """Overrides, e.g. source.images=1000; @{KEY} is the folder of the run that the step KEY made."""


class MissionConfig(Config):
    """One paper from data to figures."""

    generate: Mapping[str, Step] = Field(min_length=1)
    """By a name of yours; in this order."""
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

    @field_validator("generate")
    @classmethod
    def _keys(cls, value: Mapping[str, Step]) -> Mapping[str, Step]:
        for key in value:
            if not _KEY.fullmatch(key) or key in PLACES:
                raise ValueError(
                    f"step {key!r}: expected lower-case letters, digits, '_', and none of {', '.join(PLACES)}"
                )
        return value

    @property
    def places(self) -> dict[str, str]:
        """The folders that the user names, those that are set."""
        return {key: getattr(self, key) for key in PLACES if getattr(self, key)}


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
