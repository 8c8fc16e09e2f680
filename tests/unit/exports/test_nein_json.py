"""NeIn's files: the released layout, the images beside it, and the way back; both images in the other formats too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negscale import app, verbs
from negscale.core.errors import ConfigError, PlanError
from negscale.core.image import decode
from negscale.exports.formats import ExportOptions
from negscale.exports.nein_json import KEYS, Quintuplet, read_nein_json
from negscale.storage.run_folder import RunFolder

LOAD = """
import sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], split="train")
both = [type(rows.features[name]).__name__ for name in ("image", "image_with_object")]
print(len(rows), *both, *rows[0]["image_with_object"].size)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A chained run on 16 drawn scenes whose editor fails at times."""
    root = tmp_path_factory.mktemp("runs")
    keys = ["source.images=16", "editor.nothing=0.2", "selection.eval_share=0.3"]
    prepared = app.prepare("nein", (), [*keys, "runtime.executor=local", f"runtime.run_root={root}"])
    app.generate(prepared)
    return RunFolder(prepared.spec.uri)


def rows_of(run: RunFolder) -> list[dict[str, Any]]:
    return [row for _, table in run.tables("data") for row in table.to_pylist()]


def export(run: RunFolder, out: Path, **options: Any) -> dict[str, Any]:
    return verbs.export(run, "nein-json", str(out), ExportOptions(**options))


def wanted(rows: list[dict[str, Any]], split: str) -> list[tuple[str, str, str, str]]:
    return [
        (f"COCO_{r['image_id']}", r["caption"], r["negative_instruction"], r["add_instruction"])
        for r in rows if r["split"] == split
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["quintuplets", "generation"])
def test_reading_it_back_gives_the_same_rows(form: str, run: RunFolder, tmp_path: Path) -> None:
    rows = rows_of(run)
    result = export(run, tmp_path / "out", form=form)
    assert result["rows"] == len(rows)
    for split in ("train", "eval"):
        found = read_nein_json(tmp_path / f"out/{split}.json")
        assert [(q.source, q.caption, q.negative, q.added) for q in found] == wanted(rows, split)
        assert [q.object for q in found] == [r["absent_object"] for r in rows if r["split"] == split]
    everything = [q for split in ("train", "eval") for q in read_nein_json(tmp_path / f"out/{split}.json")]
    assert len({q.target for q in everything}) == len(rows)


def test_the_layout_is_the_released_one(run: RunFolder, tmp_path: Path) -> None:
    export(run, tmp_path / "q")
    entries = json.loads((tmp_path / "q/train.json").read_text())
    assert (tmp_path / "q/train.json").read_text() == json.dumps(entries, indent=4) + "\n"
    assert all(tuple(entry) == KEYS and all(isinstance(value, str) for value in entry.values()) for entry in entries)
    export(run, tmp_path / "g", form="generation")
    lists = json.loads((tmp_path / "g/train.json").read_text())
    for entry in lists:
        assert tuple(entry) == KEYS
        lengths = {len(entry[key]) for key in KEYS[1:]}
        assert len(lengths) == 1
        # as the released filter finds them: number k of a name is entry k of the lists
        assert entry["NeIn"] == [f"{entry['COCO'].replace('COCO', 'NeIn')}_{k + 1}" for k in range(lengths.pop())]
    assert sum(len(entry["NeIn"]) for entry in lists) == len(entries)


def test_both_images_lie_beside_it(run: RunFolder, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    source, made = app.reader_of(run), app.reader_of(run, (), "image_with_object")
    rows = {(r["image_id"], r["add_instruction"]): r for r in rows_of(run)}
    for q in read_nein_json(tmp_path / "out/train.json"):
        row = rows[q.source.removeprefix("COCO_"), q.added]
        target = decode((tmp_path / f"out/images/{q.target}.png").read_bytes())
        assert np.array_equal(target, made.read(row["image_with_object"]))
        original = decode((tmp_path / f"out/images/{q.source}.png").read_bytes())
        assert np.array_equal(original, source.read(row["image"]))
    card = (tmp_path / "out/README.md").read_text()
    assert "quintuplets form" in card


def test_images_that_are_gone_are_left_out_and_listed(run: RunFolder, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "nein/dev"
    shutil.copytree(run.uri, copy)
    tars = sorted((copy / "images").iterdir())
    tars[0].unlink()
    folder = RunFolder(str(copy))
    lost = sum(row["image_with_object"]["uri"].endswith(tars[0].name) for row in rows_of(folder))
    result = export(folder, tmp_path / "out")
    assert lost > 0
    assert result["rows"] == len(rows_of(folder)) - lost
    missing = [json.loads(line) for line in (tmp_path / "out/missing_images.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in missing] == ["missing_image"] * lost


def test_a_run_without_images_has_the_generation_form_only(tmp_path: Path) -> None:
    prepared = app.prepare(
        "nein_select", (), ["source.images=4", "runtime.executor=local", f"runtime.run_root={tmp_path}"]
    )
    app.generate(prepared)
    folder = RunFolder(prepared.spec.uri)
    with pytest.raises(PlanError, match="image_with_object"):
        export(folder, tmp_path / "out")
    assert export(folder, tmp_path / "out", form="generation")["rows"] == 20
    assert not (tmp_path / "out/images").exists()
    with pytest.raises(ConfigError, match="quintuplets, generation"):
        export(folder, tmp_path / "other", form="generated")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no NeIn file"), ('[{"COCO": "x"}]', "entry 0 has"), ("[3]", "entry 0 has int")],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_nein_json(tmp_path / "x.json")


def test_the_released_generator_keeps_captions_without_edits(tmp_path: Path) -> None:
    entry = {
        "COCO": "COCO_000000000009", "T_original": ["a", "b", "c"], "T_negative": ["No dog in the image."],
        "T_generated": ["Add a dog."], "NeIn": ["NeIn_000000000009_1"],
    }  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps([entry]))
    (found,) = read_nein_json(tmp_path / "x.json")
    assert found == Quintuplet("COCO_000000000009", "a", "No dog in the image.", "Add a dog.", "NeIn_000000000009_1")
    assert found.object == "dog"


def test_webdataset_samples_hold_both_images(run: RunFolder, tmp_path: Path) -> None:
    result = verbs.export(run, "webdataset", str(tmp_path / "out"))
    rows = {row["id"]: row for row in rows_of(run)}
    assert result["rows"] == len(rows)
    made = app.reader_of(run, (), "image_with_object")
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(tmp_path / "out/data/train-00000-of-00001.tar") as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            stream = tar.extractfile(member)
            assert stream is not None
            samples.setdefault(key, {})[suffix] = stream.read()
    assert len(samples) == len(rows)
    for members in samples.values():
        assert set(members) == {"png", "image_with_object.png", "txt", "json"}
        row = rows[json.loads(members["json"])["id"]]
        assert np.array_equal(decode(members["image_with_object.png"]), made.read(row["image_with_object"]))


def test_parquet_can_hold_both_images_and_datasets_knows_them(run: RunFolder, tmp_path: Path) -> None:
    plain = verbs.export(run, "parquet", str(tmp_path / "plain"))
    whole = verbs.export(run, "parquet", str(tmp_path / "out"), ExportOptions(embed_images=True))
    assert plain["rows"] == whole["rows"] == len(rows_of(run))
    table = pq.read_table(tmp_path / "out/data/train-00000-of-00001.parquet")
    source, made = app.reader_of(run), app.reader_of(run, (), "image_with_object")
    for found, row in zip(table.to_pylist(), rows_of(run), strict=True):
        assert found["id"] == row["id"]
        assert np.array_equal(decode(found["image"]["bytes"]), source.read(row["image"]))
        assert np.array_equal(decode(found["image_with_object"]["bytes"]), made.read(row["image_with_object"]))
    home = {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "out")], capture_output=True, text=True, env=home, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [str(len(table)), "Image", "Image", "96", "96"]
