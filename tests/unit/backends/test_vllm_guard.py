"""The guard: no engine outlives its worker."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

OWNER = """
import subprocess, sys, time
early = subprocess.Popen(["sleep", "600"])
from negscale.backends.vllm_guard import Guard
guard = Guard()
nested = "import subprocess, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)"
late = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE, text=True)
inner = int(late.stdout.readline())
if sys.argv[1] == "settled":
    guard.settled()
print(early.pid, late.pid, inner, flush=True)
if sys.argv[1] == "close":
    guard.close()
    print("closed", late.wait(), flush=True)
time.sleep(600)
"""


def gone(pid: int, within_s: float = 20.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.timeout(60)
@pytest.mark.parametrize("phase", ["settled", "starting"])
def test_what_a_killed_worker_started_dies_with_it(phase: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, phase], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    early, late, inner = map(int, owner.stdout.readline().split())
    try:
        if phase == "starting":
            time.sleep(2.5)  # the guard looks once a second while the engine starts
        assert not gone(late, 0.2)
        assert not gone(inner, 0.2)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert gone(late)
        assert gone(inner)
        assert not gone(early, 0.2), "what ran before the guard is none of its business"
    finally:
        owner.kill()
        psutil.Process(early).kill()


@pytest.mark.timeout(60)
def test_close_ends_what_is_left() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, "close"], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    early, _, inner = map(int, owner.stdout.readline().split())
    try:
        assert owner.stdout.readline().split() == ["closed", str(-signal.SIGKILL)]
        assert gone(inner)
    finally:
        owner.kill()
        owner.wait()
        psutil.Process(early).kill()
