"""The sources whose rows are questions: the key `kind` chooses."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from negscale.datasets.toyworld_vqa import ToyworldVqaConfig
from negscale.datasets.vqa import VqaConfig

QuestionSourceConfig: TypeAlias = Annotated[ToyworldVqaConfig | VqaConfig, Field(discriminator="kind")]
