"""The audit's facts, its terminal table and its page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from negscale import cli
from negscale.core.errors import ConfigError
from negscale.questions.audit import CONTROL, audit_files, audit_questions
from negscale.questions.table import Questions
from negscale.report.questions import questions_table
from negscale.report.questions_page import questions_page

OPTIONS = ("A knife, but no car.", "A car, but no knife.", "A car.", "There is no knife.")


def released(n: int = 40) -> Questions:
    """As NegBench releases: the right option always first, and given away by the others."""
    return Questions("a <released> file", tuple(map(str, range(n))), (OPTIONS,) * n, (0,) * n, ("hybrid",) * n)


def test_facts_of_a_leaking_file() -> None:
    audit = audit_questions(released())
    by_name = {solved.solver: solved for solved in audit.solvers}
    joint = by_name["joint rule"]
    assert joint.accuracy == 1
    assert joint.low == pytest.approx(0.9124, abs=1e-4)  # Wilson, 40 of 40
    assert by_name["type prior"].accuracy == 0.5
    assert audit.positions == (40, 0, 0, 0)
    assert audit.types == {"hybrid": 40}
    assert {(role.role, role.kind): role.options for role in audit.roles} == {
        ("right", "hybrid"): 40, ("wrong", "hybrid"): 40, ("wrong", "deny"): 40, ("wrong", "affirm_one"): 40,
    }  # fmt: skip
    assert json.loads(json.dumps(audit.facts()))["strongest_blind"] == "joint rule"


def test_a_solver_that_cannot_run_says_why() -> None:
    pytest.importorskip("sklearn")
    audit = audit_questions(released(3))
    assert audit.skipped == {"caption-only regression": "3 distinct keys cannot fill 5 folds"}
    assert CONTROL not in {solved.solver for solved in audit.solvers}


def test_table_and_page_show_the_figures() -> None:
    pytest.importorskip("jinja2")
    facts = [audit_questions(released()).facts(), audit_questions(released(50)).facts()]
    console = Console(width=140, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(questions_table(facts))
    shown = console.export_text()
    assert "100.0%" in shown
    assert "91.2% – 100.0%" in shown
    page = questions_page(facts)
    assert "a &lt;released&gt; file" in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#)|url\(|@import|https?:', page)
    assert page.count("<svg") == 4
    assert _unclosed(page) == []


def test_the_verb_writes_page_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jinja2")
    file = tmp_path / "q.csv"
    rows = "".join(f'{n}.jpg,0,"A hat, but no car.","A car, but no hat.",A car.,There is no hat.\n' for n in range(20))
    file.write_text("image_path,correct_answer,caption_0,caption_1,caption_2,caption_3\n" + rows)
    page = tmp_path / "page.html"
    arguments = ["audit-questions", str(file), "--html", str(page), "--objects", "hat", "--json"]
    assert cli.guarded(lambda: cli.cli(arguments, standalone_mode=False)) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {s["solver"]: s["accuracy"] for s in facts[0]["solvers"]}["joint rule"] == 1
    assert str(file) in page.read_text()
    assert cli.guarded(lambda: cli.cli(["audit-questions", str(tmp_path / "no.csv")], standalone_mode=False)) == 2
    assert "there is no file" in capsys.readouterr().err


def test_no_files_are_refused() -> None:
    with pytest.raises(ConfigError, match="one or more question files"):
        audit_files([])


def _unclosed(page: str) -> list[str]:
    stack: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "line", "rect"):
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack
            assert stack.pop() == tag

    Parser().feed(page.replace("/>", ">"))
    return stack
