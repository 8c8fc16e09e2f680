"""Which models can merge a question into a caption: the union over `kind` is the registry. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from negscale.backends.chat_roles_p2 import ChatMerger
from negscale.backends.config import ChatConfig
from negscale.backends.realiser_merger import RealiserMergerConfig
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.core.config import Config


class ChatMergerConfig(Config):
    """An LLM asked to merge question, "no" and caption."""

    kind: Literal["chat_merger"] = "chat_merger"
    chat: ChatConfig = TinyChatConfig()

    def build(self) -> ChatMerger:
        return ChatMerger(self.chat.build())


MergerConfig = Annotated[ChatMergerConfig | RealiserMergerConfig, Field(discriminator="kind")]
