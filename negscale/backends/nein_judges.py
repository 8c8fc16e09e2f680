"""NeIn's two yes/no questions about an edited image, put to a multimodal chat model (arXiv 2409.06481, section 3.1).

Answers are parsed strictly: one that is neither yes nor no is a verdict without an answer, and the stage asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from negscale.backends.annotation_judge import AnnotationJudgeConfig
from negscale.backends.chat_roles import ChatRole
from negscale.backends.config import ChatConfig, ChatJudgeConfig
from negscale.backends.detector_judge import DetectorJudgeConfig
from negscale.backends.encoder_judge import EncoderJudgeConfig
from negscale.backends.hf_detectors import HfDetectorConfig, HfZeroShotDetectorConfig
from negscale.backends.hf_itm import HfItmConfig
from negscale.backends.onnx_detector import OnnxDetectorConfig
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.backends.tiny.detector import TinyDetectorConfig
from negscale.backends.tiny.matcher import TinyMatcherConfig
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.backend import ChatModel, ChatRequest, Judge, Picture, Turn, Verdict
from negscale.core.config import Config
from negscale.core.stage import Fault
from negscale.language.instructions import words_of
from negscale.prompts.answers import parse_yes_no
from negscale.prompts.nein import caption_question, object_question


class ChatObjectJudgeConfig(Config):
    """A multimodal LLM asked "Does this image contain a dog?"."""

    kind: Literal["chat_object_judge"] = "chat_object_judge"
    chat: ChatConfig = TinyChatConfig()

    def build(self, chat: ChatModel | None = None) -> QuestionJudge:
        """The judge; chat: a model to ask instead of one of its own."""
        return QuestionJudge(chat or self.chat.build(), _about_object)


class ChatCaptionJudgeConfig(Config):
    """A multimodal LLM asked whether a caption describes the image."""

    kind: Literal["chat_caption_judge"] = "chat_caption_judge"
    chat: ChatConfig = TinyChatConfig()

    def build(self, chat: ChatModel | None = None) -> QuestionJudge:
        """The judge; chat: a model to ask instead of one of its own."""
        return QuestionJudge(chat or self.chat.build(), caption_question)


def _about_object(name: str) -> str:
    return object_question(words_of(name).subject)


class QuestionJudge(ChatRole):
    """`Judge`: each claim becomes a question; the answer's score is 1, 0, or 0.5 where there is none."""

    needs_pixels = True

    def __init__(self, chat: ChatModel, question: Callable[[str], str]) -> None:
        super().__init__(chat)
        self._question = question

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        """One verdict per (picture, claim)."""
        replies = self._chat.generate([
            ChatRequest((Turn("user", self._question(claim), picture.pixels),), picture.seed)
            for picture, claim in zip(pictures, claims, strict=True)
        ])  # fmt: skip
        verdicts: list[Verdict | Fault] = []
        for reply in replies:
            if isinstance(reply, Fault):
                verdicts.append(reply)
                continue
            said = parse_yes_no(reply.text)
            verdicts.append(Verdict(said, {True: 1.0, False: 0.0, None: 0.5}[said], reply.text))
        return verdicts


_Asked = ChatObjectJudgeConfig | ChatCaptionJudgeConfig


def build_judges(configs: Mapping[Any, Any]) -> dict[Any, Judge]:
    """Role -> judge, not loaded. Roles that ask a model with the same config share one: its weights are loaded once."""
    chats: dict[str, ChatModel] = {}
    judges: dict[Any, Judge] = {}
    for role, config in configs.items():
        if isinstance(config, _Asked):
            key = chat_key(config)
            if key not in chats:
                chats[key] = config.chat.build()
            judges[role] = config.build(chats[key])
        else:
            judges[role] = config.build()
    return judges


def chat_key(config: _Asked) -> str:
    """Equal for judges that can share their model."""
    return config.chat.model_dump_json()


# scores how well a text, or a bare name, fits an image
MatcherConfig: TypeAlias = Annotated[TinyMatcherConfig | HfItmConfig | EncoderJudgeConfig, Field(discriminator="kind")]
# scores a bare name
ScorerConfig: TypeAlias = Annotated[
    TinyJudgeConfig | TinyMatcherConfig | HfItmConfig | EncoderJudgeConfig | DetectorJudgeConfig,
    Field(discriminator="kind"),
]
# finds an object's box
LocatorConfig: TypeAlias = Annotated[
    TinyDetectorConfig | OnnxDetectorConfig | HfDetectorConfig | HfZeroShotDetectorConfig, Field(discriminator="kind")
]
CaptionJudgeConfig: TypeAlias = Annotated[
    ChatCaptionJudgeConfig | TinyMatcherConfig | HfItmConfig | EncoderJudgeConfig, Field(discriminator="kind")
]
ObjectJudgeConfig: TypeAlias = Annotated[
    ChatObjectJudgeConfig | ChatJudgeConfig | TinyJudgeConfig | DetectorJudgeConfig | AnnotationJudgeConfig
    | HfItmConfig | EncoderJudgeConfig,
    Field(discriminator="kind"),
]  # fmt: skip
