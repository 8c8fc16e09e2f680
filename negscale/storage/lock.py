"""One driver per run folder: a numbered lock with a heartbeat, on disks and object stores alike.

The holder is the highest number; a number is taken by put-if-absent, so two contenders never get the same one. A holder
whose heartbeat does not change for `STALE_S` is dead, whatever the clocks say; on its own host a dead pid is enough. A
driver that finds a higher number than its own has lost the folder. If a dead-looking driver wakes up, the commits stay safe
all the same: the first committer of a shard wins.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from types import TracebackType

import psutil

from negscale.core.errors import RunLockedError
from negscale.storage.folder import Folder, attempt_name

HEARTBEAT_S = 5.0
STALE_S = 30.0
_LOCK = re.compile(r"^lock/(\d{6})\.json$")


class RunLock:
    """Context manager that holds a run folder. Raises RunLockedError, naming the holder, while another one lives."""

    def __init__(self, folder: Folder, stale_s: float = STALE_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._folder, self._stale_s, self._heartbeat_s = folder, stale_s, heartbeat_s
        self._owner = {
            "host": socket.gethostname(), "pid": os.getpid(), "token": attempt_name(),
            "pid_started": psutil.Process().create_time(),
        }  # fmt: skip
        self._number = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = False

    def __enter__(self) -> RunLock:
        holder = self._highest()
        if holder and (living := self._living(holder)):
            raise RunLockedError(
                f"run folder {self._folder.uri} is held by process {living['pid']} on {living['host']}. Wait for it, stop it, "
                f"or run under another version; a lock of a dead driver is taken over after {self._stale_s:.0f} s."
            )
        self._number = holder + 1
        if not self._folder.put_if_absent(f"lock/{self._number:06d}.json", self._beat()):
            raise RunLockedError(
                f"run folder {self._folder.uri}: another driver has just taken it; wait for it or stop it"
            )
        for old in range(1, self._number):
            self._folder.delete(f"lock/{old:06d}.json")
        self._thread = threading.Thread(target=self._keep_alive, name="negscale-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if not self.lost:
            self._folder.delete(f"lock/{self._number:06d}.json")

    @property
    def incarnation(self) -> str:
        """A name for this driver's hold on the folder; journal lines carry it."""
        return str(self._owner["token"])

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._heartbeat_s):
            if self._highest() > self._number or self._token(self._number) != self._owner["token"]:
                self.lost = True
                return
            self._folder.write(f"lock/{self._number:06d}.json", self._beat(), durable=False)

    def _beat(self) -> bytes:
        return json.dumps({**self._owner, "beat": time.time()}).encode()

    def _highest(self) -> int:
        found = [int(m[1]) for entry in self._folder.list("lock") if (m := _LOCK.match(entry.path))]
        return max(found, default=0)

    def _token(self, number: int) -> object:
        try:
            return json.loads(self._folder.read(f"lock/{number:06d}.json")).get("token")
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def _living(self, number: int) -> dict[str, object] | None:
        try:
            owner = json.loads(self._folder.read(f"lock/{number:06d}.json"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if owner["host"] == socket.gethostname():
            try:
                return owner if abs(psutil.Process(owner["pid"]).create_time() - owner["pid_started"]) < 1.0 else None
            except psutil.NoSuchProcess:
                return None
        return owner if self._beats(number, owner["beat"]) else None

    def _beats(self, number: int, beat: float) -> bool:
        """Whether a lock of another host changes within the time after which it is stale; no clock is compared."""
        deadline = time.monotonic() + self._stale_s
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self._stale_s / 10))
            try:
                if json.loads(self._folder.read(f"lock/{number:06d}.json"))["beat"] != beat:
                    return True
            except (FileNotFoundError, json.JSONDecodeError):
                return False
        return False
