"""All benchmarks by name."""

from __future__ import annotations

import difflib

from negscale.benchmarks.evaluation import Benchmark
from negscale.benchmarks.nein import NEIN
from negscale.core.errors import ConfigError

BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in (NEIN,)}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark called `name`. Raises ConfigError that lists what there is."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    near = difflib.get_close_matches(name, BENCHMARKS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    known = "; ".join(f"{benchmark.name}: {benchmark.summary}" for benchmark in BENCHMARKS.values())
    raise ConfigError(f"no benchmark is called {name!r}; {hint}there is {known}")
