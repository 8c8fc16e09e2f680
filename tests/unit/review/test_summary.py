"""Answers and what they say: undo, several windows and reviewers, ties, intervals, agreement, the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negscale.core.errors import AuditError, ConfigError
from negscale.metrics.statistics import wilson_interval
from negscale.review.answers import Act, AnswerLog, check_reviewer, standing
from negscale.review.summary import current_summary, record, stored_summary, summarize
from negscale.storage.audit import audit
from negscale.storage.folder import Folder, open_folder
from negscale.storage.lock import RunLock
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import make_run, row


def _give(log: AnswerLog, reviewer: str, act: Act, row_id: str, form: str = "no") -> None:
    log.append(reviewer, act, row_id, shown="d", form=form, population=100, seed=0)


def _log(path: Path) -> AnswerLog:
    return AnswerLog(open_folder(str(path)))


def test_figures_are_those_counted_by_hand(tmp_path: Path) -> None:
    log = _log(tmp_path)
    for number in range(10):
        _give(log, "ann", "yes" if number < 8 else "no", f"r{number}", "no" if number < 5 else "without")
    _give(log, "ann", "skip", "r10", "without")
    figures = summarize(log.read())
    low, high = wilson_interval(8, 10)
    assert (figures["precision"], figures["low"], figures["high"]) == (0.8, low, high)
    assert (figures["judged"], figures["right"], figures["wrong"], figures["skipped"]) == (10, 8, 2, 1)
    assert figures["forms"]["no"]["precision"] == 1.0
    assert figures["forms"]["without"]["precision"] == 0.6
    assert figures["forms"]["without"]["skipped"] == 1
    assert summarize([]) == {}


def test_undo_brings_back_what_stood_before(tmp_path: Path) -> None:
    log = _log(tmp_path)
    acts: list[tuple[Act, str]] = [("yes", "a"), ("no", "a"), ("yes", "b"), ("undo", "b"), ("undo", "a")]
    for act, row_id in acts:
        _give(log, "ann", act, row_id)
    assert [(a.row, a.act) for a in standing(log.read())] == [("a", "yes")]
    _give(log, "ann", "undo", "a")
    _give(log, "ann", "undo", "a")  # nothing is left to undo
    assert standing(log.read()) == []
    assert summarize(log.read())["judged"] == 0


def test_several_reviewers_vote_and_ties_do_not_count_as_right(tmp_path: Path) -> None:
    log = _log(tmp_path)
    votes: dict[str, list[Act]] = {
        "a": ["yes", "yes", "no"], "b": ["yes", "no", "no"], "c": ["yes", "no", "skip"], "d": ["skip", "skip", "skip"],
    }  # fmt: skip
    for row_id, acts in votes.items():
        for reviewer, act in zip(("ann", "bob", "cy"), acts, strict=True):
            _give(log, reviewer, act, row_id)
    figures = summarize(log.read())
    assert {k: figures[k] for k in ("judged", "right", "wrong", "disputed", "skipped")} == {
        "judged": 3, "right": 1, "wrong": 1, "disputed": 1, "skipped": 1,
    }  # fmt: skip
    assert figures["precision"] == 1 / 3
    pairs = {tuple(p["reviewers"]): (p["rows"], p["agreed"], p["kappa"]) for p in figures["agreement"]}
    assert pairs["bob", "cy"] == (2, 0.5, 0.0)
    assert pairs["ann", "cy"] == (2, 0.0, 0.0)
    assert pairs["ann", "bob"][0:2] == (3, pytest.approx(1 / 3))


def test_kappa_of_a_table_worked_out_by_hand(tmp_path: Path) -> None:
    log = _log(tmp_path)
    for number in range(50):  # 20 both yes, 5 yes/no, 10 no/yes, 15 both no: agreement 0.7, by chance 0.5
        _give(log, "ann", "yes" if number < 25 else "no", f"r{number}")
        _give(log, "bob", "yes" if number < 20 or 25 <= number < 35 else "no", f"r{number}")
    (pair,) = summarize(log.read())["agreement"]
    assert (pair["rows"], pair["agreed"], pair["kappa"]) == (50, 0.7, pytest.approx(0.4))


def test_two_windows_of_a_reviewer_lose_nothing(tmp_path: Path) -> None:
    one, other = _log(tmp_path), _log(tmp_path)
    for number in range(6):
        _give(one if number % 2 else other, "ann", "yes", f"r{number}")
    assert [a.row for a in _log(tmp_path).read()] == [f"r{i}" for i in range(6)]
    assert [a.number for a in _log(tmp_path).read()] == list(range(6))


def test_damage_and_bad_names_are_named(tmp_path: Path) -> None:
    log = _log(tmp_path)
    _give(log, "ann", "yes", "a")
    (tmp_path / "review/answers/bob.000000.json").write_text('{"reviewer": "bob"')
    with pytest.raises(AuditError, match=r"bob\.000000\.json .* is damaged"):
        log.read()
    for name in ("../x", "", "a.b", "x" * 41, "-a"):
        with pytest.raises(ConfigError, match="--reviewer"):
            check_reviewer(name)


def test_the_manifest_gains_one_key_and_keeps_the_others(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row(f"r{i}", "1", "1") for i in range(5)]])
    before = json.loads(run.folder.read("manifest.json"))
    assert (before.pop("reviews"), current_summary(run), record(run)) == ({}, {}, {})
    log = AnswerLog(run.folder)
    for number in range(4):
        _give(log, "ann", "no" if number == 0 else "yes", f"r{number}")
    figures = record(run)
    after = json.loads(run.folder.read("manifest.json"))
    assert after.pop("reviews") == figures == stored_summary(run.folder) == current_summary(run)
    assert after == before
    assert (figures["right"], figures["judged"]) == (3, 4)
    assert audit(run).passed
    _give(log, "bob", "no", "r1")  # the stored summary is old now, and is not believed
    assert current_summary(run)["disputed"] == 1


def test_manifests_of_before_are_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("r", "1", "1")]])
    old = json.loads(run.folder.read("manifest.json"))
    del old["reviews"]
    run.folder.write("manifest.json", json.dumps(old).encode())
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.reviews == {}


def test_a_held_folder_keeps_its_manifest(tmp_path: Path) -> None:
    """A retry deletes the manifest when it begins: a copy of the old one must not come back."""
    run = make_run(tmp_path / "run", [[row("r", "1", "1")]])
    _give(AnswerLog(run.folder), "ann", "yes", "r")
    with RunLock(run.folder):
        before = run.folder.read("manifest.json")
        assert record(run)["right"] == 1
        assert run.folder.read("manifest.json") == before
        run.forget_manifest()
        record(run)
        assert run.manifest() is None
    assert stored_summary(run.folder)["right"] == 1


def test_answers_live_in_an_object_store(s3_uri: str, tmp_path: Path) -> None:
    folder: Folder = open_folder(s3_uri)
    one, other = AnswerLog(folder), AnswerLog(open_folder(s3_uri))
    _give(one, "ann", "yes", "a")
    _give(other, "ann", "no", "b")
    _give(other, "bob", "yes", "a")
    figures: dict[str, Any] = current_summary(RunFolder(s3_uri))
    assert (figures["judged"], figures["right"], list(figures["reviewers"])) == (2, 1, ["ann", "bob"])
