"""Exams are true of their scenes, solvable by sight, and by nothing less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from negscale.benchmarks.controls import blind_controls
from negscale.benchmarks.scoring import choice_table
from negscale.datasets.toy_scenes import Scene, scene
from negscale.questions.options import claim_of
from negscale.science.exams import LEXICON, Exam, ExamSizes, scene_exams
from negscale.science.referring import referring_exam
from negscale.science.split import names_in, split_objects

SIZES = ExamSizes(scenes=4000, gallery=40, questions=48, classes=60, referring_scenes=600)
SPLIT = split_objects(3)
WORLD = 30_003


@pytest.fixture(scope="module")
def exams() -> dict[str, Exam]:
    return {exam.name: exam for exam in scene_exams(SPLIT, 3, WORLD, SIZES)}


def drawn(image: str) -> Scene:
    return scene(*map(int, image.removeprefix("toyworld:").split("/")))


def holds(text: str, what: Scene) -> bool:
    claim = claim_of(text, LEXICON)
    return set(claim.affirmed) <= what.names and not set(claim.denied) & what.names


def test_questions_have_one_true_option_and_it_is_the_answer(exams: dict[str, Exam]) -> None:
    rows = exams["mcq"].items.to_pylist()
    assert len(rows) >= 3 * 48
    for row in rows:
        true = [holds(text, drawn(row["images"][0])) for text in row["texts"]]
        assert true == [at == row["answer"] for at in range(4)], row
        named = {name for text in row["texts"] for name in names_in(text)}
        assert named <= set(SPLIT.group_of(min(named))), "the objects of a question are one group"
    assert exams["mcq"].types == ["hybrid", "negative", "positive"]


def test_solvers_without_images_have_chance(exams: dict[str, Exam]) -> None:
    controls = blind_controls("choose_text", exams["mcq"].items, "mcq", LEXICON)
    for name, estimate in controls.estimates().items():
        assert estimate.low is not None
        assert estimate.low - 0.06 <= 0.25, (name, estimate)
    constant = choice_table(
        exams["mcq"].items, np.zeros((len(exams["mcq"].items), 4)), np.ones((len(exams["mcq"].items), 4), bool)
    )
    assert constant["credit"].to_numpy().mean() == pytest.approx(0.25)


def test_squares_are_true_on_the_diagonal_only(exams: dict[str, Exam]) -> None:
    rows = exams["groups"].items.to_pylist()
    assert len(rows) >= 50
    for row in rows:
        a, b = map(drawn, row["images"])
        first, second = row["texts"]
        assert [holds(first, a), holds(first, b), holds(second, a), holds(second, b)] == [True, False, False, True]


def test_captions_are_true_and_deny_in_one_exam_only(exams: dict[str, Exam]) -> None:
    for name in ("retrieval", "retrieval_neg"):
        for row in exams[name].items.to_pylist():
            for text in row["texts"]:
                claim = claim_of(text, LEXICON)
                assert holds(text, drawn(row["images"][0])), text
                assert bool(claim.denied) == (name == "retrieval_neg"), text
                assert not any(not SPLIT.is_test_pair(a, b) for a in names_in(text) for b in names_in(text) if a != b)


def test_classes_are_those_of_single_objects(exams: dict[str, Exam]) -> None:
    rows = exams["zero_shot"].items.to_pylist()
    assert len(rows) == 60
    assert all(names_in(row["texts"][row["answer"]]) == drawn(row["images"][0]).names for row in rows)


def test_referred_objects_lack_what_the_other_has(tmp_path: Path) -> None:
    from negscale.datasets.toy_pairs import pair_scene

    items: pa.Table = referring_exam(SPLIT, str(tmp_path), 3, WORLD, 600).items
    assert len(items) >= 20
    for row in items.to_pylist():
        what = pair_scene(*map(int, row["images"][0].removeprefix("toypairs:").split("/")))
        claim = claim_of(row["texts"][0], LEXICON)
        (kind,), (denied,) = claim.affirmed, claim.denied
        assert what.kind == kind
        held = [
            any(one.name == denied and _inside(one.box_xywh_px, box) for one in what.items)
            for box in row["boxes_xywh_px"]
        ]
        assert held == [at != row["answer"] for at in range(2)], row


def _inside(box: tuple[float, ...], patch: list[float]) -> bool:
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return patch[0] <= x <= patch[0] + patch[2] and patch[1] <= y <= patch[1] + patch[3]
