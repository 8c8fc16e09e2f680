"""NegBench's four sets: one output from the loop and from Ray through kills, true of the drawings; real photographs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from negscale.core.run import Manifest
from negscale.datasets.toy_scenes import scene
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import Driver, cli, wait_for_parts
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

SETS = ("negcap", "retrieval_neg", "negmcq", "mcq_neg")
LOCAL, RAY = ["runtime.executor=local"], ["runtime.executor=ray", "runtime.ray_cpus=10"]


def drive(arguments: list[str], name: str, root: Path, log: Path) -> tuple[RunFolder, Manifest]:
    """Run the recipe to its end and audit it."""
    driver = Driver(cli("generate", f"negbench_{name}", *arguments, f"runtime.run_root={root}"), log)
    code = driver.wait(900)
    assert code == 0, f"exit code {code}:\n{driver.tail()}"
    run = RunFolder(str(root / f"negbench/{name}/dev"))
    report = audit(run)
    assert report.passed, report.problems
    manifest = run.manifest()
    assert manifest is not None
    return run, manifest


def kept(run: RunFolder) -> Iterator[dict[str, Any]]:
    for _, table in run.tables("data"):
        yield from table.to_pylist()


def true_of(row: dict[str, Any], names: frozenset[str]) -> bool:
    if "option_statements" not in row:
        return row["absent_object"] not in names
    truth = [set(s["affirmed"]) <= names and not set(s["denied"]) & names for s in row["option_statements"]]
    return truth == [k == row["answer"] for k in range(len(truth))]


@pytest.mark.ray
@pytest.mark.parametrize("name", SETS)
def test_toyworld_sets_survive_a_driver_kill_and_are_true(name: str, tmp_path: Path) -> None:
    arguments = ["source.images=160", "source.shard_rows=20", "verifier.misbehaviour.latency_ms=4"]
    run, reference = drive([*arguments, *LOCAL], name, tmp_path / "loop", tmp_path / "log")
    killed = tmp_path / "killed"
    driver = Driver(
        cli("generate", f"negbench_{name}", *arguments, *RAY, f"runtime.run_root={killed}"), tmp_path / "klog"
    )
    done = wait_for_parts(killed / f"negbench/{name}/dev", 2, driver)
    unfinished = driver.process.poll() is None
    driver.kill()
    _, manifest = drive([*arguments, *RAY], name, killed, tmp_path / "log2")
    rows = list(kept(run))
    true = sum(true_of(row, scene(0, int(row["image_id"].split("-")[1])).names) for row in rows)
    verdict(
        f"negbench_{name} on toyworld: same digest through a kill, audit passes, every kept row is true of its drawing",
        manifest.content_digest == reference.content_digest and true == len(rows) > 0 and unfinished and manifest.incarnations == 2,
        rows=len(rows), true=true, committed_at_kill=done, shards=manifest.shards, rejected=manifest.rejected,
        quarantined=manifest.quarantined, digest=manifest.content_digest,
    )  # fmt: skip


def photo_arguments(name: str, shared: Path) -> list[str]:
    notes = shared / "coco/annotations"
    corpora = [
        {"kind": "coco_captions", "path": str(notes / "captions_train2017.json")},
        {"kind": "coco_instances", "path": str(notes / "instances_train2017.json")},
    ]
    common = [
        "source.kind=coco", f"source.root={shared / 'coco'}", "source.split=val2017",
        f"proposer.corpora={json.dumps(corpora)}",
    ]  # fmt: skip
    if name in ("negcap", "retrieval_neg"):  # no annotation is seen: captions and a detector
        return [
            "-c", "backends/negbench_photos_cpu", *common, f"verifier.detectors.yolox.model={shared / 'models/yolox_nano.onnx'}",
        ]  # fmt: skip
    instances = notes / "instances_val2017.json"  # evaluation sets are made from annotations, as in the paper
    return [
        "-c", "backends/negbench_annotated", *common, f"extractor.annotations={instances}",
        f"verifier.annotations={instances}", "runtime.quarantine_budget=1.0",
        *(["source.captions_per_image=1"] if name == "mcq_neg" else []),
    ]  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize("name", SETS)
def test_photographs(name: str, shared_data: Path, tmp_path: Path) -> None:
    run, manifest = drive([*photo_arguments(name, shared_data), *LOCAL], name, tmp_path, tmp_path / "log")
    truth = _annotated(shared_data)
    rows = list(kept(run))
    step = max(1, len(rows) // 20)
    for row in rows[::step][:20]:
        if "options" in row:
            print(f"  {row['image_id']} [{row['question_type']}] " + " | ".join(
                f"{'*' if k == row['answer'] else ''}{text}" for k, text in enumerate(row["options"])))  # fmt: skip
        else:
            print(f"  {row['image_id']} no {row['absent_object']}: {row['caption']} -> {row['negated_caption']}")
    judged = [row for row in rows if row["image_id"] in truth]
    true = sum(true_of(row, truth[row["image_id"]]) for row in judged)
    share = true / len(judged) if judged else 0.0
    verdict(
        f"negbench_{name} on COCO photographs: rows made, audit passes, kept rows true of the annotations",
        len(rows) > 50 and share >= 0.95, rows=len(rows), judged=len(judged), true_share=share,
        types=dict(Counter(row.get("question_type", "caption") for row in rows)), rejected=manifest.rejected,
        quarantined=manifest.quarantined,
    )  # fmt: skip


def _annotated(shared: Path) -> dict[str, frozenset[str]]:
    """image id as the source names it -> classes annotated in it."""
    document = json.loads((shared / "coco/annotations/instances_val2017.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    found: dict[str, set[str]] = {f"{image['id']:012d}": set() for image in document["images"]}
    for note in document["annotations"]:
        found[f"{note['image_id']:012d}"].add(names[note["category_id"]])
    return {image: frozenset(objects) for image, objects in found.items()}
