"""Drivers as processes of their own, and a storm that kills their workers (or the drivers themselves)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

REPO = Path(__file__).resolve().parents[2]


def cli(*arguments: str) -> list[str]:
    """The command line of this checkout."""
    return [sys.executable, "-m", "negscale", *arguments]


class Driver:
    """A driver process with its private Ray cluster. Whatever it leaves behind is ended by pid."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd=REPO,
                stdout=out,
                stderr=out,
                env={**os.environ, "RAY_DEDUP_LOGS": "0"},
                start_new_session=True,
            )
        self._family: dict[int, float] = {}
        self._watch = threading.Thread(target=self._remember, daemon=True)
        self._watch.start()

    def _remember(self) -> None:
        """Descendants while they can be told by their parents: a killed driver's are re-parented."""
        while self.process.poll() is None:
            self._look()
            time.sleep(1.0)

    def _look(self) -> None:
        try:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._family[child.pid] = child.create_time()
        except psutil.NoSuchProcess:
            return

    def workers(self) -> list[psutil.Process]:
        """Pool workers that are up."""
        found = []
        try:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                try:
                    if "_PoolWorker" in " ".join(child.cmdline()):
                        found.append(child)
                except psutil.Error:
                    continue
        except psutil.NoSuchProcess:
            return []
        return found

    def kill(self) -> None:
        """SIGKILL the driver alone, and wait until its cluster is gone."""
        self._look()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.clean_up(grace_s=15)

    def clean_up(self, grace_s: float = 5) -> None:
        """End what the driver left behind, each process by its pid."""
        left = []
        for pid, created in self._family.items():
            try:
                process = psutil.Process(pid)
                if abs(process.create_time() - created) < 0.1:
                    left.append(process)
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(left, timeout=grace_s)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)

    def wait(self, timeout_s: float) -> int:
        """Exit status; the whole log is shown when it takes too long."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"driver took longer than {timeout_s} s:\n{self.log.read_text()[-4000:]}") from None
        self.clean_up()
        return code

    def tail(self) -> str:
        return self.log.read_text()[-3000:]


class KillStorm(threading.Thread):
    """SIGKILLs a random pool worker of a driver every `every_s` seconds, from the moment `at_least` of them are up."""

    def __init__(self, driver: Driver, every_s: float = 10.0, at_least: int = 1, seed: int = 0) -> None:
        super().__init__(daemon=True)
        self.driver, self.every_s, self.at_least = driver, every_s, at_least
        self.kills: list[float] = []
        self.most_workers = 0
        self._random = random.Random(seed)

    def run(self) -> None:
        while self.driver.process.poll() is None and len(self.driver.workers()) < self.at_least:
            time.sleep(0.5)
        while self.driver.process.poll() is None:
            time.sleep(self.every_s)
            workers = self.driver.workers()
            self.most_workers = max(self.most_workers, len(workers))
            if workers and self.driver.process.poll() is None:
                self._random.choice(workers).send_signal(signal.SIGKILL)
                self.kills.append(time.time())


def rows_executed(trace: Path) -> int:
    """Rows that any worker started, over all stages, from a `runtime.trace_dir`."""
    return sum(int(line.split()[2]) for file in trace.glob("*.trace") for line in file.read_text().splitlines() if line)


def wait_for_parts(run: Path, count: int, driver: Driver, timeout_s: float = 240) -> int:
    """Wait until `count` shards are committed; returns how many are."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done = len(list((run / "data").glob("*.parquet"))) if (run / "data").is_dir() else 0
        if done >= count or driver.process.poll() is not None:
            return done
        time.sleep(0.2)
    raise AssertionError(f"only {done} of {count} shards in {timeout_s} s:\n{driver.tail()}")
