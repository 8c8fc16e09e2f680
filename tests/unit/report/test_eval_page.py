"""The page of a real evaluation of drawn scenes: every figure stands in it, in the units and beside the controls that it should."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from negscale.benchmarks.cells import Suite, read_suite
from negscale.cli import cli
from negscale.core.errors import AuditError, ConfigError
from negscale.report import eval_figures as figures
from negscale.report.eval_charts import against_charts, blind_chart, type_chart
from negscale.report.eval_items import extremes, margin
from negscale.report.eval_page import EvalOptions, build_eval_page
from negscale.report.eval_text import COLUMNS, evaluation_csv, evaluation_markdown
from negscale.report_eval import ItemImages, make_eval_report
from tests.unit.benchmarks.toy_suite import make_suite

MCQ = "negbench/mcq-coco"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    for library in ("transformers", "sklearn", "jinja2"):
        pytest.importorskip(library)
    return read_suite(make_suite(tmp_path_factory.mktemp("toy")))


class _Reader(html.parser.HTMLParser):
    """Text of the page, its tags, and the stack of open ones at the end."""

    VOID = ("meta", "img", "br", "link", "line", "rect", "circle", "path")

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read_page(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_every_headline_control_and_published_figure_is_on_the_page(suite: Suite) -> None:
    page = build_eval_page(suite, ItemImages(""), EvalOptions(items=2))
    reader = read_page(page.html)
    text = " ".join(" ".join(reader.text).split())
    assert page.facts["benchmarks"] == len(suite.benchmarks) >= 7
    assert page.facts["images_unread"] == {}
    assert page.facts["pictures"] > 0
    for (benchmark, _), cell in suite.cells.items():
        assert benchmark in text
        head = cell.headline
        assert figures.shown(head.estimate.value, head.unit) in text
        assert figures.interval(head.estimate, head.unit) in text
        for name, control in cell.controls.items():
            assert name in text
            assert figures.shown(control.value) in text
    assert "CLIP-NegFull" in text
    assert "the appendix prints 16.27" in text
    assert suite.absent[0].advice in text
    for name, sha in suite.cells[MCQ, "tiny"].lineage["files"].items():
        assert name in text
        assert sha in text


def test_the_page_needs_nothing_but_itself(suite: Suite) -> None:
    page = build_eval_page(suite, ItemImages(""), EvalOptions(items=1)).html
    reader = read_page(page)
    assert not [tag for tag, _ in reader.tags if tag in ("script", "link", "iframe", "object")]
    assert not [attrs for _, attrs in reader.tags if "style" in attrs or any(name.startswith("on") for name in attrs)]
    sources = [attrs["src"] or "" for tag, attrs in reader.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    ids = {attrs["id"] for _, attrs in reader.tags if "id" in attrs}
    links = [attrs["href"] or "" for tag, attrs in reader.tags if tag == "a"]
    assert all(link[0] == "#" and link[1:] in ids for link in links)
    assert all(attrs.get("tabindex") == "0" for _, attrs in reader.tags if attrs.get("class") == "wide")


def test_hostile_texts_stay_text(suite: Suite) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    models = tuple(replace(model, name=attack) for model in suite.models)
    page = build_eval_page(
        replace(suite, models=models, refused={attack: attack}), ItemImages(""), EvalOptions(items=0)
    )
    reader = read_page(page.html)
    assert not [tag for tag, attrs in reader.tags if tag == "script" or attrs.get("src") == "x"]
    assert attack in "".join(reader.text)


def test_best_items_are_right_and_worst_are_wrong(suite: Suite) -> None:
    for benchmark in suite.benchmarks:
        cell, table = suite.cells[benchmark, "tiny"], suite.items(benchmark, "tiny")
        best, worst = extremes(cell.task, table, 3)
        assert best, benchmark
        assert not {item.id + str(item.options) for item in best} & {item.id + str(item.options) for item in worst}
        assert all(item.images for item in (*best, *worst))
        values = [value for row in table.to_pylist() if (value := margin(cell.task, row)) is not None]
        if max(values) > 0 and cell.task != "retrieve":
            assert best[0].good, benchmark
        if min(values) < 0:
            assert not worst[0].good, benchmark
    table = suite.items(MCQ, "tiny").slice(0, 1)
    best, worst = extremes("choose_text", table, 3)  # a single item is on one side only
    assert len(best) + len(worst) == 1
    shown = (best or worst)[0]
    assert [option.right for option in shown.options].count(True) == 1
    assert any(option.chosen for option in shown.options)


def test_charts_put_values_where_they_belong(suite: Suite) -> None:
    chart = blind_chart(suite)
    assert chart is not None
    row = next(row for row in chart.rows if row.label == MCQ)
    cell = suite.cells[MCQ, "tiny"]
    ours = next(dot for dot in row.dots if dot.series == 0)
    value = cell.headline.estimate
    assert ours.x == pytest.approx(4 + 332 * value.value, abs=0.06)
    assert ours.low <= ours.x <= ours.high
    strongest = figures.blind(cell)
    assert strongest is not None
    assert row.bar == pytest.approx(4 + 332 * strongest[1].value, abs=0.06)
    by_type = type_chart(suite, MCQ)
    assert by_type is not None
    assert {row.label.partition(" ")[0] for row in by_type.rows} == {"negative", "hybrid", "positive"}
    scatters = against_charts(suite)
    assert len(scatters) == 2  # retrieval against negated retrieval, and against choices
    ours_drawn = [mark for mark in scatters[0].marks if mark["series"] >= 0]
    published = [mark for mark in scatters[0].marks if mark["series"] < 0]
    assert len(ours_drawn) == len(suite.models)
    assert any("CLIP B/32" in mark["text"] for mark in published)
    for mark in scatters[0].marks:
        assert 0 <= mark["x"] <= 340
        assert 0 <= mark["y"] <= 340


def test_text_forms_hold_the_same_figures(suite: Suite) -> None:
    rows = list(csv.DictReader(io.StringIO(evaluation_csv(suite))))
    assert tuple(rows[0]) == COLUMNS
    own = next(
        r for r in rows if (r["benchmark"], r["model"], r["kind"], r["name"]) == (MCQ, "tiny", "score", "accuracy")
    )
    cell = suite.cells[MCQ, "tiny"]
    assert float(own["value"]) == cell.headline.estimate.value
    assert int(own["count"]) == cell.headline.estimate.count
    released = cell.headline.as_released
    assert released is not None
    assert float(own["as_released"]) == released.value
    assert {r["kind"] for r in rows} == {"score", "control", "gain", "difference", "published"}
    assert len([r for r in rows if r["kind"] == "published" and r["benchmark"] == MCQ]) == len(cell.reference)
    markdown = evaluation_markdown(suite)
    widths = {line.count(" | ") for line in markdown.split("\n\n")[2].splitlines()}
    assert len(widths) == 1  # a table without ragged rows
    assert f"| {figures.shown(cell.headline.estimate.value)} |" in markdown


def test_the_verb_tells_an_evaluation_from_a_run(suite: Suite, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(cli, ["report", suite.uri, "--html", str(tmp_path / "page.html"), "--rows", "1", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (tmp_path / "page.html").stat().st_size == facts["page_bytes"]
    assert facts["models"] == 2
    assert runner.invoke(cli, ["report", suite.uri, "--to", "csv"]).stdout == evaluation_csv(suite)
    assert runner.invoke(cli, ["report", suite.uri, "--to", "pdf"]).exit_code != 0
    other = runner.invoke(cli, ["report", str(tmp_path), "--to", "csv"])
    assert other.exit_code != 0


def test_what_cannot_be_read_is_said(suite: Suite, tmp_path: Path) -> None:
    copy = tmp_path / "eval"
    shutil.copytree(suite.uri.removeprefix("file://"), copy)
    (copy / "items" / MCQ / "tiny.parquet").unlink()
    page, path = make_eval_report(str(copy), items=1, overrides=[f"image_root={tmp_path}"])
    assert "cannot be read" in page.html
    assert path == f"{copy}/report/index.html"
    with pytest.raises(ConfigError, match="only image_root"):
        make_eval_report(str(copy), overrides=["source.root=x"])
    (copy / "cells" / MCQ / "tiny.json").unlink()
    with pytest.raises(AuditError, match=re.escape("tiny.json")):
        make_eval_report(str(copy))
    with pytest.raises(ConfigError, match="above 0"):
        build_eval_page(suite, ItemImages(""), EvalOptions(budget_mb=0))
