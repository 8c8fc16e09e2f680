"""The attempt journal: who was running what when a worker died, kept where the next worker finds it.

Before rows enter a stage, a line says so; when they are done, the journal of that shard goes. A line that is found by
a later worker is therefore a death. Deaths are counted here and never by exceptions that a driver sees: those also
come for shards that were merely queued on the dead worker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from negscale.storage.folder import Folder


@dataclass(frozen=True, slots=True)
class Deaths:
    """Starts of one row range that nobody finished."""

    count: int
    fresh: int  # of these, how many in a worker that had run nothing else
    hung: int  # of these, how many had run out of time


class Journal:
    """Journal of one shard at one stage, in the run folder's ``attempts/``.

    incarnation: the driver's hold on the run folder. Starts of earlier incarnations count as one death at most: a killed
    driver leaves a line for every shard that was running.
    forgiven(node): whether that node was lost or drained; its deaths count against nobody.
    """

    def __init__(
        self, folder: Folder, stage: str, shard: str, incarnation: str, node: str, forgiven: Callable[[str], bool]
    ) -> None:
        self._folder, self._incarnation, self._node, self._forgiven = folder, incarnation, node, forgiven
        self._stage, self._key = stage, f"attempts/{stage}.{shard}"
        self._events: list[dict[str, Any]] = self._read(self._key)

    @property
    def suspect(self) -> bool:
        """Whether this shard was in a worker that died at this stage."""
        return bool(self._events)

    def start(self, lo: int, hi: int, timeout_s: float, what: str = "run", fresh: bool = False) -> None:
        """Note that rows [lo, hi) are about to enter the stage; fresh: nothing but probes ran in this worker before."""
        self._events.append({
            "what": what, "lo": lo, "hi": hi, "inc": self._incarnation, "node": self._node, "at": time.time(),
            "timeout_s": timeout_s, "fresh": fresh, "done": False,
        })  # fmt: skip
        self._write()

    def done(self) -> None:
        """The range that was started last has come through."""
        self._events[-1]["done"] = True
        self._write()

    def deaths(self, lo: int, hi: int, what: str = "run") -> Deaths:
        """How often a worker died on exactly this range."""
        count = fresh = hung = 0
        earlier = False
        for event in self._events:
            if (event["what"], event["lo"], event["hi"]) != (what, lo, hi) or event["done"]:
                continue
            if event["inc"] != self._incarnation:
                earlier = True
            elif not self._forgiven(event["node"]):
                count += 1
                fresh += event["fresh"]
                hung += event.get("hung", False)
        return Deaths(count + earlier, fresh, hung)

    def mark_hung(self) -> None:
        """Tell hangs from crashes: the last open start is older than its timeout."""
        for event in self._events:
            if not event["done"] and "hung" not in event:
                event["hung"] = time.time() - event["at"] >= event["timeout_s"]

    def save_piece(self, lo: int, hi: int, table: pa.Table) -> None:
        """Keep the outcome of a piece, so that it never runs again."""
        self._folder.write(f"{self._key}.{lo}-{hi}.arrow", ipc(table), durable=False)

    def piece(self, lo: int, hi: int) -> pa.Table | None:
        """The kept outcome of a piece."""
        try:
            return from_ipc(self._folder.read(f"{self._key}.{lo}-{hi}.arrow"))
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        """The shard has passed this stage."""
        if any(event["what"] == "split" for event in self._events):
            prefix = f"{self._key}."
            for entry in list(self._folder.list("attempts")):
                if entry.path.startswith(prefix) and entry.path.endswith(".arrow"):
                    self._folder.delete(entry.path)
        self._folder.delete(self._key)
        self._events = []

    def note_split(self, lo: int, hi: int) -> None:
        """From here on pieces are kept, and `clear` has to look for them."""
        if not any(event["what"] == "split" for event in self._events):
            self._events.append({
                "what": "split", "lo": lo, "hi": hi, "inc": self._incarnation, "node": self._node, "at": time.time(),
                "timeout_s": 0.0, "done": True,
            })  # fmt: skip
            self._write()

    # -- the known-good row of a stage --------------------------------------------------------------------------------

    def good_row(self) -> pa.Table | None:
        """A row that once came through this stage."""
        try:
            return from_ipc(self._folder.read(f"attempts/{self._stage}.good"))
        except FileNotFoundError:
            return None

    def save_good_row(self, row: pa.Table) -> None:
        """Remember a row that came through; the first one stays."""
        if not self._folder.exists(f"attempts/{self._stage}.good"):
            self._folder.put_if_absent(f"attempts/{self._stage}.good", ipc(row))

    def note_poison(self, row: int) -> int:
        """Count a row given up as poison; returns how many this stage has so far."""
        self._folder.write(f"{self._key}.{row}.poison", b"", durable=False)
        return sum(
            entry.path.startswith(f"attempts/{self._stage}.") and entry.path.endswith(".poison")
            for entry in self._folder.list("attempts")
        )

    def _read(self, key: str) -> list[dict[str, Any]]:
        try:
            return json.loads(self._folder.read(key))
        except FileNotFoundError:
            return []

    def _write(self) -> None:
        self._folder.write(self._key, json.dumps(self._events).encode(), durable=False)


def ipc(table: pa.Table) -> bytes:
    """`table` as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes | pa.Buffer) -> pa.Table:
    """The table of an Arrow IPC stream; zero copy on the buffer."""
    return pa.ipc.open_stream(pa.BufferReader(data)).read_all()
