"""Which editors there are: the union over `kind` is the registry. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from negscale.backends.copy_paste import CopyPasteConfig
from negscale.backends.diffusers_editor import DiffusersEditorConfig
from negscale.backends.instruction_editor import InstructionEditorConfig
from negscale.backends.tiny.editor import TinyEditorConfig

EditorConfig: TypeAlias = Annotated[
    TinyEditorConfig | CopyPasteConfig | DiffusersEditorConfig | InstructionEditorConfig, Field(discriminator="kind")
]
