"""Memory of a process tree over time (driver, workers, Ray's shared memory), and where its CPU time went."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import psutil

from tests.bench.legs import Figures

EVERY_S = 0.5
STORE_EVERY_S = 5.0  # each reading leaves some 50 kB behind in the driver that the bench measures
MB = 1e6


def watch_memory(pid: int) -> Callable[[], Figures]:
    """Start sampling process `pid` and its descendants; returns a function that stops and gives the figures.

    Memory is private (resident less shared), so that a block that several workers map is counted once, in the
    store; the store is what its daemon has of shared memory.
    """
    stop, samples = threading.Event(), list[Figures]()

    def sample() -> None:
        while not stop.wait(EVERY_S):
            if (found := _sample(pid)) is not None:
                samples.append(found)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()

    def figures() -> Figures:
        stop.set()
        thread.join()
        kept = [s for s in samples if s["workers"]]
        names = ("driver_mb", "workers_mb", "stage_worker_mb", "ray_mb", "workers", "total_mb")
        peaks = {f"peak_{name}": max((s[name] for s in kept), default=0.0) for name in names}
        return {**peaks, "memory_samples": kept}

    return figures


def _sample(pid: int) -> Figures | None:
    try:
        driver = psutil.Process(pid)
        used = driver.memory_info()
        figures = {
            "at": time.time(),
            "driver_mb": (used.rss - used.shared) / MB,
            "workers_mb": 0.0,
            "stage_worker_mb": 0.0,
            "ray_mb": 0.0,
            "workers": 0,
        }
        children = driver.children(recursive=True)
    except psutil.NoSuchProcess:
        return None
    for child in children:
        try:
            title, memory = " ".join(child.cmdline()[:1]), child.memory_info()
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
        if title.startswith("ray::") and not title.startswith("ray::IDLE_SpillWorker"):
            figures["workers_mb"] += (memory.rss - memory.shared) / MB
            figures["workers"] += not title.startswith("ray::IDLE")
            if title.startswith("ray::MapWorker"):
                figures["stage_worker_mb"] = max(figures["stage_worker_mb"], (memory.rss - memory.shared) / MB)
        else:
            figures["ray_mb"] += (memory.rss - memory.shared) / MB
    figures["total_mb"] = figures["driver_mb"] + figures["workers_mb"]
    return figures


class StoreSampler:
    """Bytes in use in Ray's object store, sampled from inside the driver."""

    def __init__(self) -> None:
        import ray
        from ray._private import internal_api  # no public call tells the bytes in use of a running driver's cluster

        self._api = internal_api
        self._state = internal_api.get_state_from_address(ray.get_runtime_context().gcs_address)
        self._stop = threading.Event()
        self._samples: list[tuple[float, float, float]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(STORE_EVERY_S):
            stats = self._api.get_memory_info_reply(self._state).store_stats
            self._samples.append((time.time(), stats.object_store_bytes_used / MB, stats.spilled_bytes_total / MB))

    def figures(self) -> Figures:
        """Stop; peak use and what was spilled, in MB."""
        self._stop.set()
        self._thread.join()
        return {
            "peak_store_mb": max((used for _, used, _ in self._samples), default=0.0),
            "spilled_mb": max((spilled for _, _, spilled in self._samples), default=0.0),
        }


def cpu_by_process() -> dict[str, float]:
    """ "role/pid" -> CPU seconds so far of this driver and what it started: driver, stages, tasks (read, commit), ray."""
    seconds = {f"driver/{os.getpid()}": sum(psutil.Process().cpu_times()[:2])}
    for child in psutil.Process().children(recursive=True):
        try:
            title, used = " ".join(child.cmdline()[:1]), sum(child.cpu_times()[:2])
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
        own = title.startswith("ray::MapWorker")
        role = (
            "stages" if own else "tasks" if title.startswith(("ray::MapBatches", "ray::IDLE", "ray::Write")) else "ray"
        )
        seconds[f"{role}/{child.pid}"] = used
    return seconds


def cpu_between(early: dict[str, float], late: dict[str, float]) -> dict[str, float]:
    """CPU seconds by role between two readings; what ended in between is left out."""
    spent = {"driver": 0.0, "stages": 0.0, "tasks": 0.0, "ray": 0.0}
    for key, used in late.items():
        spent[key.partition("/")[0]] += used - early.get(key, 0.0)
    return spent
