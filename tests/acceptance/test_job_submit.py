"""Promise: jobs/negationclip_p1.py runs as a submitted job on a real cluster, and, stopped in the middle, resumes.

The cluster is a `ray start --head` of its own on loopback, with its own ports and folder; only its processes are ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs import negationclip_p1 as job
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.verdict import verdict

REPO = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Head:
    """A running head node."""

    dashboard: str
    environment: dict[str, str]

    def get(self, path: str) -> dict[str, Any]:
        """An answer of the jobs API; the token is this cluster's own."""
        request = urllib.request.Request(
            f"{self.dashboard}/api/{path}", headers={"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def ray(self, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """`ray job ...` against this head."""
        command = [str(RAY), "job", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, cwd=REPO, timeout=timeout_s
        )

    def submit(self, submission: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Submit the job as jobs/README.md says; returns when it is queued."""
        deadline = time.monotonic() + 180
        while True:
            done = self.ray(
                "submit", "--address", self.dashboard, "--submission-id", submission, "--runtime-env",
                "cluster/runtime_env.yaml", "--working-dir", ".", "--no-wait", "--", "python", "jobs/negationclip_p1.py",
                *arguments,
            )  # fmt: skip
            # a head that has just come up says so itself: the agent that starts jobs comes last
            if "No available agent" not in done.stdout + done.stderr or time.monotonic() > deadline:
                return done
            time.sleep(3)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head node that shares no port and no folder with any other cluster of this machine."""
    folder = tempfile.mkdtemp(prefix="ns")  # short: socket paths end at 107 characters
    port, dashboard, client, agent = _free_ports(4)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    # what cluster/ sets up: a cluster answers only those who hold its token
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment["PATH"] = f"{RAY.parent}{os.pathsep}{environment['PATH']}"  # the job's `python` is this one
    log = Path(folder, "head.log")
    process = subprocess.Popen(
        [
            str(RAY), "start", "--head", "--block", "--port", str(port), "--node-ip-address", "127.0.0.1",
            "--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard), "--ray-client-server-port", str(client),
            "--dashboard-agent-listen-port", str(agent), "--min-worker-port", "0", "--max-worker-port", "0",
            "--temp-dir", folder, "--num-cpus", "4", "--object-store-memory", str(200 * 2**20), "--disable-usage-stats",
        ],
        stdout=log.open("wb"), stderr=subprocess.STDOUT, env=environment, start_new_session=True,
    )  # fmt: skip
    ours = psutil.Process(process.pid)
    try:
        head = Head(f"http://127.0.0.1:{dashboard}", environment)
        _wait_for_jobs_api(head, process, log)
        yield head
    finally:
        family = _family(ours)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for member in family:  # what outlived its parent
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def _family(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def _wait_for_jobs_api(head: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            head.get("version")
        except OSError:  # not listening yet, or not answering yet
            time.sleep(1)
        else:
            return
    raise AssertionError(f"the head node did not come up: {log.read_text(errors='replace')[-3000:]}")


def _ended(head: Head, submission: str, timeout_s: float = 240) -> tuple[str, str]:
    """(status, log) of a job that has ended."""
    deadline = time.monotonic() + timeout_s
    while (status := head.get(f"jobs/{submission}")["status"]) not in ("SUCCEEDED", "FAILED", "STOPPED"):
        assert time.monotonic() < deadline, head.get(f"jobs/{submission}/logs")["logs"][-3000:]
        time.sleep(0.5)
    return status, head.get(f"jobs/{submission}/logs")["logs"]


def _summary(log: str) -> dict[str, object]:
    return json.loads(next(line for line in reversed(log.splitlines()) if line.startswith('{"run"')))


def _parts(run: RunFolder) -> dict[str, int]:
    """Committed part -> time of its last change, in ns."""
    return {part.name: part.stat().st_mtime_ns for part in Path(run.uri, "data").glob("[!.]*.parquet")}


@pytest.mark.ray
@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_a_submitted_job_finishes_and_its_run_folder_is_whole(head: Head, tmp_path: Path) -> None:
    arguments = ["source.images=200", "source.shard_rows=64", f"runtime.run_root={tmp_path}", "runtime.version=small"]
    begin = time.monotonic()
    submitted = head.submit("small-1", *arguments)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    status, log = _ended(head, "small-1")
    seconds = time.monotonic() - begin
    assert status == "SUCCEEDED", log[-3000:]
    summary = _summary(log)
    report = audit(RunFolder(str(summary["run"])))
    again = head.submit("small-1", *arguments)  # the submission id is an idempotency key
    verdict(
        "a submitted job finishes, and a submission id is good for one job",
        report.passed and summary["rows_read"] == 400 and again.returncode != 0,
        rows=summary["rows_read"], kept=summary["rows_kept"], seconds=seconds,
    )  # fmt: skip


@pytest.mark.ray
@pytest.mark.acceptance
@pytest.mark.timeout(1800)
def test_a_stopped_job_resumes_when_submitted_again(head: Head, tmp_path: Path) -> None:
    arguments = [
        "source.images=5000", "source.shard_rows=64", "verifier.misbehaviour.latency_ms=10", f"runtime.run_root={tmp_path}",
        "runtime.version=big",
    ]  # fmt: skip
    run = RunFolder(str(tmp_path / "negationclip" / "p1" / "big"))
    assert head.submit("big-1", *arguments).returncode == 0
    deadline = time.monotonic() + 480
    while len(_parts(run)) < 10:
        assert time.monotonic() < deadline, "no shard was committed"
        time.sleep(0.1)
    stopped = head.ray("stop", "--address", head.dashboard, "big-1")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    status, _ = _ended(head, "big-1")
    assert status == "STOPPED"
    time.sleep(2)  # workers of the dead driver may still be finishing a commit
    before = _parts(run)
    attempts = {commit.shard: commit.attempt for commit in run.commits()}
    shards = len(run.shards())
    assert run.manifest() is None, "the job was finished before it could be stopped: make it bigger"
    assert len(before) < shards

    assert head.submit("big-2", *arguments).returncode == 0
    status, log = _ended(head, "big-2", timeout_s=480)
    assert status == "SUCCEEDED", log[-3000:]
    summary, after = _summary(log), _parts(run)
    redone = [name for name, changed in before.items() if after[name] != changed]
    kept_attempts = sum(attempts.get(commit.shard) == commit.attempt for commit in run.commits())
    report = audit(run)

    assert head.submit("big-3", *arguments).returncode == 0
    third, third_log = _ended(head, "big-3")
    idle = third == "SUCCEEDED" and _parts(run) == after and _summary(third_log) == summary
    verdict(
        "a job that was stopped in the middle resumes when submitted again, and does nothing when finished",
        report.passed and not redone and kept_attempts == len(before) and summary["incarnations"] == 2 and idle,
        shards=shards, done_before_stop=len(before), redone=len(redone), rows=report.rows_read,
        problems=len(report.problems), finished_run_untouched=idle,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["source.images=8"], 0),
        (["source.imagse=8"], 2),
        (["-c", "backends/no_such_fragment"], 2),
        (["source.images=600", "negater.chat.misbehaviour.malformed=0.9", "max_attempts=1"], 3),
    ],
)
def test_exit_codes_are_those_of_the_command_line(
    arguments: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.main([*arguments, "runtime.executor=local", f"runtime.run_root={tmp_path}"]) == code
    out, err = capsys.readouterr()
    if code in (0, 3):
        assert json.loads(out.splitlines()[-1])["status"] == ("complete" if code == 0 else "over_budget")
    else:
        assert err.startswith("negscale: ")


def test_no_job_holds_logic() -> None:
    programs = list((REPO / "jobs").glob("*.py"))
    assert programs
    for program in programs:
        assert len(program.read_text().splitlines()) < 80, program
