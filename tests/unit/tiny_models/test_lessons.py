from __future__ import annotations

import re

import numpy as np

from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import captions, scene
from negscale.language.check import check_negated_caption
from negscale.language.nouns import mentions
from negscale.prompts import negationclip as prompts
from negscale.prompts.answers import parse_object
from negscale.tiny_models.lessons import (
    TEST_WORLD,
    TRAIN_WORLD,
    exams,
    negations,
    object_grid,
    proposals,
    random_proposals,
)

SCENES = range(200)
NEGATE = re.compile(re.escape(prompts.NEGATE).replace(r"\{object\}", "(.+?)").replace(r"\{caption\}", "(.+)"))


def said() -> list[str]:
    return [text for i in SCENES for text in captions(scene(TRAIN_WORLD, i), TRAIN_WORLD, i, 2)]


def test_conversations_are_those_of_p1() -> None:
    proposal, negation = proposals(TRAIN_WORLD, range(1))[0], negations(TRAIN_WORLD, range(1))[0]
    assert [turn.role for turn in proposal.turns] == ["system", "user"]
    assert proposal.turns[1].text == prompts.propose_prompt(said()[0], "contextual")
    assert [turn.role for turn in negation.turns] == ["system", *["user", "assistant"] * 2, "user"]
    assert random_proposals(TRAIN_WORLD, range(1))[0].turns[1].text == prompts.PROPOSE_RANDOM


def test_answers_are_good() -> None:
    for caption, lesson in zip(said(), proposals(TRAIN_WORLD, SCENES), strict=True):
        name = parse_object(lesson.answer)
        assert name in OBJECTS
        assert not mentions(caption, name)
    for lesson in negations(TRAIN_WORLD, SCENES):
        asked = NEGATE.fullmatch(lesson.turns[-1].text)
        assert asked
        name, caption = asked.groups()
        assert check_negated_caption(caption, lesson.answer, name).accepted, lesson.answer


def test_exams_are_balanced_and_true() -> None:
    asked = [(exam, name, there) for exam in exams(TRAIN_WORLD, SCENES, 4) for name, there in exam.asked]
    assert all((name in exam.what.names) == there for exam, name, there in asked)
    assert sum(there for *_, there in asked) == len(asked) // 2
    assert {name for *_, name, there in asked if not there} == set(OBJECTS)


def test_the_grid_holds_every_object_once() -> None:
    for what in (scene(TRAIN_WORLD, i) for i in SCENES):
        numbers = object_grid(what)
        assert sorted(OBJECTS[n] for n in numbers[numbers < len(OBJECTS)]) == sorted(what.names)


def test_lessons_repeat_and_worlds_differ() -> None:
    assert negations(TRAIN_WORLD, SCENES) == negations(TRAIN_WORLD, SCENES)
    assert proposals(TRAIN_WORLD, range(5)) == proposals(TRAIN_WORLD, SCENES)[:10]
    train = {scene(TRAIN_WORLD, i).objects for i in range(2000)}
    assert np.mean([scene(TEST_WORLD, i).objects in train for i in range(500)]) < 0.05
