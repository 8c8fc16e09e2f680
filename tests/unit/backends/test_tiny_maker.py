"""The tiny image maker and scene writer: what they draw is what was asked for, and their failures are as often as set."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from negscale.backends.tiny.maker import TinyMaker, TinyMakerConfig
from negscale.backends.tiny.misbehaviour import Misbehaviour
from negscale.backends.tiny.scenes import TinySceneWriter, TinySceneWriterConfig
from negscale.backends.tiny.vision import find
from negscale.core.backend import ImageRequest, Scene, SceneRequest
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import PLACE_BY_NAME

WITH = "a park with a dog next to a bench"


def seen(image: np.ndarray) -> set[str]:
    return {name for name in OBJECTS if find(image, name).score >= 0.5}


@pytest.mark.parametrize("seed", range(8))
def test_the_picture_shows_what_the_prompt_says(seed: int) -> None:
    request = ImageRequest(WITH, seed=seed)
    maker = TinyMaker()
    (image,) = maker.make([request])
    assert isinstance(image, np.ndarray)
    assert seen(image) == {"dog", "bench"}
    what = maker.scene_of(request)
    assert what is not None
    assert what.names == {"dog", "bench"}
    assert what.place.name == "park"
    first, second = what.objects
    assert abs(first.x_px - second.x_px) <= 36
    assert abs(first.y_px - second.y_px) <= 36


def test_denied_and_unwanted_objects_are_not_drawn() -> None:
    maker = TinyMaker()
    request = ImageRequest("A kitchen with a cup, but no apple", "cat", 1)
    what = maker.scene_of(request)
    assert what is not None
    assert what.names == {"cup"}
    (fault,) = maker.make([ImageRequest("a sunset", seed=1)])
    assert isinstance(fault, Fault)
    assert fault.kind == "unknown_object"


@pytest.mark.parametrize(
    ("config", "names"), [({"forgets": 0.4}, {"dog"}), ({"insists": 0.4}, {"dog", "bench", "cat"})]
)  # fmt: skip
def test_failures_are_as_often_as_set(config: dict[str, float], names: set[str]) -> None:
    maker = TinyMaker(TinyMakerConfig(**config))  # type: ignore[arg-type]
    drawn = [maker.scene_of(ImageRequest(WITH, "cat", seed)) for seed in range(200)]
    wrong = sum(what is not None and what.names == names for what in drawn)
    assert 55 <= wrong <= 105
    assert all(what is not None and what.names in (names, {"dog", "bench"}) for what in drawn)


def test_black_and_broken_pictures() -> None:
    black = TinyMaker(TinyMakerConfig(blank=1.0)).make([ImageRequest(WITH)])[0]
    assert isinstance(black, np.ndarray)
    assert not black.any()
    broken = TinyMaker(TinyMakerConfig(misbehaviour=Misbehaviour(malformed=1.0))).make([ImageRequest(WITH)])[0]
    assert isinstance(broken, Fault)
    assert broken.retryable


def test_scenes_are_likely_and_never_the_object_beside_itself() -> None:
    scenes = TinySceneWriter().write([SceneRequest("bench", seed) for seed in range(300)])
    assert all(
        isinstance(scene, Scene) and scene.companion in OBJECTS and scene.companion != "bench" for scene in scenes
    )
    places = Counter(scene.background for scene in scenes if isinstance(scene, Scene))
    assert set(places) <= {f"a {name}" for name in PLACE_BY_NAME}
    assert places.most_common(1)[0][0] == "a park"
    again = TinySceneWriter().write([SceneRequest("benches", 5)])
    assert again == [scenes[5]]


def test_writers_fault_on_what_they_do_not_know() -> None:
    found = TinySceneWriter().write([SceneRequest("submarine")])[0]
    assert isinstance(found, Fault)
    assert not found.retryable
    config = TinySceneWriterConfig(misbehaviour=Misbehaviour(malformed=1.0))
    found = TinySceneWriter(config).write([SceneRequest("dog")])[0]
    assert isinstance(found, Fault)
    assert found.retryable
