"""HardNeg-Syn's stages where models do not answer as they should."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from negscale.backends.image_store import ImageStoreConfig
from negscale.backends.tiny.maker import TinyMaker, TinyMakerConfig
from negscale.core.backend import Image, ImageRequest, NegationRequest, Picture, Scene, SceneRequest, Verdict
from negscale.core.rng import rng_for
from negscale.core.stage import Fault, Reject, Resources
from negscale.datasets.images import ImageReader
from negscale.language.check import CheckOptions
from negscale.stages.hardneg import MakeScenePair, ProposeScene, VerifyScenePair, pair_question
from negscale.stages.retrieval import WriteRetrievalCaption

CPU = Resources()


class Backend:
    """Answers by a function of request and number of the call."""

    exact, needs_pixels, id = True, True, "made"

    def __init__(self, answer: Callable[[Any, int], Any]) -> None:
        self.answer, self.calls = answer, 0

    def load(self) -> None: ...

    def close(self) -> None: ...

    def _all(self, requests: Sequence[Any]) -> list[Any]:
        self.calls += 1
        return [self.answer(request, self.calls) for request in requests]

    def write(self, requests: Sequence[SceneRequest]) -> list[Any]:
        return self._all(requests)

    def make(self, requests: Sequence[ImageRequest]) -> list[Any]:
        return self._all(requests)

    def negate(self, requests: Sequence[NegationRequest]) -> list[Any]:
        return self._all(requests)

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Any]:
        return self._all(list(zip(pictures, claims, strict=True)))


def set_up(stage: Any) -> Any:
    stage.setup()
    return stage


def test_a_companion_that_is_the_label_is_asked_again_then_refused() -> None:
    def answer(request: SceneRequest, call: int) -> Scene:
        return Scene("a park", "dogs" if request.label == "dog" or call == 1 else "tree")

    rows = [{"id": "0", "label": "dog"}, {"id": "1", "label": "dogs"}, {"id": "2", "label": "cat"}]
    found = set_up(ProposeScene(lambda: Backend(answer), 0, 3, CPU)).process(rows)
    assert found == [
        Reject("same_object"),
        {"background": "a park", "companion": "tree"},
        {"background": "a park", "companion": "dogs"},
    ]


def test_black_pictures_are_made_again_and_a_row_that_breaks_takes_none_with_it(tmp_path: Path) -> None:
    good = TinyMaker(TinyMakerConfig())

    def answer(request: ImageRequest, call: int) -> Image | Fault:
        if "hat" in request.prompt:
            return Fault("unknown_object", "no hats here")
        (image,) = good.make([request])
        assert isinstance(image, np.ndarray)
        return np.zeros_like(image) if call == 1 and request.negative_prompt else image

    rows = [
        {"id": str(k), "label": label, "background": "a park", "companion": "tree"} for k, label in enumerate(("dog", "hat", "cat"))
    ]  # fmt: skip
    maker = Backend(answer)
    stage = set_up(MakeScenePair(lambda: maker, lambda: ImageStoreConfig().build(str(tmp_path)), 32, 0, 3, CPU))
    found = stage.process(rows)
    assert isinstance(found[1], Fault)
    assert found[1].kind == "unknown_object"
    assert maker.calls == 2
    reader = ImageReader(str(tmp_path))
    for k in (0, 2):
        with_, without = (reader.read(found[k][f"image_{side}"]) for side in ("with", "without"))
        assert with_.any()
        assert without.any()
        assert (with_ != without).any()
        request = ImageRequest(found[k]["prompt_without"], "tree", found[k]["seed_without"])
        assert (np.asarray(good.make([request])[0]) == without).all()  # the seed in the row is the one that made it
    black = Backend(lambda request, call: np.zeros((8, 8, 3), np.uint8))
    (gone,) = set_up(
        MakeScenePair(lambda: black, lambda: ImageStoreConfig().build(str(tmp_path)), 1, 0, 2, CPU)
    ).process(rows[:1])
    assert isinstance(gone, Fault)
    assert gone.kind == "blank_edit"
    assert black.calls == 4


class Pictures:
    """An image store's reader: a picture, or none."""

    def read(self, ref: Any) -> Image:
        return np.full((4, 4, 3), ref["offset"], np.uint8)


def verified(answer: Callable[[Any, int], Any], rows: int = 1) -> list[Any]:
    refs = {f"image_{side}": {"uri": "a.tar", "offset": k} for k, side in enumerate(("with", "without"))}
    asked = [{"id": str(n), "label": "dog", "companion": "tree", **refs} for n in range(rows)]
    return set_up(VerifyScenePair(lambda: Backend(answer), Pictures(), 0, 3, CPU)).process(asked)  # type: ignore[return-value]


def test_each_way_to_fail_has_its_reason() -> None:
    cases = {
        (True, True, True, False): None, (False, True, True, False): "label_missing",
        (True, False, True, False): "companion_missing",
        (True, True, False, False): "label_missing", (True, True, True, True): "companion_present",
    }  # fmt: skip
    for seen, reason in cases.items():

        def answer(asked: Any, call: int, seen: Any = seen) -> Verdict:
            picture, claim = asked
            at = 2 * int(picture.pixels[0, 0, 0]) + (claim == "tree")
            return Verdict(seen[at], float(seen[at]), "")

        (found,) = verified(answer)
        if reason is None:
            assert [side["has_companion"] for side in found["sides"]] == [True, False]
        else:
            assert isinstance(found, Reject)
            assert found.reason == reason
            assert set(found.keep or {}) == {
                f"{what}_score_{side}" for what in ("label", "companion") for side in ("with", "without")
            }


def test_an_answer_that_cannot_be_read_is_asked_again_then_quarantined() -> None:
    def slow(asked: Any, call: int) -> Verdict:
        picture, claim = asked
        there = claim == "dog" or picture.image_id.endswith("-with")
        return Verdict(None if call < 3 else there, 0.5, "perhaps")

    assert "sides" in verified(slow)[0]
    (found,) = verified(lambda asked, call: Verdict(None, 0.5, "perhaps"))
    assert isinstance(found, Fault)
    assert (found.kind, found.retryable) == ("unparsable", True)


def test_both_pictures_get_the_same_options_and_other_answers() -> None:
    types = set()
    for seed in range(40):
        with_, without = (pair_question("dog", "tree", shown, rng_for(seed, "q")) for shown in (True, False))
        assert with_["statements"] == without["statements"]
        for question, names in ((with_, {"dog", "tree"}), (without, {"dog"})):
            truth = [set(s["affirmed"]) <= names and not set(s["denied"]) & names for s in question["statements"]]
            assert truth == [k == question["answer"] for k in range(4)]
        types |= {with_["question_type"], without["question_type"]}
    assert types == {"positive", "negative", "hybrid"}


def test_captions_that_do_not_say_it_are_asked_again_then_refused() -> None:
    def answer(request: NegationRequest, call: int) -> str | Fault:
        if "cat" in request.caption:
            return "A cat."
        if "car" in request.caption:
            return Fault("timeout", "no answer", retryable=True)
        return f"{request.caption[:-1]}, but there is no {request.absent_object}." if call == 2 else "I cannot do that."

    rows = [
        {"id": str(k), "caption": text, "absent_object": absent}
        for k, (text, absent) in enumerate([("A dog.", "tree"), ("A cat.", "tree"), ("A car.", "tree"), ("A bus.", None)])
    ]  # fmt: skip
    stage = set_up(WriteRetrievalCaption(lambda: Backend(answer), CheckOptions(), 0, 3, CPU))
    found = stage.process(rows)
    assert found[0]["captions"] == ["A dog, but there is no tree."]
    assert found[0]["caption_order"] in ("affirmation_first", "negation_first")
    assert isinstance(found[1], Reject)
    assert found[1].reason == "no_negation"
    assert isinstance(found[2], Fault)
    assert found[2].kind == "timeout"
    assert found[3] == {"captions": ["A bus."], "caption_order": None}
