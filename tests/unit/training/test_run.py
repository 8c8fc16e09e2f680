"""Whole trainings of the tiny CLIP on drawn scenes: they learn, stop, go on, and refuse what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from negscale.core.errors import ConfigError, PlanError
from negscale.storage.folder import open_folder
from negscale.training.batches import Collator
from negscale.training.checkpoint import Checkpoints
from negscale.training.clip_text import LossError, Progress
from negscale.training.config import TrainConfig
from negscale.training.run import train_run, training_uri
from tests.unit.training.made_runs import caption_run, question_run, run_workers
from tests.unit.training.tiny_clip import TINY


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "captions": caption_run(folder / "captions"),
        "questions": question_run(folder / "questions"),
        "vectors": str(folder / "vectors"),
    }


def config(runs: dict[str, str], root: Path | str, **more: Any) -> TrainConfig:
    runtime = {
        "run_root": str(root),
        "vectors": runs["vectors"],
        "device": "cpu",
        "report_every": 1,
        "checkpoint_every": 3,
    }
    base: dict[str, Any] = {
        "model": TINY, "data": [{"uri": runs["captions"]}], "questions": [{"uri": runs["questions"]}],
        "objective": {"kind": "negscale", "question": 0.5}, "freeze": ["visual"], "epochs": 2, "batch_rows": 8,
        "question_rows": 5, "optimiser": {"rate": 1e-3, "warm_up_steps": 2, "decay_everything": False, "clamp_logit_scale": True},
        "runtime": {**runtime, **more.pop("runtime", {})},
    }  # fmt: skip
    return TrainConfig.model_validate({**base, **more})


def final(made: TrainConfig, name: str = "t") -> dict[str, torch.Tensor]:
    checkpoints = Checkpoints(open_folder(training_uri(name, made)))
    _, state = checkpoints.load(checkpoints.steps()[-1])
    return {**state.trainable, **state.optimiser}


class Killed(Exception):
    pass


def kill_at(step: int):
    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return watch


def test_it_learns_and_leaves_its_record(runs: dict[str, str], tmp_path: Path) -> None:
    made = config(runs, tmp_path, epochs=6, holdout={"share": 0.2})
    manifest = train_run("t", made)
    lines = [json.loads(line) for line in (Path(training_uri("t", made)) / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, manifest["steps"] + 1))
    assert sum(line["loss"] for line in lines[-4:]) < 0.8 * sum(line["loss"] for line in lines[:4])
    assert {"caption", "absence", "question", "keep", "top1", "learning_rate", "logit_scale"} <= set(lines[0])
    assert manifest["data"][0]["run"] == "negationclip/p1"
    assert manifest["held_out"]["held_out_loss"] > 0
    assert train_run("t", made)["seconds"] == manifest["seconds"]  # finished: nothing is done again
    assert list((Path(training_uri("t", made)) / "tensorboard").glob("*tfevents*"))


def test_killed_and_resumed_is_bit_equal(runs: dict[str, str], tmp_path: Path) -> None:
    straight, broken = config(runs, tmp_path / "a"), config(runs, tmp_path / "b")
    train_run("t", straight)
    for step in (5, 6):  # between checkpoints, and at the second one
        with pytest.raises(Killed):
            train_run("t", broken, kill_at(step))
    train_run("t", broken)
    expected, found = final(straight), final(broken)
    assert expected.keys() == found.keys()
    assert any("/exp_avg_sq" in name for name in expected)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    lines = [
        json.loads(line)["step"]
        for line in (Path(training_uri("t", broken)) / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines == sorted(set(lines))


def test_dropping_the_optimiser_or_the_cursor_would_be_seen(runs: dict[str, str], tmp_path: Path) -> None:
    straight = config(runs, tmp_path / "a")
    train_run("t", straight)
    expected = final(straight)
    for what in ("optimiser", "cursors"):
        broken = config(runs, tmp_path / what)
        with pytest.raises(Killed):
            train_run("t", broken, kill_at(3))
        folder = open_folder(training_uri("t", broken))
        checkpoints = Checkpoints(folder)
        checkpoint, state = checkpoints.load(3)
        cursors = {} if what == "cursors" else checkpoint.cursors
        if what == "optimiser":
            state = type(state)(state.trainable, {key: torch.zeros_like(t) for key, t in state.optimiser.items()})
        checkpoints.save(3, state, cursors, checkpoint.facts)
        train_run("t", broken)
        found = final(broken)
        assert max(float((found[n] - expected[n]).abs().max()) for n in found if "/" not in n) > 1e-4


WORKERS = """
    from tests.unit.training.test_run import Killed, config, kill_at
    from negscale.training.run import train_run
    root, runs = arguments[0], dict(zip(("captions", "questions", "vectors"), arguments[1:4]))
    for name, precision in (("same", "float32"), ("other", "float64")):
        straight = config(runs, f"{root}/straight-{name}", precision=precision)
        broken = config(runs, f"{root}/broken-{name}", precision=precision)
        if size == 3:
            train_run("t", straight)
        try:
            train_run("t", broken, kill_at(4))
        except Killed:
            pass
        dist.barrier()
        if size == 3 and name == "same":
            train_run("t", broken)
            dist.barrier()
"""


@pytest.mark.timeout(900)
def test_workers_resume_bit_equal_and_in_other_numbers(runs: dict[str, str], tmp_path: Path) -> None:
    run_workers(3, WORKERS, str(tmp_path), runs["captions"], runs["questions"], runs["vectors"])
    expected, found = (final(config(runs, tmp_path / f"{what}-same")) for what in ("straight", "broken"))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    # three workers began, one goes on
    other = config(runs, tmp_path / "broken-other", precision="float64")
    assert Checkpoints(open_folder(training_uri("t", other))).steps() == [3, 4]
    train_run("t", other)
    expected, found = final(config(runs, tmp_path / "straight-other", precision="float64")), final(other)
    worst = max(
        float((found[n] - expected[n]).abs().max() / expected[n].abs().max().clamp(min=1e-9))
        for n in expected
        if "/" not in n
    )
    print(f"3 workers, then 1: relative {worst:.1e}")
    assert worst < 1e-7


def test_another_recipe_is_refused(runs: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train_run("t", config(runs, tmp_path), kill_at(2))
    with pytest.raises(PlanError, match=r"another training.*optimiser\.rate was 0\.001, is 0\.01"):
        train_run(
            "t",
            config(
                runs,
                tmp_path,
                optimiser={"rate": 1e-2, "warm_up_steps": 2, "decay_everything": False, "clamp_logit_scale": True},
            ),
        )


def test_a_loss_that_is_no_number_stops_with_the_ids(
    runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config(runs, tmp_path)
    collate, calls = Collator.__call__, []

    def poisoned(self, rows, questions=None):
        batch = collate(self, rows, questions)
        calls.append(batch.ids)
        if len(calls) == 6:
            batch.image_BD[0] = torch.inf
        return batch

    monkeypatch.setattr(Collator, "__call__", poisoned)
    with pytest.raises(LossError, match=calls_id_pattern()):
        train_run("t", made)
    record = json.loads((Path(training_uri("t", made)) / "failed_batch.json").read_text())
    assert record["step"] == 5
    assert record["ids"] == calls[5]
    assert Checkpoints(open_folder(training_uri("t", made))).steps()[-1] == 4  # the end of the first epoch


def calls_id_pattern() -> str:
    return r"step 5 .*toy-\d{8}-\d.*checkpoint is kept"


def test_bad_input_is_refused(runs: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="fewer than one batch"):
        train_run("t", config(runs, tmp_path, batch_rows=500))
    with pytest.raises(PlanError, match="no column"):
        train_run("t", config(runs, tmp_path, data=[{"uri": runs["questions"]}]))
    with pytest.raises(ValueError, match="question term"):
        config(runs, tmp_path, questions=[])
    with pytest.raises(ConfigError, match="folder"):
        train_run("t", config(runs, tmp_path, model=TINY.model_copy(update={"path": str(tmp_path / "nowhere")})))


def test_damaged_checkpoints_are_passed_over(runs: dict[str, str], tmp_path: Path) -> None:
    made = config(runs, tmp_path)
    with pytest.raises(Killed):
        train_run("t", made, kill_at(6))
    checkpoints = Checkpoints(open_folder(training_uri("t", made)))
    newest = checkpoints.steps()[-1]
    file = Path(training_uri("t", made)) / "checkpoints" / f"step_{newest:09d}.trainable.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    latest = checkpoints.latest()
    assert latest is not None
    assert latest[0].step == checkpoints.steps()[-2]
