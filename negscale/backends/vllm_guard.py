"""Ends vLLM's processes together with the worker that started them.

vLLM 0.32 leaves its engine running, GPU memory and all, when its parent is killed (seen with SIGKILL), and the worker
that takes over finds no room. A small process beside the engine therefore watches the worker. Run as a script it imports
nothing of negscale.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys

import psutil

_POLL_S = 1.0


class Guard:
    """Everything this process starts from now until `settled` is killed when this process dies or calls `close`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._process.stdout.readline()  # what is born after this line is watched

    def settled(self) -> None:
        """All processes to be watched have been started."""
        self._tell(b"settled\n")

    def close(self) -> None:
        """Kill what is left of the watched processes and wait until that is done."""
        self._tell(b"close\n")
        self._process.wait()

    def _tell(self, word: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the guard itself was killed
            self._stdin.write(word)
            self._stdin.flush()


def _watch(owner_pid: int) -> None:
    owner = psutil.Process(owner_pid)
    before = set(owner.children(recursive=True))
    print("watching", flush=True)
    watched: set[psutil.Process] = set()
    starting = True
    told = b""
    # the pipe's end alone would not do: a forked child of the worker holds it open
    while _alive(owner) and b"close" not in told:
        ready, _, _ = select.select([sys.stdin], [], [], _POLL_S)
        if starting:
            with contextlib.suppress(psutil.NoSuchProcess):
                watched |= set(owner.children(recursive=True))
        told = os.read(sys.stdin.fileno(), 64) if ready else b""
        starting = starting and b"settled" not in told
        if ready and not told:
            break
    for process in watched - before:
        with contextlib.suppress(psutil.NoSuchProcess):
            # the tracker ends by itself, and first removes the shared memory that the dead leave behind
            if "resource_tracker" not in " ".join(process.cmdline()):
                process.kill()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
