"""What cannot be trained on, or saved, or started from: each a clear error, and nothing of before is lost."""

from __future__ import annotations

import http.server
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from negscale.core.errors import AuditError, ConfigError, FatalError, PlanError
from negscale.storage.folder import open_folder
from negscale.training.checkpoint import Checkpoints
from negscale.training.clip_text import Progress
from negscale.training.config import TrainConfig
from negscale.training.export import export_checkpoint
from negscale.training.run import train_run, training_uri
from tests.unit.training.made_runs import caption_run
from tests.unit.training.tiny_clip import TINY, open_clip_folder


@pytest.fixture
def run(tmp_path: Path) -> str:
    return caption_run(tmp_path / "run", (8, 8))


def config(run: str, root: Path, **more: object) -> TrainConfig:
    base = {
        "model": TINY, "data": [{"uri": run}], "objective": {"kind": "negationclip"}, "epochs": 2, "batch_rows": 4,
        "optimiser": {"rate": 1e-3}, "runtime": {"run_root": str(root), "device": "cpu", "checkpoint_every": 2},
    }  # fmt: skip
    return TrainConfig.model_validate({**base, **more})


def stop_at(step: int):
    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return watch


def test_a_run_that_was_made_anew_is_other_data(run: str, tmp_path: Path) -> None:
    made = config(run, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_run("t", made, stop_at(3))
    shutil.rmtree(run)
    caption_run(run, (8, 8), world=4)  # the same place, the same sizes, other rows
    with pytest.raises(PlanError, match=r"another training.*first difference: data.*content_digest"):
        train_run("t", made)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_shard_stops_the_training_by_name(run: str, tmp_path: Path, damage: str) -> None:
    made = config(run, tmp_path)
    part = Path(run) / "data" / "s0001.g0000.parquet"

    def watch(progress: Progress) -> None:
        if progress.step == 1:
            part.write_bytes(part.read_bytes()[:-40]) if damage == "cut" else part.unlink()

    with pytest.raises((AuditError, PlanError), match="s0001"):
        train_run("t", made, watch)


def test_a_full_disk_leaves_the_older_checkpoint(run: str, tmp_path: Path) -> None:
    made = config(run, tmp_path)

    def watch(progress: Progress) -> None:
        if progress.step == 2:  # from here on no file may grow beyond 100 kB, which the weights do
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(FatalError, match=r"cannot write .*trainable\.safetensors.*run the same command again"):
            train_run("t", made, watch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    folder = open_folder(training_uri("t", made))
    latest = Checkpoints(folder).latest()
    assert latest is not None
    assert latest[0].step == 2
    assert train_run("t", made)["steps"] == 8  # with room again it goes on


def test_a_checkpoint_of_another_architecture(run: str, tmp_path: Path) -> None:
    made = config(run, tmp_path)
    train_run("t", made)
    other = open_clip_folder(tmp_path / "model")
    folder = Path(training_uri("t", made))
    text = made.model_copy(update={"model": other})
    from negscale.core.config import to_yaml

    (folder / "config.yaml").write_text(to_yaml(text))
    with pytest.raises(ConfigError, match=r"another architecture.*unknown "):
        export_checkpoint(str(folder), "clip")


def test_a_checkpoint_of_another_choice_of_what_trains(run: str, tmp_path: Path) -> None:
    made = config(run, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_run("t", made, stop_at(3))
    folder = Path(training_uri("t", made))
    checkpoints = Checkpoints(open_folder(str(folder)))
    checkpoint, state = checkpoints.load(2)
    fewer = {name: value for name, value in state.trainable.items() if "logit_scale" not in name}
    checkpoints.save(2, type(state)(fewer, state.optimiser), checkpoint.cursors, checkpoint.facts)
    with pytest.raises(ConfigError, match=r"missing logit_scale"):
        train_run("t", made)


class _Gated(http.server.BaseHTTPRequestHandler):
    """The hub's answer about a model whose licence was not accepted."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to model acme/gated-clip is restricted.")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.mark.timeout(120)
def test_a_hub_id_that_needs_a_login(run: str, tmp_path: Path) -> None:
    """In a process of its own: the hub's address is read when the library is imported."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Gated)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fragment = tmp_path / "gated.yaml"
    model = {"kind": "hf_dual_encoder", "model": "acme/gated-clip"}
    fragment.write_text(json.dumps({"model": model, "runtime": {"run_root": str(tmp_path), "device": "cpu"}}))
    command = [
        sys.executable, "-m", "negscale", "train", "train_clip_text_negationclip_corrected", "-c", str(fragment),
        f"data=[{{uri: {run}}}]", "batch_rows=4", "holdout.share=0",
    ]  # fmt: skip
    place = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "0",
    }
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **place}, timeout=100)
    server.shutdown()
    assert done.returncode == 2, done.stderr
    assert "acme/gated-clip" in done.stderr
    assert "accept the licence on the model's page and set HF_TOKEN" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
