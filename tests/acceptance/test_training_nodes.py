"""Promise: a node that is about to be taken away gets its checkpoint in time, and the training goes on with what is left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from negscale.storage.folder import open_folder
from negscale.train_verbs import run_training
from negscale.training.checkpoint import Checkpoints
from negscale.training.run import train_run, training_uri
from tests.acceptance import trainings
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.ray, pytest.mark.timeout(1800)]

EPOCH, EPOCHS = 16, 20  # steps of 3 rows; a checkpoint at the end of an epoch, and when somebody asks for one
NOTICE_S = 20.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and two spot nodes of one worker each, on this machine."""
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, resources={"spot": 1})
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def announce(cluster: Any, node: Any, notice_s: float) -> None:
    """What a cloud's notice does: the node is drained, with a deadline."""
    from ray._raylet import GcsClient
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    client: Any = GcsClient(address=cluster.gcs_address)
    accepted, why = client.drain_node(node.node_id, reason, "spot", int((time.time() + notice_s) * 1000))
    assert accepted, why


def test_an_announced_and_then_lost_node(cluster: Any, tmp_path: Path) -> None:
    run = trainings.rows(tmp_path / "rows")
    settings = {"batch_rows": 3, "epochs": EPOCHS}
    more = {"checkpoint_every": 100_000, "keep_checkpoints": 1000}
    straight = trainings.config(run, tmp_path / "straight", precision="float64", runtime=more, **settings)
    train_run(trainings.NAME, straight)
    workers = {"workers": (1, 2), "resources": {"spot": 1}, "address": cluster.address, "preemption_grace_s": 5}
    spot = trainings.config(
        run, tmp_path / "spot", precision="float64", runtime={**more, "executor": "ray", "ray": workers}, **settings
    )
    folder = Path(training_uri(trainings.NAME, spot))
    told: dict[str, Any] = {}

    def take_away() -> None:
        checkpoints = Checkpoints(open_folder(str(folder)))
        while not [step for step in checkpoints.steps() if step >= 2 * EPOCH]:
            time.sleep(0.1)
        node = cluster.worker_nodes and next(iter(cluster.worker_nodes))
        told["announced_after"] = checkpoints.steps()[-1]
        announce(cluster, node, NOTICE_S)
        deadline = time.monotonic() + NOTICE_S
        while time.monotonic() < deadline and not [step for step in checkpoints.steps() if step % EPOCH]:
            time.sleep(0.1)
        told["in_time"] = [step for step in checkpoints.steps() if step % EPOCH]
        cluster.remove_node(node, allow_graceful=False)
        told["lost"] = True

    thief = threading.Thread(target=take_away, daemon=True)
    thief.start()
    manifest = run_training(trainings.NAME, spot)
    thief.join(5)
    steps = EPOCH * EPOCHS
    relative = trainings.distance(trainings.final(spot, steps), trainings.final(straight, steps))
    lines = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    verdict(
        "a checkpoint between two epochs answers a preemption's notice; with the node gone one worker ends within 1e-5",
        bool(told.get("in_time")) and told.get("lost") and manifest["workers"] == 1 and relative < 1e-5
        and lines == list(range(1, steps + 1)),
        announced_after_step=told.get("announced_after"), checkpoint_at=told.get("in_time"), steps=steps,
        workers_at_the_end=manifest["workers"], relative=relative,
    )  # fmt: skip
