"""The card shows what people found, and says so when nobody looked."""

from __future__ import annotations

from pathlib import Path

from negscale.exports.parquet import export_parquet
from negscale.review.answers import AnswerLog
from negscale.review.summary import record
from tests.unit.exports.folders import make_run, row


def test_answers_reach_the_card(tmp_path: Path) -> None:
    rows = [row(f"r{n}", "1", "1", negation_form="no" if n < 4 else "without") for n in range(8)]
    run = make_run(tmp_path / "run", [rows])
    export_parquet(run, str(tmp_path / "before"))
    log = AnswerLog(run.folder)
    for reviewer in ("ann", "bob"):
        for n in range(6):
            wrong = n == 5 or (n == 0 and reviewer == "bob")
            log.append(
                reviewer,
                "no" if wrong else "yes",
                f"r{n}",
                shown="d",
                form=rows[n]["negation_form"],
                population=8,
                seed=0,
            )
    record(run)
    export_parquet(run, str(tmp_path / "after"))
    before, after = ((tmp_path / name / "README.md").read_text() for name in ("before", "after"))
    assert "## Checked by people" not in before
    assert "precision on these images is unknown" in before
    assert "| all rows | 6 | 4 | 66.7% | 30.0% to 90.3% | 0 |" in after
    assert "| no | 4 | 3 | 75.0% |" in after
    assert "| without | 2 | 1 | 50.0% |" in after
    assert "Two reviewers agree on 83.3% of 6 rows" in after
    assert "People judged 6 of 8 kept rows" in after
    assert "unknown" not in after
