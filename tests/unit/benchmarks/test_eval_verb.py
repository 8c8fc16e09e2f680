"""The verb, from the command line to the files in the run folder, on a few drawn scenes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from negscale import app
from negscale.backends.control_editor import ControlEditorConfig
from negscale.backends.tiny.editor import TinyEditorConfig
from negscale.benchmarks.evaluation import ITEMS, METRICS
from negscale.cli import cli
from negscale.core.errors import ConfigError

LOCAL = "runtime.executor=local"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A nein run of six scenes."""
    root = tmp_path_factory.mktemp("runs")
    app.generate(app.prepare("nein", (), ["source.images=6", "selection.edits=1", f"runtime.run_root={root}", LOCAL]))
    return f"{root}/nein/dev"


def arguments(run: str, tmp_path: Path, *more: str) -> list[str]:
    return ["eval", "nein", f"source.uri={run}", f"runtime.run_root={tmp_path}", LOCAL, *more]


def test_scores_on_stdout_and_in_the_folder(run: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, arguments(run, tmp_path, "editor.rule=perfect", "--json"))
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["editor"] == "control/perfect@1"
    folder = tmp_path / "nein_eval" / "dev"
    assert json.loads((folder / METRICS).read_text()) == facts
    scores = {score["name"]: score for score in facts["scores"]}
    assert scores["removal/vqa"]["estimate"]["value"] == 1
    assert set(scores["removal/vqa"]["groups"]) == {row["object"] for row in pq.read_table(folder / ITEMS).to_pylist()}
    assert "edited_features" not in pq.read_schema(folder / ITEMS).names


def test_a_table_for_people(run: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(cli, arguments(run, tmp_path, "--by", "removal/vqa"))
    assert result.exit_code == 0, result.output
    shown = capfd.readouterr().err + result.output
    for text in ("nein: control/unchanged@1", "as released", "affirmative/object_stays/vqa", "removal/vqa by object"):
        assert text in shown
    wrong = CliRunner().invoke(cli, arguments(run, tmp_path, "--by", "recall"))
    assert isinstance(wrong.exception, ConfigError)
    assert "there are removal/vqa" in str(wrong.exception)


def test_wrong_names_are_answered() -> None:
    result = CliRunner().invoke(cli, ["eval", "nien"])
    assert isinstance(result.exception, ConfigError)
    assert "there is nein: removal" in str(result.exception)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("editor.rule=perfekt", "editor.*rule.*'unchanged', 'perfect'"),
        ("editor.kind=photoshop", "kind photoshop is unknown; known: .*control_editor.*tiny_editor"),
        ("source.columns=[image,image_id,caption,absent_object,image_with_object]", "'negative' needs the columns"),
        ("kinds=[keep,maybe]", "kinds"),
    ],
)
def test_bad_values_are_refused_before_anything_starts(run: str, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        app.prepare("nein_eval", (), [f"source.uri={run}", f"runtime.run_root={tmp_path}", override])


def test_bounds_and_models_are_one_union_and_report_settings_are_no_identity(run: str, tmp_path: Path) -> None:
    places = [f"source.uri={run}", f"runtime.run_root={tmp_path}"]
    bound = app.prepare("nein_eval", (), [*places, "editor.rule=noise"])
    model = app.prepare("nein_eval", (), [*places, "editor.kind=tiny_editor"])
    assert isinstance(bound.config.editor, ControlEditorConfig)
    assert isinstance(model.config.editor, TinyEditorConfig)
    assert bound.fingerprint != model.fingerprint
    other = app.prepare("nein_eval", (), [*places, "editor.rule=noise", "report.draws=500"])
    assert other.fingerprint == bound.fingerprint
    assert bound.config.kinds == ("negative", "affirmative", "keep", "two_objects")


def test_one_split_alone(run: str, tmp_path: Path) -> None:
    prepared = app.prepare("nein_eval", (), [
        f"source.uri={run}", f"runtime.run_root={tmp_path}", "split=eval", "kinds=[negative]", LOCAL,
    ])  # fmt: skip
    manifest = app.generate(prepared)
    assert manifest.rows_kept + manifest.rows_rejected == manifest.rows_read
    assert set(manifest.rejected) <= {"choose_split/other_split"}
    assert manifest.rows_rejected > 0
