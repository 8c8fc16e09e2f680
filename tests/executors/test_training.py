"""Both trainings with two workers on Ray Train, under DDP and under DeepSpeed, end where one process ends."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from negscale.ray_training import run_on_ray
from negscale.storage.folder import open_folder
from negscale.training.checkpoint import Checkpoints
from negscale.training.run import train_run, training_uri

pytest.importorskip("diffusers", reason="editors are pipelines of diffusers")
pytest.importorskip("deepspeed")

from negscale.training.editor_run import edit_training_uri, train_editor
from tests.acceptance import trainings
from tests.unit.training.edit_runs import edit_run, small_editor
from tests.unit.training.test_editor import config as edit_config

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

EDIT_OPTIMISER = {
    "rate": 2e-3,
    "warm_up_steps": 2,
    "eps": 1e-5,
}  # AdamW's first steps follow the sign of rounding errors else


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("made")
    rows = trainings.rows(folder)
    return {"rows": rows, "run": edit_run(folder / "run"), "ip2p": small_editor(folder / "ip2p")}


def text_encoder(made: dict[str, str], root: Path, engine: str) -> tuple[str, Any]:
    chosen = trainings.config(made["rows"], root, engine, epochs=4, runtime={"executor": "ray", "ray": {"workers": 2}})
    return training_uri("t", chosen), chosen


def editor(made: dict[str, str], root: Path, engine: str) -> tuple[str, Any]:
    named = {} if engine == "torch" else {"engine": "deepspeed", "deepspeed": engine}
    chosen = edit_config(made, root, optimiser=EDIT_OPTIMISER, runtime=named)
    return edit_training_uri("e", chosen), chosen


def train_both(text: Any, edit: Any, watch: Any = None, validate_here: bool = True) -> list[dict[str, Any]]:
    """One after the other in the same workers: their start takes longer than both trainings."""
    return [train_run("t", text, watch, validate_here), train_editor("e", edit, watch, validate_here)]


def parameters(uri: str) -> dict[str, Any]:
    checkpoints = Checkpoints(open_folder(uri))
    return checkpoints.load(checkpoints.steps()[-1])[1].trainable


def test_two_workers_on_ray_train_end_where_one_process_does(
    made: dict[str, str], tmp_path: Path, ray_session: None
) -> None:
    kinds = (text_encoder, editor)
    (uri_t, text), (uri_e, edit) = (kind(made, tmp_path / "alone", "torch") for kind in kinds)
    alone = train_both(text, edit)
    expected = [parameters(uri_t), parameters(uri_e)]
    for engine in ("torch", "zero2"):
        (uri_t, text), (uri_e, edit) = (kind(made, tmp_path / engine, engine) for kind in kinds)
        found = run_on_ray(uri_t, text.runtime, functools.partial(train_both, text, edit))
        for kind, uri, wanted, manifest, other in zip(kinds, (uri_t, uri_e), expected, found, alone, strict=True):
            distance = trainings.distance(parameters(uri), wanted)
            print(f"{kind.__name__}, {engine}, 2 workers: {manifest['steps']} steps, relative {distance:.1e}")
            assert (manifest["steps"], manifest["workers"]) == (other["steps"], 2)
            assert distance < 1e-4
