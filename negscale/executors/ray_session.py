"""Connect to the cluster that a config names, or start a private one on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from negscale.core.errors import PlanError
from negscale.core.runtime import RuntimeConfig
from negscale.executors.pools import Cluster

_STARTS = 4


@contextmanager
def ray_session(runtime: RuntimeConfig) -> Iterator[Cluster]:
    """A connection for the time of a run; a cluster that was started here ends with it, another one is left alone."""
    started_here = not ray.is_initialized()
    if started_here:
        _connect(runtime)
    try:
        yield cluster_of()
    finally:
        if started_here:
            ray.shutdown()


def _connect(runtime: RuntimeConfig) -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own progress says more
    address = runtime.ray_address or os.environ.get("RAY_ADDRESS", "")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU workers on GPU nodes see no GPU
    try:
        if address and address != "local":
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        else:
            _start_local(runtime)
    except (ConnectionError, RuntimeError) as error:
        raise PlanError(
            f"cannot reach Ray at {address or 'local'}: {error}. Check runtime.ray_address, or leave it empty for a local cluster."
        ) from error


def _start_local(runtime: RuntimeConfig) -> None:
    """A private cluster. Ray gives its own processes 30 s to start; a busy machine gets more tries."""
    memory = runtime.object_store_memory_mb
    for left in reversed(range(_STARTS)):
        try:
            # "local", not the default: without it a process may find and join another cluster of this machine
            ray.init(
                address="local", num_cpus=runtime.ray_cpus, include_dashboard=False, logging_level=logging.ERROR,
                log_to_driver=False, object_store_memory=memory * 1024 * 1024 if memory else None,
            )  # fmt: skip
            return
        except Exception as error:  # Ray raises no narrower class here
            if "timed out during startup" in str(error):
                ray.shutdown()
                if left:
                    continue
            raise


def cluster_of() -> Cluster:
    """What the connected cluster has, over its living nodes."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    largest: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.items():
            largest[name] = max(largest.get(name, 0.0), amount)
    return Cluster(ray.cluster_resources(), largest)


def living_nodes() -> set[str]:
    """Ids of the nodes that are alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
