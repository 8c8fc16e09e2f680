"""Promises of `export`: NegationCLIP's annotation file, and a Parquet folder that `datasets` reads; both streamed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from negscale import app
from negscale.core.run import Manifest
from negscale.exports.coco_json import export_coco_json
from negscale.exports.parquet import export_parquet
from negscale.storage.run_folder import RunFolder
from tests.acceptance.verdict import verdict
from tests.unit.exports.folders import make_run, row
from tests.unit.exports.test_parquet import load_with_datasets

MEASURE = """
import sys
from negscale.exports.coco_json import export_coco_json
from negscale.exports.parquet import export_parquet
from negscale.storage.run_folder import RunFolder

def peak_mb():  # of this process alone: ru_maxrss would begin with the parent's
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

before = peak_mb()
write = export_coco_json if sys.argv[1] == "coco-json" else export_parquet
write(RunFolder(sys.argv[2]), sys.argv[3])
print(peak_mb() - before)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Manifest]:
    """P1 on 300 drawn scenes, with the embedded models."""
    root = tmp_path_factory.mktemp("runs")
    overrides = ["source.images=300", "source.shard_rows=64", "runtime.executor=local", f"runtime.run_root={root}"]
    prepared = app.prepare("negationclip_p1", (), overrides)
    return RunFolder(prepared.spec.uri), app.generate(prepared)


@pytest.mark.acceptance
def test_the_annotation_file_is_the_released_format(finished: tuple[RunFolder, Manifest], tmp_path: Path) -> None:
    run, manifest = finished
    out = tmp_path / "captions.json"
    export_coco_json(run, str(out))
    data = json.loads(out.read_text())
    rows = {row["id"]: row for _, table in run.tables("data") for row in table.to_pylist()}
    images = {image["id"]: image for image in data["images"]}
    same = all(
        rows[a["row_id"]]["caption"] == a["caption"]
        and rows[a["row_id"]]["negated_caption"] == a["updated_caption"]
        and rows[a["row_id"]]["image_id"] == images[a["image_id"]]["source_id"]
        and isinstance(a["id"], int)
        for a in data["annotations"]
    )
    whole = {a["row_id"] for a in data["annotations"]} == rows.keys()
    numbers = {a["id"] for a in data["annotations"]}
    unique = len(numbers) == len(data["annotations"]) and len(images) == len(data["images"])
    verdict(
        "coco-json holds every kept row once, with its image",
        same and whole and unique and set(data) == {"info", "licenses", "images", "annotations"},
        kept=manifest.rows_kept, annotations=len(data["annotations"]), images=len(images),
    )  # fmt: skip


@pytest.mark.acceptance
def test_datasets_reads_the_parquet_folder_offline(finished: tuple[RunFolder, Manifest], tmp_path: Path) -> None:
    run, manifest = finished
    out = tmp_path / "export"
    result = export_parquet(run, str(out), rows_per_file=200)
    seen = load_with_datasets(out, tmp_path)
    ids = [i for _, table in run.tables("data") for i in table["id"].to_pylist()]
    verdict(
        "datasets.load_dataset reads the exported folder without a network",
        seen["ids"] == ids and len(ids) == manifest.rows_kept and "negated_caption" in seen["columns"],
        rows=len(seen["ids"]), files=result.files, columns=len(seen["columns"]),
    )  # fmt: skip


@pytest.mark.acceptance
def test_the_cards_recipe_is_the_runs_recipe(finished: tuple[RunFolder, Manifest], tmp_path: Path) -> None:
    run, manifest = finished
    export_parquet(run, str(tmp_path / "export"))
    recipe = tmp_path / "export" / "recipe.yaml"
    again = app.prepare("negationclip_p1", [str(recipe)], [f"runtime.run_root={tmp_path}"])
    card = (tmp_path / "export" / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    counted = sum(int(line.split("|")[2].replace(",", "")) for line in _table_after(card, "## Negation form"))
    verdict(
        "a run made from the card's recipe has the run's fingerprint, and the card counts every row",
        again.fingerprint == manifest.fingerprint and counted == manifest.rows_kept and front["license"] == "other",
        fingerprint=again.fingerprint, rows_in_card=counted,
    )  # fmt: skip


def _table_after(text: str, heading: str) -> list[str]:
    body = text.partition(f"{heading}\n")[2].strip().split("\n\n")[0]
    return body.splitlines()[2:]


@pytest.mark.acceptance
def test_exports_go_to_object_stores(finished: tuple[RunFolder, Manifest], s3_uri: str) -> None:
    import fsspec

    run, manifest = finished
    first = export_coco_json(run, f"{s3_uri}/out/captions.json")
    second = export_parquet(run, f"{s3_uri}/out/parquet")
    with fsspec.open(f"{s3_uri}/out/captions.json") as file:
        annotations = json.load(file)["annotations"]  # type: ignore[arg-type]
    with fsspec.open(f"{s3_uri}/out/parquet/data/train-00000-of-00001.parquet") as file:
        rows = pq.read_table(pa.BufferReader(file.read())).num_rows  # type: ignore[attr-defined]
    with fsspec.open(f"{s3_uri}/out/parquet/README.md", "rt") as file:
        card = file.read()  # type: ignore[attr-defined]
    verdict(
        "exports go to S3 by URI",
        len(annotations) == rows == first.rows == second.rows == manifest.rows_kept and manifest.content_digest in card,
        annotations=len(annotations), rows=rows,
    )  # fmt: skip


@pytest.mark.acceptance
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc to read the peak of memory")
@pytest.mark.parametrize("kind", ["coco-json", "parquet"])
def test_memory_does_not_grow_with_the_run(kind: str, tmp_path: Path) -> None:
    grown = []
    for shards in (60, 600):
        rows = [
            [row(f"{s:03d}-{i:03d}", f"{s}", f"{s * 1000 + i}", negated_caption=f"{s}-{i}-" * 700) for i in range(128)]
            for s in range(shards)
        ]  # about 5 kB a row: 39 MB and 390 MB of text; both exceed what an export holds at once
        run = make_run(tmp_path / str(shards), rows)
        del rows
        grown.append(statistics.median(_peak_mb(kind, run, tmp_path / f"{shards}-{k}") for k in range(3)))
    verdict(
        f"{kind}: memory stays flat from 1x to 10x rows", grown[1] - grown[0] < 40,
        MB_at_7680_rows=grown[0], MB_at_76800_rows=grown[1],
    )  # fmt: skip


def _peak_mb(kind: str, run: RunFolder, out: Path) -> float:
    """Growth of one export's peak; it varies by tens of MB with the timing of the threads that read ahead."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, kind, run.uri, str(out)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return float(done.stdout)
