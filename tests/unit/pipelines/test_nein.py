"""NeIn's recipes on drawn scenes in the loop: the chain, the three steps, and that they agree."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from negscale import app, verbs
from negscale.backends.nein_judges import ChatObjectJudgeConfig
from negscale.backends.tiny.vision import find
from negscale.core.config import load
from negscale.core.errors import ConfigError, PlanError
from negscale.core.run import Manifest
from negscale.datasets.toy_scenes import scene
from negscale.guard.reference import GuardConfig
from negscale.guard.run import guard_run
from negscale.pipelines.nein import ChainConfig, FilterConfig, SelectionConfig
from negscale.storage.audit import audit
from negscale.storage.parts import KINDS
from negscale.storage.run_folder import RunFolder

FAILING = ["editor.nothing=0.15", "editor.wrong=0.15", "editor.blank=0.1"]


def run(name: str, tmp_path: Path, *overrides: str) -> tuple[RunFolder, Manifest]:
    prepared = app.prepare(name, (), ["runtime.executor=local", f"runtime.run_root={tmp_path}", *overrides])
    manifest = app.generate(prepared)
    found = RunFolder(prepared.spec.uri)
    assert audit(found).passed
    return found, manifest


def rows_of(folder: RunFolder, *kinds: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for kind in kinds for _, table in folder.tables(kind) for row in table.to_pylist()}


def names(row: dict[str, Any]) -> frozenset[str]:
    return scene(0, int(row["image_id"].split("-")[1])).names


def test_the_chain_gives_quintuplets_that_are_true(tmp_path: Path) -> None:
    folder, manifest = run("nein", tmp_path, "source.images=30", *FAILING)
    rows = rows_of(folder, "data")
    source, made = app.reader_of(folder), app.reader_of(folder, (), "image_with_object")
    assert 60 < len(rows) < 140
    assert manifest.rows_kept + manifest.rows_rejected + manifest.rows_quarantined == 150
    assert set(manifest.rejected) <= {"judge_edit/object_not_seen", "judge_edit/caption_does_not_hold"}
    for row in rows.values():
        added = row["absent_object"]
        assert not {added, row["kept_absent_object"]} & names(row)
        assert (
            find(source.read(row["image"]), added).score < 0.5 <= find(made.read(row["image_with_object"]), added).score
        )
        assert row["affirmed_object"] is None or row["affirmed_object"] in names(row)
        assert row["change_outside"] <= 0.02
    refused = rows_of(folder, "rejected")
    assert all(row["image_with_object"] is not None and row["caption_score"] is not None for row in refused.values())
    assert sum(
        find(made.read(r["image_with_object"]), r["absent_object"]).score >= 0.5 for r in refused.values()
    ) < 0.2 * len(refused)


def test_step_by_step_gives_the_rows_of_the_chain(tmp_path: Path) -> None:
    chain, _ = run("nein", tmp_path, "source.images=20", *FAILING)
    selected, _ = run("nein_select", tmp_path, "source.images=20")
    edited, _ = run("nein_edit", tmp_path, f"source.uri={selected.uri}", *FAILING)
    kept, manifest = run("nein_filter", tmp_path, f"source.uri={edited.uri}")
    whole, parts = rows_of(chain, *KINDS), rows_of(kept, *KINDS)
    assert {i: r["image_with_object"] for i, r in whole.items()} == {
        i: r["image_with_object"] for i, r in parts.items()
    }
    assert {i: r["rejection"] for i, r in whole.items()} == {i: r["rejection"] for i, r in parts.items()}
    assert all(whole[i] == parts[i] for i in whole)
    assert manifest.rows_kept > 50
    # the images stay in the run that made them, and are found from the run that judged them
    reader = app.reader_of(kept, (), "image_with_object")
    assert reader.root == edited.uri
    assert reader.read(next(iter(parts.values()))["image_with_object"]).shape == (96, 96, 3)


def test_batches_and_shards_do_not_bear_on_the_rows(tmp_path: Path) -> None:
    _, one = run(
        "nein", tmp_path / "a", "source.images=20", "runtime.batch_rows={edit_image: 3, judge_edit: 2}", *FAILING
    )
    _, other = run("nein", tmp_path / "b", "source.images=20", *FAILING)
    assert one.content_digest == other.content_digest


def test_a_second_family_and_a_strict_region(tmp_path: Path) -> None:
    keys = [
        "source.images=12",
        "filter.second_judge={kind: tiny_judge}",
        "filter.object_judge.chat.misbehaviour.malformed=0.3",
    ]
    folder, manifest = run("nein", tmp_path, *keys, "filter.max_attempts=1")
    assert set(manifest.quarantined) == {"judge_edit/unparsable"}
    assert all(row["object_seen"] == row["second_object_seen"] for row in rows_of(folder, "data", "rejected").values())
    facts = verbs.status(folder)["judges"]
    assert facts["share"] == 1.0
    assert facts["rows"] == manifest.rows_kept + manifest.rows_rejected
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(verbs.status_table(verbs.status(folder)))
    assert "two judges agree on 100.0%" in console.export_text()
    again, healed = run("nein", tmp_path / "again", *keys, "filter.max_attempts=8")
    assert not healed.quarantined
    assert len(rows_of(again, "data")) > manifest.rows_kept


def test_no_image_is_in_both_splits(tmp_path: Path) -> None:
    folder, _ = run("nein_select", tmp_path, "source.images=200", "selection.eval_share=0.3")
    splits: dict[str, set[str]] = {}
    for row in rows_of(folder, "data").values():
        splits.setdefault(row["image_id"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert 30 < sum(found == {"eval"} for found in splits.values()) < 90


def test_a_preview_leaves_no_images_behind(tmp_path: Path) -> None:
    prepared = app.prepare("nein", (), ["source.images=20", "runtime.executor=local", f"runtime.run_root={tmp_path}"])
    shown = verbs.preview(prepared, 3)
    assert len(shown["rows"]) == 15
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_guard_finds_leaks_of_a_nein_run(tmp_path: Path) -> None:
    folder, _ = run("nein", tmp_path, "source.images=8")
    rows = list(rows_of(folder, "data").values())
    caption = max((row["caption"] for row in rows), key=len)
    benchmark = tmp_path / "bench.csv"
    benchmark.write_text(f'image_path,caption\nother.jpg,"{caption}"\n{rows[0]["image_id"]}.jpg,"a nice day"\n')
    report, _ = guard_run(folder, [str(benchmark)], GuardConfig())
    leaked = [row for row in rows if row["caption"] == caption or row["image_id"] == rows[0]["image_id"]]
    assert report.rows_overlapping == len(leaked) > 0


def test_a_run_that_has_no_instructions_is_refused_before_it_starts(tmp_path: Path) -> None:
    plain, _ = run("negationclip_p1", tmp_path, "source.images=4")
    with pytest.raises(PlanError, match="'edit_image' reads 'add_instruction'"):
        app.prepare(
            "nein_edit", (), [f"source.uri={plain.uri}", "runtime.executor=local", f"runtime.run_root={tmp_path}"]
        )


def test_paper_fragments_agree_and_share_one_chat_model() -> None:
    config = app.load_config("nein", ["backends/nein_paper"])[1]
    assert app.load_config("nein_select", ["backends/nein_paper_select"])[1].selection == config.selection
    assert app.load_config("nein_edit", ["backends/nein_paper_edit"])[1].editor == config.editor
    assert app.load_config("nein_filter", ["backends/nein_paper_filter"])[1].filter == config.filter
    editor = config.editor
    assert (editor.size_px, editor.steps, editor.text_guidance, editor.image_guidance) == (512, 100, 7.5, 1.5)
    assert config.filter.resources().gpus == pytest.approx(1.1)  # one engine for both questions, and the matcher
    assert isinstance(config.filter.object_judge, ChatObjectJudgeConfig)


def test_wrong_values_are_named() -> None:
    with pytest.raises(ConfigError, match=r"selection\.vocabulary"):
        SelectionConfig(vocabulary=()).names()
    with pytest.raises(ConfigError, match=r"filter\.above"):
        load(ChainConfig, [("r", "filter: {above: 1.4}")])
    assert FilterConfig(matcher=None, caption_judge=None).judges().keys() == {"object"}
