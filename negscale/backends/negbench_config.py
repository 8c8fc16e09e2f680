"""Which models can play the roles of NegBench's data. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from negscale.backends.config import ChatConfig, ChatNegaterConfig
from negscale.backends.cooccurrence import CooccurrenceConfig
from negscale.backends.negbench_roles import (
    ChatExtractor,
    ChatListProposer,
    ChatListValidator,
    ChatNegcapNegater,
    ChatRephraser,
)
from negscale.backends.object_lists import AnnotatedObjectsConfig, CaptionNounsConfig
from negscale.backends.realiser import RealiserConfig
from negscale.backends.statements import GrammarRephraserConfig, TemplateNegaterConfig
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.core.config import Config


class ChatExtractorConfig(Config):
    """An LLM asked for the objects of a caption."""

    kind: Literal["chat_extractor"] = "chat_extractor"
    chat: ChatConfig = TinyChatConfig()

    def build(self) -> ChatExtractor:
        return ChatExtractor(self.chat.build())


class ChatListProposerConfig(Config):
    """An LLM asked for five related objects."""

    kind: Literal["chat_list_proposer"] = "chat_list_proposer"
    chat: ChatConfig = TinyChatConfig()

    def build(self) -> ChatListProposer:
        return ChatListProposer(self.chat.build())


class ChatListValidatorConfig(Config):
    """An LLM asked whether a list is one of objects."""

    kind: Literal["chat_list_validator"] = "chat_list_validator"
    chat: ChatConfig = TinyChatConfig()

    def build(self) -> ChatListValidator:
        return ChatListValidator(self.chat.build())


class ChatNegcapConfig(Config):
    """An LLM that writes NegBench's captions."""

    kind: Literal["chat_negcap"] = "chat_negcap"
    chat: ChatConfig = TinyChatConfig()
    style: Literal["negcap", "retrieval"] = "negcap"
    """`negcap` writes from few-shots, `retrieval` rephrases the template."""

    def build(self) -> ChatNegcapNegater:
        return ChatNegcapNegater(self.chat.build(), self.style)


class ChatRephraserConfig(Config):
    """An LLM asked for other words."""

    kind: Literal["chat_rephraser"] = "chat_rephraser"
    chat: ChatConfig = TinyChatConfig()

    def build(self) -> ChatRephraser:
        return ChatRephraser(self.chat.build())


ExtractorConfig = Annotated[
    ChatExtractorConfig | CaptionNounsConfig | AnnotatedObjectsConfig, Field(discriminator="kind")
]
ListProposerConfig = Annotated[ChatListProposerConfig | CooccurrenceConfig, Field(discriminator="kind")]
NegcapConfig = Annotated[
    ChatNegcapConfig | ChatNegaterConfig | TemplateNegaterConfig | RealiserConfig, Field(discriminator="kind")
]
RephraserConfig = Annotated[ChatRephraserConfig | GrammarRephraserConfig, Field(discriminator="kind")]
