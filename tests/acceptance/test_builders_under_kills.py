"""Promises of the builders that `test_negbench` does not cover: a killed driver changes nothing, and audit passes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from negscale.core.run import Manifest
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import Driver, cli, wait_for_parts
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

RUNS = {  # recipe -> (its run folder, overrides that give a dozen shards)
    "negationclip_p2": ("negationclip/p2/dev", ("source.images=400", "source.shard_rows=100")),
    "negrefcocog": ("negationclip/negrefcocog/dev", ("source.images=1500", "source.shard_rows=150")),
}


def finished(command: Sequence[str], run: RunFolder, log: Path) -> Manifest:
    driver = Driver(command, log)
    code = driver.wait(900)
    assert code == 0, f"exit code {code}:\n{driver.tail()}"
    manifest = run.manifest()
    assert manifest is not None
    return manifest


@pytest.mark.ray
@pytest.mark.parametrize("recipe", RUNS)
def test_a_killed_driver_changes_no_row(recipe: str, tmp_path: Path) -> None:
    folder, size = RUNS[recipe]
    loop = RunFolder(str(tmp_path / "loop" / folder))
    reference = finished(
        cli("generate", recipe, *size, "runtime.executor=local", f"runtime.run_root={tmp_path / 'loop'}"), loop,
        tmp_path / "loop.log",
    )  # fmt: skip
    killed = RunFolder(str(tmp_path / "killed" / folder))
    # one shard a block, so that commits are spread over the run and the kill falls between them
    command = cli(
        "generate", recipe, *size, "runtime.executor=ray", "runtime.ray_cpus=10", "runtime.shards_per_block=1",
        f"runtime.run_root={tmp_path / 'killed'}",
    )  # fmt: skip
    driver = Driver(command, tmp_path / "killed.log")
    done = wait_for_parts(Path(killed.uri), 2, driver)
    unfinished = driver.process.poll() is None
    driver.kill()
    manifest = finished(command, killed, tmp_path / "resumed.log")
    audits = audit(loop), audit(killed)
    print(f"\n{recipe}: {manifest.rows_read} rows read, {manifest.rows_kept} kept; refused {dict(manifest.rejected)}")
    verdict(
        f"{recipe}: same digest from the loop and from Ray through a driver kill, audit passes",
        unfinished and manifest.incarnations == 2 and all(report.passed for report in audits)
        and manifest.content_digest == reference.content_digest and manifest.rows_kept > 100,
        rows=manifest.rows_read, kept=manifest.rows_kept, quarantined=manifest.rows_quarantined, shards=manifest.shards,
        committed_at_kill=done, digest=manifest.content_digest,
    )  # fmt: skip


def test_a_killed_balanced_build_gives_the_same_bytes(tmp_path: Path) -> None:
    """A build commits with its manifest; what a killed one left is written over by the same command."""
    size = ("source.images=4000", "options.questions=600")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    facts = _build(size, whole, tmp_path)
    driver = Driver(cli("build", "negmcq_balanced", *size, "--out", str(cut)), tmp_path / "cut.log")
    while (
        not (cut / "questions.csv").exists() and driver.process.poll() is None
    ):  # the first file, long before the last
        pass
    driver.kill()
    half = (cut / "questions.csv").exists(), (cut / "manifest.json").exists()
    again = _build(size, cut, tmp_path)
    same = [_digest(whole / name) == _digest(cut / name) for name in ("questions.csv", "pairs.csv", "manifest.json")]
    other = Driver(cli("build", "negmcq_balanced", "seed=1", *size, "--out", str(cut)), tmp_path / "other.log")
    refused = other.wait(600)
    verdict(
        "a balanced build that was killed gives the same bytes when it is run again; another one is refused there",
        all(same) and again["fingerprint"] == facts["fingerprint"] and refused == 2
        and facts["counts"]["questions"] >= 600 and "holds another build" in other.tail(),
        questions=facts["counts"]["questions"], questions_csv_at_kill=half[0], manifest_at_kill=half[1],
        fingerprint=facts["fingerprint"], exit_code_of_another_build=refused,
    )  # fmt: skip


def _build(size: Sequence[str], out: Path, logs: Path) -> dict[str, Any]:
    driver = Driver(cli("build", "negmcq_balanced", *size, "--out", str(out)), logs / f"{out.name}.log")
    code = driver.wait(600)
    assert code == 0, driver.tail()
    return json.loads((out / "manifest.json").read_text())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
