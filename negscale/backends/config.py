"""Which models can play which role: the union over `kind` is the registry. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from negscale.backends.annotation_judge import AnnotationJudgeConfig
from negscale.backends.chat_roles import ChatJudge, ChatNegater, ChatProposer
from negscale.backends.cooccurrence import CooccurrenceConfig
from negscale.backends.detector_judge import DetectorJudgeConfig
from negscale.backends.encoder_judge import EncoderJudgeConfig
from negscale.backends.hf_itm import HfItmConfig
from negscale.backends.openai_chat import OpenAIChatConfig
from negscale.backends.realiser import RealiserConfig
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.backends.vllm import VllmChatConfig
from negscale.core.config import Config
from negscale.core.stage import Resources
from negscale.prompts import negationclip as prompts

ChatConfig = Annotated[TinyChatConfig | VllmChatConfig | OpenAIChatConfig, Field(discriminator="kind")]


class ChatProposerConfig(Config):
    """An LLM asked for an object name."""

    kind: Literal["chat_proposer"] = "chat_proposer"
    chat: ChatConfig = TinyChatConfig()

    def build(self) -> ChatProposer:
        return ChatProposer(self.chat.build())


class ChatJudgeConfig(Config):
    """A multimodal LLM asked a yes/no question."""

    kind: Literal["chat_judge"] = "chat_judge"
    chat: ChatConfig = TinyChatConfig()
    question: str = prompts.VERIFY
    """The question; `{object}` stands for the object's name."""

    def build(self) -> ChatJudge:
        return ChatJudge(self.chat.build(), self.question)


class ChatNegaterConfig(Config):
    """An LLM asked to rewrite the caption."""

    kind: Literal["chat_negater"] = "chat_negater"
    chat: ChatConfig = TinyChatConfig()

    def build(self) -> ChatNegater:
        return ChatNegater(self.chat.build())


ProposerConfig = Annotated[ChatProposerConfig | CooccurrenceConfig, Field(discriminator="kind")]
JudgeConfig = Annotated[
    ChatJudgeConfig | TinyJudgeConfig | DetectorJudgeConfig | AnnotationJudgeConfig | HfItmConfig | EncoderJudgeConfig,
    Field(discriminator="kind"),
]
NegaterConfig = Annotated[ChatNegaterConfig | RealiserConfig, Field(discriminator="kind")]


def resources_of(config: Config) -> Resources:
    """What a worker that holds this backend needs, by the backend's own word; CPU only when it says nothing."""
    inner: Any = getattr(config, "chat", config)
    wish: Any = getattr(inner, "resources", None)
    return wish() if wish is not None else Resources()


def check_access(config: Config) -> None:
    """Raise ConfigError when a key or weights that any backend in `config` needs cannot be had. For plan time."""
    for name in type(config).model_fields:
        value: Any = getattr(config, name)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Config):
                check_access(inner)
    check: Any = getattr(config, "check_access", None)
    if check is not None:
        check()
