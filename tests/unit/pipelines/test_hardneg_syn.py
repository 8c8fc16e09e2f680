"""HardNeg-Syn on drawn scenes, end to end in the loop: pairs whose every statement the drawings bear out."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negscale import app
from negscale.backends.tiny.maker import TinyMaker, TinyMakerConfig
from negscale.core.backend import ImageRequest
from negscale.core.errors import ConfigError
from negscale.datasets.images import ImageReader
from negscale.datasets.labels import LabelsConfig
from negscale.datasets.toy_icons import OBJECTS
from negscale.exports.negbench_csv import export_negbench_csv
from negscale.language.polarity import polarity
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder

SMALL = ("source.scenes=3", "source.shard_rows=16", "runtime.executor=local")


def run_of(tmp_path: Path, *overrides: str) -> RunFolder:
    prepared = app.prepare("negbench_hardneg_syn", (), [*SMALL, f"runtime.run_root={tmp_path}", *overrides])
    app.generate(prepared)
    run = RunFolder(prepared.spec.uri)
    assert audit(run).passed
    return run


def rows_of(run: RunFolder, kind: str = "data") -> list[dict[str, Any]]:
    return [row for _, table in run.tables(kind) for row in table.to_pylist()]


def drawn(row: dict[str, Any], maker: TinyMaker) -> frozenset[str]:
    """What the maker drew: the truth, asked of the maker and not of the picture."""
    shown = row["side"]["has_companion"]
    side = "with" if shown else "without"
    request = ImageRequest(row[f"prompt_{side}"], "" if shown else row["companion"], row[f"seed_{side}"])
    what = maker.scene_of(request)
    assert what is not None
    return what.names


def test_exactly_the_answer_is_true_and_pairs_share_their_options(tmp_path: Path) -> None:
    rows = rows_of(run_of(tmp_path, "rephraser=null"))
    assert len(rows) == 2 * 3 * len(OBJECTS)
    maker = TinyMaker()
    for row in rows:
        names = drawn(row, maker)
        assert row["label"] in names
        assert (row["companion"] in names) == row["side"]["has_companion"]
        truth = [set(s["affirmed"]) <= names and not set(s["denied"]) & names for s in row["option_statements"]]
        assert truth == [k == row["answer"] for k in range(4)], row
        assert set(row["positive_objects"]) <= names
        assert not set(row["negative_objects"]) & names
    pairs: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        pairs.setdefault(row["pair_id"], []).append(row)
    for first, second in pairs.values():
        assert first["options"] == second["options"]
        assert first["answer"] != second["answer"]
        assert {first["question_type"], second["question_type"]} in ({"positive", "hybrid"}, {"positive", "negative"})
    assert len({row["answer"] for row in rows}) == 4


def test_pictures_that_are_not_as_asked_for_are_refused(tmp_path: Path) -> None:
    shares = ("maker.forgets=0.25", "maker.insists=0.25", "maker.blank=0.2")
    run = run_of(tmp_path, *shares)
    maker = TinyMaker(TinyMakerConfig(forgets=0.25, insists=0.25, blank=0.2))
    kept, refused = rows_of(run), rows_of(run, "rejected")
    assert 10 < len(kept) < 2 * 3 * len(OBJECTS)
    assert all((row["companion"] in drawn(row, maker)) == row["side"]["has_companion"] for row in kept)
    reasons = Counter(row["rejection"]["reason"] for row in refused)
    assert set(reasons) == {"label_missing", "companion_missing", "companion_present"}
    assert all(row["label_score_with"] is not None for row in refused)
    assert any(row["companion_score_without"] >= 0.5 for row in refused)
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.rows_quarantined < 6  # black three times in a row: 1 in 125 pictures


@pytest.mark.parametrize("overrides", [(), ("caption_writer={kind: realiser}",)])
def test_captions_for_retrieval_deny_the_companion_where_it_is_absent(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    rows = rows_of(run_of(tmp_path, "task=retrieval", *overrides))
    maker = TinyMaker()
    assert len(rows) > 80
    for row in rows:
        (text,) = row["captions"]
        wanted = "affirmed" if row["companion"] in drawn(row, maker) else "denied"
        assert polarity(text, row["companion"]) == wanted, text
        assert polarity(text, row["label"]) == "affirmed", text


def test_the_same_run_gives_the_same_images_and_rows(tmp_path: Path) -> None:
    digests = set()
    for name, calls in (("one", 32), ("two", 32)):
        run = run_of(tmp_path / name, f"call_images={calls}")
        manifest = run.manifest()
        assert manifest is not None
        digests.add((manifest.content_digest, manifest.fingerprint))
    assert len(digests) == 1


@pytest.mark.parametrize(("task", "file"), [("mcq", "questions.csv"), ("retrieval", "retrieval.csv")])
def test_negbench_csv_takes_both(tmp_path: Path, task: str, file: str) -> None:
    run = run_of(tmp_path, f"task={task}", "source.scenes=1")
    out = tmp_path / "export"
    result = export_negbench_csv(run, str(out), ImageReader(run.uri))
    with (out / file).open(newline="") as lines:
        written = list(csv.DictReader(lines))
    assert len(written) == result.rows == len(rows_of(run))
    column = "image_path" if task == "mcq" else "filepath"
    assert all((out / line[column]).is_file() for line in written)
    if task == "mcq":
        assert {line["correct_answer"] for line in written} <= {"0", "1", "2", "3"}


def test_labels_from_a_file_each_once(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("golden retriever, retriever\r\n\nschool  bus\ngolden retriever\n")
    source = LabelsConfig(file=str(tmp_path / "names.txt"), labels=("tench",), scenes=2, shard_rows=4).build()
    listing = source.list()
    assert listing.index is not None
    assert listing.index["label"].to_pylist() == ["tench"] * 2 + ["golden retriever"] * 2 + ["school bus"] * 2
    assert [shard.rows for shard in listing.shards] == [4, 2]
    assert len(set(listing.index["id"].to_pylist())) == 6
    with pytest.raises(ConfigError, match="name no object"):
        LabelsConfig().build().list()
    with pytest.raises(ConfigError, match=r"source\.file: there is no file"):
        LabelsConfig(file=str(tmp_path / "nothing.txt")).build().list()


def test_the_papers_models_fit_the_recipe() -> None:
    _, config = app.load_config("negbench_hardneg_syn", ["backends/hardneg_paper"], ["source.file=names.txt"])
    assert config.maker.kind == "diffusers_maker"
    assert config.writer.kind == "chat_scene_writer"
