"""An evaluation under kills: workers and drivers die, the same command goes on, and every score is equal to the last bit."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from negscale.benchmarks.cells import read_suite
from negscale.datasets.toy_scenes import scene
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import Driver, KillStorm, cli, wait_for_parts
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.ray, pytest.mark.timeout(3000)]

ARCHITECTURE = "ViT-S-32"
SCENES = 400
RAY = [
    "runtime.executor=ray",
    "runtime.ray_cpus=6",
    "runtime.actors.embed=2",
    "sizes.text_batch=8",
    "sizes.picture_batch=2",
]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions and captions on drawn scenes, and a CLIP of random weights."""
    open_clip = pytest.importorskip("open_clip")
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("eval")
    torch.manual_seed(0)
    save_file(dict(open_clip.create_model(ARCHITECTURE).state_dict()), folder / "weights.safetensors")
    (folder / "data").mkdir()
    questions = ["image_path,correct_answer,caption_0,caption_1,caption_2,caption_3,correct_answer_template"]
    captions = ["filepath,captions"]
    for number in range(SCENES):
        names = scene(0, number).names
        seen, other = sorted(names)[0], sorted(scene(0, number + SCENES).names)[0]
        image = f"toyworld:0/{number}"
        questions.append(
            f'{image},0,"Scene {number} has a {seen}, but no {other}.",Scene {number} has a {other}.,'
            f'"In {number}, a {other}, no {seen}.",There is no {seen} in {number}.,hybrid'
        )
        captions.append(f"""{image},"['A {seen} in scene {number}.', 'Scene {number} without a {other}.']\"""")
    (folder / "data/coco_mcq.csv").write_text("\n".join(questions) + "\n")
    (folder / "data/coco_negated_retrieval.csv").write_text("\n".join(captions) + "\n")
    return folder


def command(ground: Path, root: Path, *more: str) -> list[str]:
    encoder = f"{{kind: open_clip_encoder, model: {ARCHITECTURE}, path: {ground / 'weights.safetensors'}}}"
    return cli(
        "eval", "all", f"data_root={ground / 'data'}", f"models.made={encoder}", f"runtime.run_root={root}", *RAY, *more
    )


def results(root: Path) -> dict[str, bytes]:
    """Every file of the evaluation but those that name the run root."""
    suite = read_suite(str(root / "eval/all"))
    run = RunFolder(next(iter(suite.cells.values())).lineage["runs"][0])
    report = audit(run)
    assert report.passed, report.problems
    files = {
        str(p.relative_to(root / "eval/all")): p.read_bytes() for p in (root / "eval/all").rglob("*") if p.is_file()
    }
    for path in [path for path in files if path.startswith("cells/")]:
        files[path] = json.dumps({**json.loads(files[path]), "lineage": None}, sort_keys=True).encode()
    return files


def run_folder(root: Path, driver: Driver) -> Path:
    """Where the embed run lies, as soon as it is there."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if found := list((root / "embeddings").glob("*/embed/*/run.json")):
            return found[0].parent
        assert driver.process.poll() is None, driver.tail()
        time.sleep(0.2)
    raise AssertionError(f"no embed run in 300 s:\n{driver.tail()}")


def finish(arguments: list[str], log: Path) -> None:
    driver = Driver(arguments, log)
    code = driver.wait(1200)
    assert code == 0, f"exit code {code}:\n{driver.tail()}"


@pytest.fixture(scope="module")
def undisturbed(ground: Path) -> dict[str, bytes]:
    root = ground / "undisturbed"
    finish(command(ground, root), ground / "undisturbed.log")
    return results(root)


def test_kills_of_workers_change_no_bit(ground: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    driver = Driver(command(ground, tmp_path), tmp_path / "storm.log")
    storm = KillStorm(driver, every_s=20.0, at_least=2)  # a worker needs its time to load the model
    storm.start()
    code = driver.wait(1200)
    assert code == 0, driver.tail()
    found = results(tmp_path)
    verdict(
        "an evaluation under kills of workers: every item, cell and test equal to the last bit",
        found == undisturbed and len(storm.kills) >= 2, files=len(found), kills=len(storm.kills),
        differ=[path for path in undisturbed if found.get(path) != undisturbed[path]],
    )  # fmt: skip


def test_three_kills_of_the_driver_change_no_bit(ground: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    committed: list[int] = []
    run = Path()
    for attempt in range(3):
        driver = Driver(command(ground, tmp_path), tmp_path / f"kill{attempt}.log")
        run = run_folder(tmp_path, driver)
        done = wait_for_parts(run, (committed[-1] if committed else 0) + 4, driver)
        assert driver.process.poll() is None, f"finished before it could be killed:\n{driver.tail()}"
        driver.kill()
        committed.append(done)
    finish(command(ground, tmp_path), tmp_path / "final.log")
    manifest = RunFolder(str(run)).manifest()
    assert manifest is not None
    found = results(tmp_path)
    verdict(
        "an evaluation after three SIGKILLs of the driver: resumed, every item, cell and test equal to the last bit",
        found == undisturbed and manifest.incarnations == 4, files=len(found), committed_at_kills=committed,
        shards=manifest.shards, incarnations=manifest.incarnations,
        differ=[path for path in undisturbed if found.get(path) != undisturbed[path]],
    )  # fmt: skip
