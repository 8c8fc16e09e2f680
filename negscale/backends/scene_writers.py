"""Who invents the scenes of HardNeg-Syn (NegBench, arXiv 2501.09425, section D.1): an LLM, or lists that a user gives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator

from negscale.backends.chat_roles import ChatRole, unparsable
from negscale.backends.config import ChatConfig
from negscale.backends.tiny.scenes import TinySceneWriterConfig
from negscale.core.backend import ChatRequest, Scene, SceneRequest, Turn
from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.core.stage import Fault
from negscale.prompts import hardneg as prompts


class ChatSceneWriterConfig(Config):
    """An LLM asked for a setting and a related object."""

    kind: Literal["chat_scene_writer"] = "chat_scene_writer"
    chat: ChatConfig

    def build(self) -> ChatSceneWriter:
        return ChatSceneWriter(self.chat.build())


class ChatSceneWriter(ChatRole):
    """`SceneWriter`: a label in, "setting | object" out; anything else is a retryable Fault."""

    def write(self, requests: Sequence[SceneRequest]) -> list[Scene | Fault]:
        turns = [Turn("system", prompts.SYSTEM)]
        for label, answer in prompts.EXAMPLES:
            turns += [Turn("user", prompts.scene_prompt(label)), Turn("assistant", answer)]
        replies = self._chat.generate([
            ChatRequest((*turns, Turn("user", prompts.scene_prompt(request.label))), request.seed) for request in requests
        ])  # fmt: skip
        scenes: list[Scene | Fault] = []
        for reply in replies:
            if isinstance(reply, Fault):
                scenes.append(reply)
                continue
            said = prompts.parse_scene(reply.text) if reply.finish_reason == "stop" else None
            scenes.append(Scene(*said) if said else unparsable("'setting | object'", reply))
        return scenes


class ListedScenesConfig(Config):
    """Settings and objects that go together, drawn by the request's seed; no model."""

    kind: Literal["listed_scenes"] = "listed_scenes"
    scenes: dict[str, tuple[str, ...]]
    """Setting, as it stands in a sentence ("a kitchen") -> objects that are often there."""

    @field_validator("scenes")
    @classmethod
    def _not_empty(cls, scenes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for setting, objects in scenes.items():
            if not setting.strip() or len(objects) < 2:
                raise ValueError(f"setting {setting!r} has {list(objects)}; expected two objects or more")
        if not scenes:
            raise ValueError("expected at least one setting, e.g. {a kitchen: [cup, kettle]}")
        return scenes

    def build(self) -> ListedScenes:
        return ListedScenes(self)


class ListedScenes:
    """`SceneWriter`; exact. A setting that lists the label where there is one, else any."""

    exact = True

    def __init__(self, config: ListedScenesConfig) -> None:
        self._scenes = [(setting, tuple(dict.fromkeys(objects))) for setting, objects in config.scenes.items()]

    @property
    def id(self) -> str:
        return f"negscale/listed_scenes@{hashlib.sha256(repr(self._scenes).encode()).hexdigest()[:12]}"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def write(self, requests: Sequence[SceneRequest]) -> list[Scene | Fault]:
        return [self._one(request) for request in requests]

    def _one(self, request: SceneRequest) -> Scene:
        rng = rng_for(request.seed, "listed_scenes")
        fitting = [scene for scene in self._scenes if request.label in scene[1]] or self._scenes
        setting, objects = fitting[int(rng.random() * len(fitting))]
        others = [name for name in objects if name != request.label]
        return Scene(setting, others[int(rng.random() * len(others))])


SceneWriterConfig: TypeAlias = Annotated[
    TinySceneWriterConfig | ChatSceneWriterConfig | ListedScenesConfig, Field(discriminator="kind")
]
