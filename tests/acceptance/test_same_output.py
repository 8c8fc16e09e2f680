"""The output does not depend on the cluster: one digest from the loop, from Ray, and through kills of workers and drivers."""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path

import pytest

from negscale.core.run import Manifest
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import REPO, Driver, KillStorm, cli, rows_executed, wait_for_parts
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.ray, pytest.mark.timeout(5400)]

STAGES = ("propose_absent_object", "verify_absent", "negate_caption", "check_negated_caption")
TINY = ["negationclip_p1", "source.captions_per_image=2"]
MAX_REWORK = 1.05


def actors(each: int) -> list[str]:
    return ["runtime.executor=ray", "runtime.ray_cpus=10", *(f"runtime.actors.{stage}={each}" for stage in STAGES)]


def finish(arguments: list[str], root: Path, log: Path, timeout_s: float = 1800) -> Manifest:
    driver = Driver(cli("generate", *arguments, f"runtime.run_root={root}"), log)
    code = driver.wait(timeout_s)
    assert code == 0, f"exit code {code}:\n{driver.tail()}"
    return finished(root)


def finished(root: Path) -> Manifest:
    run = RunFolder(str(root / "negationclip/p1/dev"))
    report = audit(run)
    assert report.passed, report.problems
    manifest = run.manifest()
    assert manifest is not None
    return manifest


def photos(shared: Path, tmp_path: Path, copies: int) -> list[str]:
    """P1 on real photographs with detectors; each caption comes `copies` times, under ids (and so draws) of its own."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    if not (root / "val2017").exists():
        (root / "val2017").symlink_to(shared / "coco/val2017")
    source = json.loads((shared / "coco/annotations/captions_val2017.json").read_text())
    captions = [{**a, "id": a["id"] + copy * 10_000_000} for copy in range(copies) for a in source["annotations"]]
    out = root / f"captions_{copies}.json"
    out.write_text(json.dumps({**source, "annotations": captions}))
    corpora = [
        {"kind": "coco_captions", "path": str(shared / "coco/annotations/captions_train2017.json")},
        {"kind": "coco_instances", "path": str(shared / "coco/annotations/instances_train2017.json")},
    ]
    return [
        "negationclip_p1", "-c", "backends/photos_cpu", "source.kind=coco", f"source.root={root}", "source.split=val2017",
        f"source.captions={out}", f"proposer.corpora={json.dumps(corpora)}",
        f"verifier.detectors.yolox.model={shared / 'models/yolox_nano.onnx'}", "runtime.batch_rows.verify_absent=256",
    ]  # fmt: skip


def test_tiny_gives_one_digest_for_every_cluster_shape(tmp_path: Path) -> None:
    arguments = [*TINY, "source.images=2000", "source.shard_rows=128"]
    digests = {
        "loop": finish([*arguments, "runtime.executor=local"], tmp_path / "loop", tmp_path / "log").content_digest
    }
    for each in (1, 2, 4):
        digests[f"ray_{each}"] = finish(
            [*arguments, *actors(each)], tmp_path / f"r{each}", tmp_path / "log"
        ).content_digest
    verdict("tiny: one digest from the loop and from Ray", len(set(digests.values())) == 1, rows=4000, **digests)


@pytest.mark.real_data
def test_photos_give_one_digest_for_every_cluster_shape(tmp_path: Path, shared_data: Path) -> None:
    arguments = [*photos(shared_data, tmp_path, 1), "source.shard_rows=64"]
    loop = finish([*arguments, "runtime.executor=local"], tmp_path / "loop", tmp_path / "log")
    digests = {"loop": loop.content_digest}
    for each in (1, 2, 4):
        digests[f"ray_{each}"] = finish(
            [*arguments, *actors(each)], tmp_path / f"r{each}", tmp_path / "log"
        ).content_digest
    verdict(
        "photos_cpu: one digest from the loop and from Ray",
        len(set(digests.values())) == 1,
        rows=loop.rows_read,
        **digests,
    )


def storm(arguments: list[str], tmp_path: Path, reference: Manifest, name: str, min_kills: int, min_rows: int) -> None:
    trace = tmp_path / "trace"
    driver = Driver(
        cli("generate", *arguments, *actors(2), f"runtime.run_root={tmp_path / 'storm'}", f"runtime.trace_dir={trace}"),
        tmp_path / "storm.log",
    )
    killer = KillStorm(driver, every_s=10.0, at_least=8)
    killer.start()
    code = driver.wait(3000)
    assert code == 0, driver.tail()
    manifest = finished(tmp_path / "storm")
    undisturbed = sum(numbers["rows"] for numbers in reference.stages.values())
    rework = rows_executed(trace) / undisturbed
    passed = (
        manifest.content_digest == reference.content_digest and len(killer.kills) >= min_kills and rework <= MAX_REWORK
        and manifest.rows_read >= min_rows
    )  # fmt: skip
    verdict(
        f"{name}: same digest under kills of workers", passed, rows=manifest.rows_read, kills=len(killer.kills),
        workers=killer.most_workers, rework=rework, quarantined=manifest.rows_quarantined, seconds=manifest.seconds,
        digest=manifest.content_digest, undisturbed_digest=reference.content_digest,
    )  # fmt: skip


def test_tiny_survives_a_storm_of_worker_kills(tmp_path: Path) -> None:
    arguments = [*TINY, "source.images=25000", "source.shard_rows=256"]
    reference = finish([*arguments, "runtime.executor=local"], tmp_path / "loop", tmp_path / "log")
    slow = ["verifier.misbehaviour.latency_ms=9"]  # a model takes time; else the run is over before 20 kills
    storm([*arguments, *slow], tmp_path, reference, "tiny", min_kills=20, min_rows=50_000)


@pytest.mark.real_data
def test_photos_survive_a_storm_of_worker_kills(tmp_path: Path, shared_data: Path) -> None:
    arguments = [*photos(shared_data, tmp_path, 64), "source.shard_rows=256"]
    reference = finish([*arguments, "runtime.executor=local"], tmp_path / "loop", tmp_path / "log", timeout_s=3000)
    storm(arguments, tmp_path, reference, "photos_cpu", min_kills=20, min_rows=50_000)


def driver_kills(arguments: list[str], tmp_path: Path, reference: Manifest, name: str) -> None:
    root, chance = tmp_path / "killed", random.Random(7)
    run = root / "negationclip/p1/dev"
    resumed_from = []
    for attempt in range(3):
        driver = Driver(
            cli("generate", *arguments, *actors(2), f"runtime.run_root={root}"), tmp_path / f"kill{attempt}.log"
        )
        before = len(list((run / "data").glob("*.parquet"))) if (run / "data").is_dir() else 0
        done = wait_for_parts(run, before + chance.randint(2, 8), driver)
        assert driver.process.poll() is None, f"finished before it could be killed:\n{driver.tail()}"
        time.sleep(chance.random() * 2)
        driver.kill()
        resumed_from.append(done)
    manifest = finish([*arguments, *actors(2)], root, tmp_path / "final.log")
    verdict(
        f"{name}: same digest after three kills of the driver", manifest.content_digest == reference.content_digest,
        rows=manifest.rows_read, committed_at_kills=resumed_from, shards=manifest.shards, incarnations=manifest.incarnations,
        digest=manifest.content_digest,
    )  # fmt: skip


def test_tiny_survives_kills_of_the_driver(tmp_path: Path) -> None:
    arguments = [*TINY, "source.images=4000", "source.shard_rows=128"]
    reference = finish([*arguments, "runtime.executor=local"], tmp_path / "loop", tmp_path / "log")
    driver_kills([*arguments, "verifier.misbehaviour.latency_ms=9"], tmp_path, reference, "tiny")


@pytest.mark.real_data
def test_photos_survive_kills_of_the_driver(tmp_path: Path, shared_data: Path) -> None:
    arguments = [*photos(shared_data, tmp_path, 4), "source.shard_rows=64"]
    reference = finish([*arguments, "runtime.executor=local"], tmp_path / "loop", tmp_path / "log")
    driver_kills(arguments, tmp_path, reference, "photos_cpu")


def test_running_a_finished_run_again_calls_no_model(tmp_path: Path) -> None:
    arguments = [*TINY, "source.images=200", "source.shard_rows=50", "runtime.executor=local"]
    first = finish(arguments, tmp_path, tmp_path / "log")
    trace = tmp_path / "trace"
    begin = time.monotonic()
    # a model that is called at all ends this process
    again = subprocess.run(
        cli("generate", *arguments, f"runtime.run_root={tmp_path}", f"runtime.trace_dir={trace}", "--json",
            "proposer.chat.misbehaviour.dies_always=true", "verifier.misbehaviour.dies_always=true"),
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    same = json.loads(again.stdout)["content_digest"] == first.content_digest if again.returncode == 0 else False
    verdict(
        "a finished run again: no model call, exit 0", again.returncode == 0 and same and not trace.exists(),
        exit_code=again.returncode, rows_run=rows_executed(trace), seconds=time.monotonic() - begin,
    )  # fmt: skip
