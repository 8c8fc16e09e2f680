"""The filter's judges on drawn pictures: strict answers, one model for both questions."""

from __future__ import annotations

from negscale.backends.nein_judges import ChatCaptionJudgeConfig, ChatObjectJudgeConfig, build_judges
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.backends.tiny.matcher import TinyMatcher, TinyMatcherConfig, objects_in
from negscale.backends.tiny.misbehaviour import Misbehaviour
from negscale.core.backend import Picture, Verdict
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import captions, draw, scene

SCENES = [scene(0, index) for index in range(20)]
PICTURES = [Picture(draw(what), f"toy-{n}", n) for n, what in enumerate(SCENES)]


def test_the_two_questions_are_answered_by_the_drawing() -> None:
    about_object, about_caption = ChatObjectJudgeConfig().build(), ChatCaptionJudgeConfig().build()
    for name in OBJECTS:
        verdicts = about_object.judge(PICTURES, [name] * len(PICTURES))
        assert [v.accept for v in verdicts if isinstance(v, Verdict)] == [name in what.names for what in SCENES]
    texts = [captions(what, 0, n, 1)[0] for n, what in enumerate(SCENES)]
    assert all(isinstance(v, Verdict) and v.accept for v in about_caption.judge(PICTURES, texts))
    wrong = about_caption.judge(PICTURES, texts[1:] + texts[:1])
    assert sum(isinstance(v, Verdict) and v.accept is True for v in wrong) < 8


def test_an_answer_that_is_neither_yes_nor_no_is_no_answer() -> None:
    chat = TinyChatConfig(misbehaviour=Misbehaviour(malformed=1.0))
    verdicts = ChatObjectJudgeConfig(chat=chat).build().judge(PICTURES[:5], ["dog"] * 5)
    assert [v.accept for v in verdicts if isinstance(v, Verdict)] == [None] * 5


def test_the_matcher_scores_the_share_of_what_is_named() -> None:
    what, picture = SCENES[0], PICTURES[0]
    there, gone = sorted(what.names)[0], next(name for name in OBJECTS if name not in what.names)
    texts = [f"A {there}. This image has a {gone}.", f"A {there}", f"a {gone}", "a nice day"]
    scores = [v.score for v in TinyMatcher().judge([picture] * 4, texts) if isinstance(v, Verdict)]
    assert scores[1] > 0.8
    assert scores[2] < 0.4
    assert abs(scores[0] - (scores[1] + scores[2]) / 2) < 1e-3
    assert scores[3] == 0.5
    (fault,) = TinyMatcher().judge([Picture(None, "x")], ["a dog"])
    assert isinstance(fault, Fault)
    assert objects_in("Two cats, a cat and the benches") == ["cat", "bench"]


def test_judges_with_one_chat_config_share_the_model() -> None:
    other = TinyChatConfig(misbehaviour=Misbehaviour(latency_ms=1))
    judges = build_judges({
        "matcher": TinyMatcherConfig(), "caption": ChatCaptionJudgeConfig(), "object": ChatObjectJudgeConfig(),
        "second": ChatObjectJudgeConfig(chat=other),
    })  # fmt: skip
    models = [judges[role]._chat for role in ("caption", "object", "second")]  # type: ignore[attr-defined]
    assert models[0] is models[1] is not models[2]
