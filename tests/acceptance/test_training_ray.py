"""Promise: the same training on Ray Train, whatever dies: a worker, the driver, or the number of workers."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from negscale.training.run import training_uri
from tests.acceptance import trainings
from tests.acceptance.storm import Driver, cli
from tests.acceptance.verdict import verdict
from tests.unit.training.made_runs import run_workers

pytestmark = [pytest.mark.acceptance, pytest.mark.ray, pytest.mark.timeout(3000)]

ENGINES = ["torch", "zero2"] if importlib.util.find_spec("deepspeed") is not None else ["torch"]
WORKER = "RayTrainWorker"

ALONE = """
    import json
    from tests.acceptance.trainings import config, train_until
    for engine, precision in json.loads(arguments[2]):
        train_until(config(arguments[1], f"{arguments[0]}/{engine}-{precision}", engine, precision))
        dist.barrier()
"""
CASES = [("torch", "float64"), *[(engine, "float32") for engine in ENGINES if engine != "torch"]]


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interfaces other than loopback may be missing where tests run."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return trainings.rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def alone(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same trainings by two processes without Ray."""
    root = tmp_path_factory.mktemp("alone")
    run_workers(2, ALONE, str(root), run, json.dumps(CASES), limit_s=900)
    return root


def command(tmp_path: Path, run: str, root: Path, engine: str, precision: str, *more: str) -> list[str]:
    """The command line of the training on Ray Train."""
    made = trainings.config(run, root, engine, precision)
    runtime = made.runtime.model_dump(mode="json", exclude={"ray"})
    values = made.model_dump(mode="json", exclude={"runtime", "data"}) | {"runtime": runtime}
    fragment = tmp_path / f"{engine}.yaml"
    fragment.write_text(json.dumps(values))
    return cli(
        "train", trainings.NAME, "-c", str(fragment), f"data=[{{uri: {run}}}]", "runtime.executor=ray",
        "runtime.ray.workers=2", "runtime.ray.local_cpus=3", *more, "--json",
    )  # fmt: skip


def workers_of(driver: Driver) -> list[psutil.Process]:
    """Ray Train's workers that are up."""
    found = []
    try:
        for child in psutil.Process(driver.process.pid).children(recursive=True):
            try:
                if WORKER in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.Error:
                continue
    except psutil.NoSuchProcess:
        pass
    return found


def finish(words: Sequence[str], log: Path) -> None:
    driver = Driver(words, log)
    code = driver.wait(900)
    assert code == 0, f"exit code {code}:\n{driver.tail()}"


@pytest.mark.parametrize(("engine", "precision"), CASES)
def test_a_killed_worker_changes_no_bit(alone: Path, run: str, tmp_path: Path, engine: str, precision: str) -> None:
    made = trainings.config(run, tmp_path / "runs", engine, precision)
    driver = Driver(command(tmp_path, run, tmp_path / "runs", engine, precision), tmp_path / "driver.log")
    step = trainings.wait_for_checkpoint(Path(training_uri(trainings.NAME, made)), 15, driver)
    before = workers_of(driver)
    before[-1].kill()
    seen = {p.pid for p in before}
    while driver.process.poll() is None:
        seen |= {p.pid for p in workers_of(driver)}
        time.sleep(0.5)
    code = driver.wait(900)
    assert code == 0, driver.tail()
    expected = trainings.final(trainings.config(run, alone / f"{engine}-{precision}", engine, precision))
    differing = trainings.unequal(trainings.final(made), expected)
    verdict(
        f"{engine}, 2 workers on Ray Train, one killed: bit for bit what two processes without Ray and kills end with",
        differing == 0 and len(before) == 2 and len(seen) > 2,
        tensors=len(expected), differing=differing, killed_at_step=step, workers_started=len(seen), precision=precision,
    )  # fmt: skip


@pytest.mark.parametrize(("engine", "precision"), CASES)
def test_a_killed_driver_goes_on_with_more_workers(
    alone: Path, run: str, tmp_path: Path, engine: str, precision: str
) -> None:
    made = trainings.config(run, tmp_path / "runs", engine, precision)
    folder = Path(training_uri(trainings.NAME, made))
    driver = Driver(command(tmp_path, run, tmp_path / "runs", engine, precision), tmp_path / "driver.log")
    step = trainings.wait_for_checkpoint(folder, 25, driver)
    driver.kill()
    unfinished = not (folder / "manifest.json").exists()
    finish(
        command(tmp_path, run, tmp_path / "runs", engine, precision, "runtime.ray.workers=[1,3]"),
        tmp_path / "again.log",
    )
    expected = trainings.final(trainings.config(run, alone / f"{engine}-{precision}", engine, precision))
    relative = trainings.distance(trainings.final(made), expected)
    size = json.loads((folder / "manifest.json").read_text())["workers"]
    verdict(
        f"{engine} on Ray Train: the driver is killed, [1, 3] workers go on and end within 1e-5",
        unfinished and size == 3 and relative < 1e-5,
        relative=relative, killed_at_step=step, workers_before=2, workers_after=size, precision=precision,
    )  # fmt: skip


def test_validation_beside_the_training(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, notes = tmp_path / "runs", tmp_path / "notes.jsonl"
    monkeypatch.setenv("NEGSCALE_TEST_NOTES", str(notes))
    more = ("holdout.share=0.4", "epochs=4", "runtime.metrics_callback=tests.acceptance.test_training_ray:note")
    shown: dict[str, Any] = {}
    for name, cpus in (("spare", 3), ("here", 2)):
        words = command(tmp_path, run, root / name, "torch", "float32", *more, f"runtime.ray.local_cpus={cpus}")
        finish(words, tmp_path / f"{name}.log")
        folder = root / name / "train" / trainings.NAME / "dev"
        found = [json.loads(file.read_text()) for file in sorted((folder / "validation").glob("*.json"))]
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        shown[name] = found
        shown[f"{name}_inline"] = sum("validation_choice" in line for line in lines)
        shown[f"{name}_curves"] = bool(list((folder / "tensorboard").rglob("*tfevents*")))
    same = [
        abs(a[key] - b[key]) < 1e-6 for a, b in zip(shown["spare"], shown["here"], strict=False) for key in a
    ]  # fmt: skip
    last = shown["here"][-1]
    reports = [json.loads(line)["step"] for line in notes.read_text().splitlines()]
    verdict(
        "held-out retrieval, Retrieval-Neg and balanced choice after every epoch, beside the training where there is room",
        len(shown["here"]) == len(shown["spare"]) == 4 and all(same) and shown["here_inline"] == 4
        and shown["spare_inline"] == 0 and shown["spare_curves"] and len(reports) >= 8
        and {"validation_retrieval_r1", "validation_retrieval_neg_r1", "validation_choice"} <= last.keys(),
        epochs=len(shown["spare"]), equal_figures=len(same), reports_to_callback=len(reports), **last,
    )  # fmt: skip


def note(figures: Any) -> None:
    """A metrics callback, called beside Ray's controller: one line a report."""
    with open(os.environ["NEGSCALE_TEST_NOTES"], "a") as file:
        file.write(json.dumps(figures) + "\n")


def test_what_cannot_work_says_so(run: str, tmp_path: Path) -> None:
    too_many = Driver(
        command(tmp_path, run, tmp_path / "a", "torch", "float32", "runtime.ray.workers=8"), tmp_path / "a.log"
    )
    refused = too_many.wait(300)
    words = command(
        tmp_path, run, tmp_path / "b", "torch", "float32", "optimiser.rate=1e30", "optimiser.warm_up_steps=0"
    )
    diverging = Driver(words, tmp_path / "b.log")
    broke = diverging.wait(600)
    verdict(
        "a cluster that is too small is said before anything starts; a loss that is no number is not tried twenty times",
        refused == 2 and "8 training workers need CPU=8, this cluster has 3" in too_many.tail()
        and broke == 4 and "the loss is not finite" in diverging.tail() and "toy-" in diverging.tail(),
        exit_too_small=refused, exit_not_finite=broke,
    )  # fmt: skip
