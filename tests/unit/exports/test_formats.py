"""Every format by its name, as the command line calls it, from one run of drawn scenes."""

from __future__ import annotations

from pathlib import Path

import pytest

from negscale import app, verbs
from negscale.core.errors import ConfigError, PlanError
from negscale.exports.formats import FORMATS, ExportOptions
from negscale.review.sample import draw_sample
from negscale.review.session import Session
from negscale.storage.run_folder import RunFolder

PLACES = {
    "coco-json": "annotations.json", "parquet": "parquet/data/train-00000-of-00001.parquet",
    "negbench-csv": "negbench-csv/captions.csv", "webdataset": "webdataset/data/train-00000-of-00001.tar",
    "chat-json": "chat-llava/data/train.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """P1 on 20 drawn scenes, one row of which a person has answered."""
    root = tmp_path_factory.mktemp("runs")
    overrides = ["source.images=20", "source.shard_rows=16", "runtime.executor=local", f"runtime.run_root={root}"]
    prepared = app.prepare("negationclip_p1", (), overrides)
    app.generate(prepared)
    finished = RunFolder(prepared.spec.uri)
    Session(finished, draw_sample(finished, 5), app.reader_of(finished), "ann").answer(0, "yes")
    return finished


@pytest.mark.parametrize("name", PLACES)
def test_each_format_goes_beside_the_run_with_every_kept_row_and_a_card(run: RunFolder, name: str) -> None:
    manifest = run.manifest()
    assert manifest is not None
    result = verbs.export(run, name, "")
    wanted = Path(run.uri, "export", PLACES[name])
    assert wanted.stat().st_size > 0
    assert str(wanted).startswith(result["path"])
    if name != "chat-json":
        assert result["rows"] == manifest.rows_kept
    if name != "coco-json":
        card = Path(result["path"], "README.md").read_text()
        assert "| all rows | 1 | 1 | 100.0% |" in card


def test_options_reach_the_formats(run: RunFolder, tmp_path: Path) -> None:
    options = ExportOptions(chat_format="sharegpt", rows_per_file=7, license_id="cc-by-4.0")
    verbs.export(run, "webdataset", str(tmp_path / "tars"), options)
    assert len(list((tmp_path / "tars/data").iterdir())) > 1
    verbs.export(run, "chat-json", str(tmp_path / "chat"), options)
    assert '"messages"' in (tmp_path / "chat/data/train.json").read_text()
    assert "license: cc-by-4.0" in (tmp_path / "chat/README.md").read_text()


def test_unknown_formats_and_runs_without_their_columns_are_refused(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="known: coco-json"):
        verbs.export(run, "xml", "")
    assert {*PLACES, "negrefcocog-json"} <= set(FORMATS)
    with pytest.raises(PlanError):
        verbs.export(run, "negrefcocog-json", str(tmp_path / "x.json"))
