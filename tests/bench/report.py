"""What a bench writes: figures with their spread, targets, and everything needed to judge them (machine, load, versions)."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.bench.legs import REPO, Figures, LegError, cache_key, run_leg

Size = Literal["quick", "default", "full"]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and most of repeated measurements."""
    return {
        "median": statistics.median(values), "min": min(values), "max": max(values), "repeats": len(values),
        "values": list(values),
    }  # fmt: skip


def commit_name() -> str:
    """The code that is measured; "+dirty" when files differ from the commit."""
    command = ["git", "describe", "--always", "--dirty=+dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def machine() -> Figures:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: importlib.metadata.version(name) for name in ("ray", "pyarrow", "numpy")}
    return {
        "cores": os.cpu_count(), "memory_gb": round(memory / 1e9, 1), "python": platform.python_version(),
        "kernel": platform.release(), **versions,
    }  # fmt: skip


def load() -> dict[str, float]:
    """Load averages over 1 and 5 minutes; on a quiet machine both are near 0 before a bench."""
    one, five, _ = os.getloadavg()
    return {"1min": round(one, 2), "5min": round(five, 2)}


@dataclass
class Bench:
    """One bench while it runs: starts legs, collects figures, targets and table rows."""

    name: str
    size: Size
    out: Path
    config: Figures = field(default_factory=dict)
    baseline: str = ""
    figures: Figures = field(default_factory=dict)
    targets: list[Figures] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)
    legs: list[Figures] = field(default_factory=list)
    begun: float = field(default_factory=time.time)
    load_before: dict[str, float] = field(default_factory=load)

    def by_size(self, quick: Any, default: Any, full: Any) -> Any:
        """The value for this size of bench."""
        return {"quick": quick, "default": default, "full": full}[self.size]

    def leg(
        self, function: Callable[..., Figures], timeout_s: float = 1500.0, repeat: int = 0,
        watch: Callable[[int], Callable[[], Figures]] | None = None, **arguments: Any,
    ) -> Figures:  # fmt: skip
        """Run one leg. In a full bench a leg that is already there for this commit is not run again."""
        kept = self.out / "legs" / self.name
        kept /= f"{cache_key(function, {**arguments, 'repeat': repeat}, commit_name())}.json"
        if self.size == "full" and kept.exists():
            figures = json.loads(kept.read_text())
        else:
            before = load()
            print(f"  {self.name}: {function.__name__} {arguments} (load {before['1min']})", flush=True)
            figures = run_leg(function, timeout_s, watch, **arguments)
            figures |= {"load_before": before, "load_after": load()}
            if self.size == "full":
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(figures))
        self.legs.append({"leg": function.__name__, "repeat": repeat, "arguments": arguments, "figures": figures})
        return figures

    def target(self, what: str, value: float, limit: float, sense: Literal["at_least", "at_most"]) -> None:
        """A promise with its figure."""
        met = value >= limit if sense == "at_least" else value <= limit
        self.targets.append({"what": what, "value": value, "sense": sense, "limit": limit, "met": met})

    def row(self, label: str, text: str) -> None:
        """A line of the table."""
        self.rows.append((label, text))

    def finish(self) -> Path:
        """Write NAME.json and print the table."""
        record = {
            "name": self.name, "size": self.size, "commit": commit_name(), "machine": machine(), "config": self.config,
            "baseline": self.baseline, "load_before": self.load_before, "load_after": load(),
            "seconds": round(time.time() - self.begun, 1), "targets": self.targets, "figures": self.figures,
            "legs": self.legs,
        }  # fmt: skip
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{self.name}.json"
        path.write_text(json.dumps(record, indent=1))
        self._print(record)
        return path

    def _print(self, record: Figures) -> None:
        loads = f"load {self.load_before['1min']} -> {record['load_after']['1min']}"
        print(f"\n== {self.name} ({self.size}, {record['seconds']} s, {loads})")
        print(f"   baseline: {self.baseline}")
        width = max((len(label) for label, _ in self.rows), default=0)
        for label, text in self.rows:
            print(f"   {label:<{width}}  {text}")
        for target in self.targets:
            sign = ">=" if target["sense"] == "at_least" else "<="
            met = "met   " if target["met"] else "MISSED"
            print(f"   {met} {target['what']}: {target['value']:.4g} {sign} {target['limit']:g}")
        print(flush=True)


__all__ = ["Bench", "Figures", "LegError", "Size", "commit_name", "load", "machine", "spread"]
