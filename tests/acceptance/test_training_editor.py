"""An editor before and after it is tuned on NeIn in small: removal, retention, and the controls that expose blind erasing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from negscale import app
from negscale.benchmarks.registry import find_benchmark
from negscale.eval_verbs import run_benchmark
from negscale.storage.folder import open_folder
from negscale.tiny_models.editor_figures import IMAGE_GUIDANCE, STEPS, TEXT_GUIDANCE
from negscale.tiny_models.files import folder_of
from negscale.tiny_models.lessons import TEST_WORLD
from negscale.training.checkpoint import Checkpoints
from tests.acceptance.verdict import verdict

pytest.importorskip("diffusers", reason="editors are pipelines of diffusers")
pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

LOCAL = "runtime.executor=local"
SHOWN = (
    "removal/detector", "retention/detector", "affirmative/object_stays/detector", "keep/object_stays/detector",
    "two_objects/removal/detector", "two_objects/retention/detector", "obedience/detector", "l1",
)  # fmt: skip
STEPS_OF_TUNING = 400


def nein(root: Path, version: str, *arguments: str) -> str:
    """A finished nein run on drawn scenes; its editor pastes, so that every kept row is true."""
    prepared = app.prepare("nein", (), [
        f"runtime.run_root={root}", f"runtime.version={version}", LOCAL, "editor.kind=tiny_editor", *arguments,
    ])  # fmt: skip
    app.generate(prepared)
    return str(prepared.spec.uri)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("editor")
    learnt = nein(
        root, "learnt", "source.images=500", "source.seed=71500", "selection.edits=3", "selection.eval_share=0.05"
    )
    asked = nein(root, "asked", "source.images=30", f"source.seed={TEST_WORLD}", "selection.edits=2")
    return {"root": str(root), "learnt": learnt, "asked": asked}


def evaluated(runs: dict[str, str], version: str, folder: str) -> dict[str, Any]:
    """Every score of the editor in `folder`."""
    prepared = app.prepare("nein_eval", (), [
        f"source.uri={runs['asked']}", f"runtime.run_root={runs['root']}", f"runtime.version={version}", LOCAL,
        "editor.kind=diffusers_editor", f"editor.model=tiny/{version}", f"editor.path={folder}", "editor.dtype=float32",
        "editor.size_px=96", "editor.multiple_px=16", f"editor.steps={STEPS}", f"editor.text_guidance={TEXT_GUIDANCE}",
        f"editor.image_guidance={IMAGE_GUIDANCE}", "editor.run.device=cpu", "editor.run.batch_size=8",
    ])  # fmt: skip
    return {one["name"]: one["estimate"] for one in run_benchmark(find_benchmark("nein"), prepared).facts["scores"]}


def shown(scores: dict[str, Any]) -> dict[str, str]:
    return {
        name: f"{scores[name]['value']:.3f} [{scores[name]['low']:.3f}, {scores[name]['high']:.3f}]"
        for name in SHOWN if name in scores
    }  # fmt: skip


def tuned(runs: dict[str, str], version: str, instructions: str) -> str:
    """The folder of an editor tuned by the command line and exported by it."""
    root = runs["root"]
    train = [
        "train", "edit_nein", f"data=[{{uri: {runs['learnt']}}}]", f"model={{model: tiny/editor, path: {folder_of('editor')}}}",
        f"instructions={instructions}", "size_px=96", "mirror=0", "precomputed=true", "ema=0.99", "precision=float32",
        "optimiser={rate: 3.0e-4, warm_up_steps: 20, schedule: cosine}", "epochs=20", f"max_steps={STEPS_OF_TUNING}",
        f"runtime={{run_root: {root}, version: {version}, device: cpu, checkpoint_every: 100}}", "--json",
    ]  # fmt: skip
    done = negscale(*train)
    folder = json.loads(done)["folder"]
    out = f"{root}/{version}-editor"
    negscale("export", folder, "--to", "instruct-pix2pix", "--out", out)
    return out


def negscale(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "negscale", *arguments], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_tuning_on_nein_teaches_denials_and_controls_show_what_was_learnt(runs: dict[str, str]) -> None:
    before = evaluated(runs, "before", str(folder_of("editor")))
    paper = evaluated(runs, "paper", tuned(runs, "paper", "{negative: 1.0}"))
    ours = evaluated(
        runs, "ours", tuned(runs, "ours", "{negative: 0.4, affirmative: 0.2, keep: 0.2, two_objects: 0.2}")
    )

    def value(scores: dict[str, Any], name: str) -> float:
        return scores[name]["value"]

    removes = all(value(s, "removal/detector") >= value(before, "removal/detector") for s in (paper, ours))
    controls = ("affirmative/object_stays/detector", "keep/object_stays/detector")
    verdict(
        "an editor tuned on NeIn removes what is denied; with the controls among its lessons it leaves what is affirmed",
        removes and value(ours, "removal/detector") >= 0.9
        and all(value(ours, name) >= value(paper, name) for name in controls)
        and value(ours, "retention/detector") >= before["retention/detector"]["low"],
        before=shown(before), denials_alone=shown(paper), with_controls=shown(ours), steps=STEPS_OF_TUNING,
    )  # fmt: skip


@pytest.mark.ray
def test_two_workers_of_ray_train_learn_what_this_process_does(runs: dict[str, str]) -> None:
    states = []
    for version, runtime in (("alone", "executor: local"), ("pair", "executor: ray, ray: {workers: 2, local_cpus: 2}")):
        done = negscale(
            "train", "edit_nein", f"data=[{{uri: {runs['learnt']}}}]",
            f"model={{model: tiny/editor, path: {folder_of('editor')}}}", "size_px=96", "mirror=0", "precomputed=true",
            "ema=0.9", "precision=float64", "batch_rows=7", "max_steps=12", "held_out_rows=0",
            "optimiser={rate: 3.0e-4, warm_up_steps: 2}",
            f"runtime={{run_root: {runs['root']}, version: {version}, device: cpu, {runtime}}}", "--json",
        )  # fmt: skip
        checkpoints = Checkpoints(open_folder(json.loads(done)["folder"]))
        states.append(checkpoints.load(12)[1])
    one, two = ({**state.trainable, **state.optimiser} for state in states)
    worst = max(float((two[n] - one[n]).abs().max() / one[n].abs().max().clamp(min=1e-9)) for n in one)
    verdict(
        "an editor trained by 2 workers on Ray Train equals one trained alone: parameters, moments, averages",
        one.keys() == two.keys() and worst < 1e-6, relative=worst, tensors=len(one),
    )  # fmt: skip
