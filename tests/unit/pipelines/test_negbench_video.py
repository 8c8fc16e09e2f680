"""NegBench's video sets on a small file in MSR-VTT's layout whose clips are toyworld's scenes."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from negscale import app
from negscale.core.errors import ConfigError
from negscale.core.image import ImageError
from negscale.datasets.toy_scenes import captions, draw, scene
from negscale.datasets.video_captions import FramesConfig, representative
from negscale.exports.negbench_csv import export_negbench_csv
from negscale.language.polarity import polarity
from negscale.stages.video import counted
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder

CLIPS = 20


def write_set(root: Path, frames: bool = False) -> None:
    """Clip k shows scene k for ten frames; five captions state what is there, one an object that is not."""
    videos, sentences = [], []
    for k in range(CLIPS):
        what, name = scene(0, k), f"video{k}"
        videos.append({"video_id": name, "split": "test" if k % 2 else "train", "start time": 0.0, "end time": 9.0})
        absent = next(o for o in ("umbrella", "kite", "hat") if o not in what.names)
        for n, text in enumerate([*captions(what, 0, k, 5), f"A {absent} flies by"]):
            sentences.append({"video_id": name, "sen_id": 6 * k + n, "caption": text})
        for f in range(10 if frames else 0):
            (root / "frames" / name).mkdir(parents=True, exist_ok=True)
            picture = draw(what) if f >= 7 else draw(what) * 0  # the clip begins in the dark
            Pillow.fromarray(picture).save(root / "frames" / name / f"{f:04d}.png")
    (root / "MSRVTT_data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))


def run_of(tmp_path: Path, recipe: str, *overrides: str) -> RunFolder:
    keys = [
        f"source.root={tmp_path}",
        "runtime.executor=local",
        f"runtime.run_root={tmp_path / 'runs'}",
        "source.splits=[]",
    ]
    prepared = app.prepare(recipe, (), [*keys, *overrides])
    app.generate(prepared)
    run = RunFolder(prepared.spec.uri)
    assert audit(run).passed
    return run


def rows_of(run: RunFolder, kind: str = "data") -> list[dict[str, Any]]:
    return [row for _, table in run.tables(kind) for row in table.to_pylist()]


def present(row: dict[str, Any]) -> frozenset[str]:
    return scene(0, int(row["image_id"].removeprefix("video"))).names


@pytest.mark.parametrize("split", [("source.splits=[test]", CLIPS // 2), ("source.splits=[]", CLIPS)])
def test_questions_from_captions_say_video_and_export(tmp_path: Path, split: tuple[str, int]) -> None:
    write_set(tmp_path)
    run = run_of(tmp_path, "negbench_video_mcq", split[0])
    rows = rows_of(run)
    assert len(rows) + len(rows_of(run, "rejected")) == split[1]
    assert len(rows) > 0.7 * split[1]
    for row in rows:
        assert set(row["positive_objects"]) <= present(row)  # what one of six captions says does not count
        assert all(count >= 2 for count in row["object_mentions"])
        assert not any(polarity(text, name) for name in row["negative_objects"] for text in row["image_captions"])
        assert all(text.startswith("This video") for text in row["options"])
        assert row["frames"] == 0
    out = tmp_path / "export"
    assert export_negbench_csv(run, str(out)).rows == len(rows)
    with (out / "questions.csv").open(newline="") as lines:
        written = list(csv.DictReader(lines))
    assert [line["image_path"] for line in written] == [f"videos/all/{row['image_id']}.mp4" for row in rows]
    assert [line["correct_answer_template"] for line in written] == [row["question_type"] for row in rows]


def test_frames_make_exactly_the_answer_true(tmp_path: Path) -> None:
    write_set(tmp_path, frames=True)
    given = (f"frames={{root: {tmp_path / 'frames'}}}", "verifier={kind: tiny_judge}")
    rows = rows_of(run_of(tmp_path, "negbench_video_mcq", *given, "questions=2"))
    assert len(rows) > CLIPS
    for row in rows:
        truth = [
            set(s["affirmed"]) <= present(row) and not set(s["denied"]) & present(row) for s in row["option_statements"]
        ]
        assert truth == [k == row["answer"] for k in range(4)], row
        assert row["frames"] == 4
    # one frame of four is light: every object is there by the one, and nothing is by the mean
    dark = run_of(tmp_path, "negbench_video_mcq", *given, "frames_rule=mean", "runtime.version=mean")
    reasons = {row["rejection"]["reason"] for row in rows_of(dark, "rejected")}
    assert not rows_of(dark)
    assert "positives_not_seen" in reasons


def test_clips_without_frames_are_quarantined(tmp_path: Path) -> None:
    write_set(tmp_path, frames=True)
    for file in (tmp_path / "frames" / "video3").iterdir():
        file.unlink()
    given = (f"frames={{root: {tmp_path / 'frames'}}}", "verifier={kind: tiny_judge}", "runtime.quarantine_budget=0.5")
    broken = rows_of(run_of(tmp_path, "negbench_video_mcq", *given), "quarantine")
    assert [(row["image_id"], row["quarantine"]["kind"]) for row in broken] == [("video3", "missing_image")]
    with pytest.raises(ConfigError, match="frames is set and verifier is not"):
        app.load_config("negbench_video_mcq", (), [f"source.root={tmp_path}", given[0]])


def test_retrieval_captions_deny_one_absent_object_and_export(tmp_path: Path) -> None:
    write_set(tmp_path)
    run = run_of(tmp_path, "negbench_video_retrieval_neg")
    rows = rows_of(run)
    assert len(rows) > 0.6 * CLIPS
    for row in rows:
        (text,) = row["captions"]
        assert polarity(text, row["absent_object"]) == "denied", text
        assert row["absent_object"] not in " ".join(row["image_captions"]).lower()
    out = tmp_path / "export"
    assert export_negbench_csv(run, str(out)).rows == len(rows)
    with (out / "retrieval.csv").open(newline="") as lines:
        written = list(csv.DictReader(lines))
    assert [ast.literal_eval(line["captions"]) for line in written] == [row["captions"] for row in rows]
    assert written[0]["filepath"] == f"videos/all/{rows[0]['image_id']}.mp4"


def test_the_caption_in_front_is_the_one_most_like_the_others() -> None:
    said = ["people talk", "a man drives a red car", "a man is driving a red car", "a red car", "cooking show"]
    assert representative(said) == "a man drives a red car"
    assert representative(["one"]) == "one"
    assert representative([]) == ""
    assert representative(["...", "!!!"]) == "..."


def test_plurals_and_synonyms_count_as_one_object() -> None:
    assert counted([["couch", "dog"], ["sofa"], ["dogs", "dog"], ["sofas"]]) == [("couch", 3), ("dog", 2)]
    assert counted([["cat", "dog"], [], ["dog"]]) == [("dog", 2), ("cat", 1)]


def test_frames_are_taken_from_the_middle_of_equal_parts(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for k in range(8):
        Pillow.new("RGB", (2, 2), (10 * k, 0, 0)).save(folder / f"{k}.png")
    (folder / "notes.txt").write_text("x")
    frames = FramesConfig(root=str(tmp_path)).build()
    assert [int(frame[0, 0, 0]) for frame in frames.read("v")] == [10, 30, 50, 70]
    assert len(FramesConfig(root=str(tmp_path), count=20).build().read("v")) == 8
    for name, kind in (
        ("nobody", "missing_image"),
        ("../v", "forbidden_path"),
        ("..", "forbidden_path"),
        ("", "forbidden_path"),
    ):
        with pytest.raises(ImageError) as error:
            frames.read(name)
        assert error.value.kind == kind
