"""Scenes from a chat model and from lists; answers that are no scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from negscale.backends.scene_writers import ChatSceneWriter, ListedScenesConfig
from negscale.core.backend import ChatRequest, Reply, Scene, SceneRequest
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault
from negscale.prompts.hardneg import parse_scene


class Chat:
    """Answers in turn; remembers what it was asked."""

    exact, accepts_images, id = True, False, "chat"

    def __init__(self, *answers: Reply | Fault) -> None:
        self.answers, self.asked = answers, list[ChatRequest]()

    def load(self) -> None: ...

    def close(self) -> None: ...

    def generate(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]:
        self.asked += requests
        return list(self.answers)


def said(text: str, finish: Any = "stop") -> Reply:
    return Reply(text, finish, 1, 1)


@pytest.mark.parametrize(
    ("answer", "scene"),
    [
        ("a garden | tennis ball", ("a garden", "tennis ball")), ("A Garden | The ball.", ("a Garden", "ball")),
        ('"a cafe table | croissant"', ("a cafe table", "croissant")), ("a garden", None), ("a | b | c", None), ("", None),
        ("Sure! A scene: a garden | ball", None), ("a garden | ball\na park | bat", None), ("a garden | a very big red ball", None),
        ("a garden | 3 balls", None), ("| ball", None), ("garden |", None),
    ],
)  # fmt: skip
def test_answers_are_read_strictly(answer: str, scene: tuple[str, str] | None) -> None:
    assert parse_scene(answer) == scene


def test_a_chat_model_writes_scenes() -> None:
    broken = Fault("timeout", "no answer", retryable=True)
    chat = Chat(said("a garden | ball"), said("I cannot help with that."), said("a park | ben", "length"), broken)
    found = ChatSceneWriter(chat).write([SceneRequest("it's a dog", seed) for seed in range(4)])
    assert found[0] == Scene("a garden", "ball")
    assert [fault.kind for fault in found if isinstance(fault, Fault)] == ["unparsable", "unparsable", "timeout"]
    assert all(fault.retryable for fault in found if isinstance(fault, Fault))
    assert [request.seed for request in chat.asked] == [0, 1, 2, 3]
    turns = chat.asked[0].turns
    assert [turn.role for turn in turns[:3]] == ["system", "user", "assistant"]
    assert "dog" in turns[-1].text


def test_listed_scenes_fit_the_label_where_one_does() -> None:
    lists = {"a kitchen": ("cup", "kettle", "pan"), "a road": ("car", "bus")}
    writer = ListedScenesConfig(scenes=lists).build()
    for seed in range(20):
        cup, other = writer.write([SceneRequest("cup", seed), SceneRequest("zebra", seed)])
        assert isinstance(cup, Scene)
        assert cup.background == "a kitchen"
        assert cup.companion in ("kettle", "pan")
        assert isinstance(other, Scene)
        assert other.companion in lists[other.background]
    assert writer.write([SceneRequest("cup", 3)]) == ListedScenesConfig(scenes=lists).build().write(
        [SceneRequest("cup", 3)]
    )
    assert writer.id != ListedScenesConfig(scenes={"a road": ("car", "bus")}).build().id


@pytest.mark.parametrize("scenes", [{}, {"a road": ("car",)}, {" ": ("car", "bus")}])
def test_lists_that_say_nothing_are_refused(scenes: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises((ValueError, ConfigError), match="expected"):
        ListedScenesConfig(scenes=scenes)
