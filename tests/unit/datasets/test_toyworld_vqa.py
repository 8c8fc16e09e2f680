from __future__ import annotations

from collections import Counter

from negscale.datasets.toy_questions import COLOURS, LIVING, ToyQuestion, questions, votes
from negscale.datasets.toy_scenes import scene
from negscale.datasets.toyworld_vqa import ToyworldVqaConfig
from negscale.language.questions import kind_of
from negscale.language.visibility import invisible_reason
from tests.toy_truth import colour_of, holds
from tests.unit.datasets.layouts import kinds
from tests.unit.datasets.question_layouts import read_questions


def test_rows_do_not_depend_on_shards() -> None:
    config = ToyworldVqaConfig(images=30, questions_per_image=3)
    rows = read_questions(config.build())
    assert rows == read_questions(config.model_copy(update={"shard_rows": 7}).build())
    assert rows[4]["id"] == "toy-00000001-q1"
    assert len(rows) == 90
    assert kinds(rows) == [None] * 90
    assert all(len(row["answers"]) == 10 and set(row["answers"]) <= {"yes", "no"} for row in rows)
    assert all(len(row["image_captions"]) == len(row["image_caption_ids"]) >= 1 for row in rows)
    assert rows != read_questions(config.model_copy(update={"seed": 1}).build())


def test_truths_are_those_of_the_drawing() -> None:
    checked: Counter[bool] = Counter()
    for index in range(400):
        what = scene(3, index)
        for asked in questions(what, 3, index, 5):
            seen = holds(what, asked.text)
            if asked.truth is None:
                assert seen is None
                assert invisible_reason(asked.text) is not None, asked.text
            elif seen is not None:
                assert seen == asked.truth, asked
                checked[asked.truth] += 1
            else:
                assert asked.error_rate == 0.5, asked  # a matter of taste: annotators split
    assert min(checked[True], checked[False]) > 300


def test_colours_are_those_of_the_pixels() -> None:
    assert {name: colour_of(name) for name in COLOURS} == {name: own for name, (own, _) in COLOURS.items()}
    assert set(LIVING) < set(COLOURS)


def test_questions_are_of_every_kind_and_of_both_answers() -> None:
    asked = [q for index in range(500) for q in questions(scene(1, index), 1, index, 4)]
    by_kind = Counter(kind_of(q.text) for q in asked if q.truth is False)
    assert min(by_kind[kind] for kind in ("object", "attribute", "action")) > 20, by_kind
    assert 0.3 < sum(q.truth is True for q in asked) / len(asked) < 0.6
    assert 0.03 < sum(q.truth is None for q in asked) / len(asked) < 0.15


def test_annotators_agree_more_or_less() -> None:
    easy, hard = (ToyQuestion("Is there a dog?", "is there a", False, rate) for rate in (0.02, 0.3))
    noes = {q.error_rate: [sum(a == "no" for a, _ in votes(q, 0, str(k))) for k in range(400)] for q in (easy, hard)}
    assert sum(count >= 8 for count in noes[0.02]) > 390
    assert 100 < sum(count >= 8 for count in noes[0.3]) < 250
    assert votes(hard, 0, "row") == votes(hard, 0, "row") != votes(hard, 0, "other")
