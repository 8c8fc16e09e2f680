"""A leg is one timed run in a process of its own, so that no leg warms, or bloats, the next.

A leg is a function that takes keyword arguments and returns figures (JSON values); it is started by name.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
Figures = dict[str, Any]


class LegError(RuntimeError):
    """A leg ended without figures."""


class NotHereError(LegError):
    """A bench needs a library that is not installed: not measured, and no failure."""


def run_leg(
    function: Callable[..., Figures], timeout_s: float, watch: Callable[[int], Callable[[], Figures]] | None = None,
    **arguments: Any,
) -> Figures:  # fmt: skip
    """Figures of `function(**arguments)`, run in a fresh process in a folder that is deleted afterwards.

    `work` (the folder) is added to the arguments. watch: called with the process id, returns a function that ends the
    watching and gives more figures. Raises LegError with the end of the leg's output when it fails or takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="negscale-bench-") as work:
        result, log = Path(work, "result.json"), Path(work, "leg.log")
        name = f"{function.__module__}:{function.__name__}"
        command = [sys.executable, "-m", "tests.bench.legs", name, json.dumps({**arguments, "work": work}), str(result)]
        quiet = {"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=REPO, env={**os.environ, **quiet}, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            stop_watching = watch(process.pid) if watch else None
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                raise LegError(f"{name} took more than {timeout_s:.0f} s:\n{_tail(log)}") from None
            finally:
                watched = stop_watching() if stop_watching else {}
                if process.poll() is None:  # our own session, so only what this leg started
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGTERM)
                    process.wait(30)
        if process.returncode != 0 or not result.exists():
            raise LegError(f"{name} ended with {process.returncode}:\n{_tail(log)}")
        return {**json.loads(result.read_text()), **watched}


def cache_key(function: Callable[..., Figures], arguments: Figures, commit: str) -> str:
    """Names a finished leg of this code with these arguments."""
    text = json.dumps([function.__module__, function.__name__, arguments, commit], sort_keys=True)
    return f"{function.__name__}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def peak_rss_mb() -> float:
    """Highest resident set of this process so far (VmHWM: unlike ru_maxrss it forgets what forked us)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise LegError("/proc/self/status has no VmHWM; these benches need Linux")


def _tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _main(name: str, arguments: str, result: str) -> None:
    module, _, function = name.partition(":")
    begin, cpu = time.perf_counter(), time.process_time()
    figures = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    figures |= {"leg_s": time.perf_counter() - begin, "driver_cpu_s": time.process_time() - cpu}
    figures["driver_peak_rss_mb"] = peak_rss_mb()
    Path(result).write_text(json.dumps(figures))


if __name__ == "__main__":
    _main(*sys.argv[1:])
