"""A small experiment end to end: cells are kept, another experiment is refused, and texts of the tests stop a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from negscale.core.errors import PlanError
from negscale.science.data import Made, make_runs
from negscale.science.exams import ExamSizes
from negscale.science.experiment import ScienceConfig, check_split, run
from negscale.science.methods import BASE, BLIND, FREE, OURS, TRAINED, Tuning, training
from negscale.science.scoring import COLUMNS
from negscale.science.split import Split, split_objects
from negscale.science.summary import facts_of
from negscale.science.texts import trained_texts

pytest.importorskip("torch", reason="the tiny CLIP trains in torch")


def small(root: Path) -> ScienceConfig:
    return ScienceConfig(
        seeds=(0,), methods=(BASE, OURS, FREE, BLIND), images=100, root=str(root),
        exams=ExamSizes(gallery=20, questions=48, classes=16, referring_scenes=300),
        tuning=Tuning(steps=4, batch_rows=32, question_rows=16),
    )  # fmt: skip


def test_an_experiment_goes_on_where_it_stopped_and_knows_its_folder(tmp_path: Path) -> None:
    told: list[str] = []
    facts = facts_of(run(small(tmp_path), told.append))
    rows = {row["method"]: row["columns"] for row in facts["rows"]}
    assert all(rows[name][column]["items"] > 10 for name in (BASE, OURS, FREE) for column in COLUMNS)
    assert rows[BLIND]["retrieval"] is None
    assert rows[BLIND]["mcq"]["value"] < 0.5
    assert rows[OURS]["mcq"]["value"] != rows[BASE]["mcq"]["value"], "four steps change something"
    assert told
    again: list[str] = []
    assert facts_of(run(small(tmp_path), again.append)) == facts
    assert not again, "everything was there"
    with pytest.raises(PlanError, match="other images"):
        run(small(tmp_path).model_copy(update={"images": 101}), again.append)
    with pytest.raises(PlanError, match="no row is called 'p3'"):
        run(small(tmp_path).model_copy(update={"methods": ("p3",)}), again.append)


def test_seeds_side_by_side_give_what_they_give_in_turn(tmp_path: Path) -> None:
    told: list[str] = []
    plan = small(tmp_path / "both").model_copy(update={"seeds": (3, 4), "methods": (BLIND,), "processes": 2})
    plan = plan.model_copy(update={"exams": plan.exams.model_copy(update={"scenes": 4000})})
    beside = run(plan, told.append)[BLIND]
    assert told == ["seed 3: done", "seed 4: done"]
    alone = plan.model_copy(update={"seeds": (4,), "root": str(tmp_path / "alone"), "processes": 1})
    assert beside[4].equals(run(alone, told.append)[BLIND][4])
    assert not beside[3].equals(beside[4])
    assert run(plan.model_copy(update={"processes": 1}), told.append)[BLIND][3].equals(beside[3]), "the same experiment"


def test_no_training_reads_what_the_tests_ask(tmp_path: Path) -> None:
    config, split = small(tmp_path), split_objects(0)
    made: dict[str, Made] = dict(make_runs(str(tmp_path), 0, 20_000, 100))
    assert all(one.rows > 20 and one.refused > 20 for one in made.values()), made
    for name, method in TRAINED.items():
        planned = training(method, made, config.model(), config.tuning, 0, str(tmp_path), name)
        check_split(split, planned)
        assert len(set(trained_texts(planned))) >= 40
    one_group = Split((tuple(name for group in split.groups for name in group),))
    with pytest.raises(PlanError, match="test_pair"):
        check_split(one_group, training(TRAINED["p1"], made, config.model(), config.tuning, 0, str(tmp_path), "x"))
