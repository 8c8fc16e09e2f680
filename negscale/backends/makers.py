"""Which image makers there are: the union over `kind` is the registry. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from negscale.backends.diffusers_maker import DiffusersMakerConfig
from negscale.backends.tiny.maker import TinyMakerConfig

MakerConfig: TypeAlias = Annotated[TinyMakerConfig | DiffusersMakerConfig, Field(discriminator="kind")]
