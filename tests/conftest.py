"""Shared fixtures: one private Ray session for all tests that ask for it, an S3 server on loopback, real data."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[1]
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # other interfaces may be missing where tests run


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A private local cluster with 8 logical CPUs and 16 simulated GPUs."""
    import ray

    ray.init(
        address="local", num_cpus=8, resources={"fakegpu": 16}, include_dashboard=False, log_to_driver=False,
        object_store_memory=400 * 1024 * 1024, logging_level="ERROR",
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photographs and benchmark rows; the test skips, with the reason, where they are absent."""
    folder = Path(os.environ.get("NEGSCALE_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set NEGSCALE_SHARED_DATA")
    return folder


@pytest.fixture
def s3_uri(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket on an emulated S3 server."""
    import boto3
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    # S3 checks If-None-Match and writes in one step; the emulator does it in two, between which other threads write
    put, one_at_a_time = S3Response._key_response_put, threading.Lock()

    def atomic_put(self: S3Response, *arguments: Any, **named: Any) -> Any:
        with one_at_a_time:
            return put(self, *arguments, **named)

    monkeypatch.setattr(S3Response, "_key_response_put", atomic_put)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for key, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    boto3.client("s3").create_bucket(Bucket="runs")
    yield "s3://runs/negscale"
    server.stop()
