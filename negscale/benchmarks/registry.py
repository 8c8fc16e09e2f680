"""All benchmarks by name: those whose rows a recipe makes, and those that are read from released files."""

from __future__ import annotations

import difflib

from negscale.benchmarks.catalogue import RELEASED
from negscale.benchmarks.evaluation import Benchmark
from negscale.benchmarks.nein import NEIN
from negscale.core.errors import ConfigError

BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in (NEIN,)}
ALL = "all"  # released benchmarks that a data root holds


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of a recipe called `name`. Raises ConfigError that names the nearest of all and lists what there is."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    known = {one.name: one.summary for one in (*BENCHMARKS.values(), *RELEASED.values())}
    near = difflib.get_close_matches(name, [ALL, *known], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = "; ".join(f"{one}: {summary}" for one, summary in known.items())
    raise ConfigError(f"no benchmark is called {name!r}; {hint}there is {shown}; {ALL}: what a data root holds")
