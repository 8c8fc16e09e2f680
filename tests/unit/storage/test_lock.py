"""One driver per run folder; a dead one's lock is taken over, a living one's is not."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from negscale.core.errors import RunLockedError
from negscale.storage.folder import open_folder
from negscale.storage.lock import RunLock


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_the_second_driver_is_refused_while_the_first_lives(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = open_folder(str(tmp_path) if place == "disk" else request.getfixturevalue("s3_uri"))
    with RunLock(folder), pytest.raises(RunLockedError, match="held by process"), RunLock(folder):
        pass
    with RunLock(folder):  # released
        assert len(list(folder.list("lock"))) == 1


def test_a_killed_drivers_lock_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import sys,time;from negscale.storage.folder import open_folder;from negscale.storage.lock import RunLock\n"
        f"with RunLock(open_folder({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(RunLockedError), RunLock(open_folder(str(tmp_path))):
        pass
    child.kill()
    child.wait()
    with RunLock(open_folder(str(tmp_path))) as lock:
        assert not lock.lost


@pytest.mark.parametrize("clock_error_s", [0.0, 3600.0, -3600.0])
def test_a_lock_of_another_host_lives_by_its_heartbeat_whatever_the_clocks_say(
    tmp_path: Path, clock_error_s: float
) -> None:
    folder = open_folder(str(tmp_path))
    stop = threading.Event()

    def beat(count: int) -> None:
        now = time.time() + clock_error_s + count
        owner = {"host": "elsewhere", "pid": 1, "token": "t", "pid_started": 0.0, "beat": now}
        folder.write("lock/000001.json", json.dumps(owner).encode())

    def keep_beating() -> None:
        count = 1
        while not stop.wait(0.05):
            beat(count := count + 1)

    beat(0)
    holder = threading.Thread(target=keep_beating, daemon=True)
    holder.start()
    try:
        with pytest.raises(RunLockedError, match="process 1 on elsewhere"), RunLock(folder, stale_s=5.0):
            pass
    finally:
        stop.set()
        holder.join()
    with RunLock(folder, stale_s=0.5):
        pass


def test_a_driver_that_was_overtaken_notices(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    with RunLock(folder, heartbeat_s=0.05) as lock:
        folder.write("lock/000002.json", b"{}")
        deadline = time.monotonic() + 5
        while not lock.lost and time.monotonic() < deadline:
            time.sleep(0.02)
        assert lock.lost
