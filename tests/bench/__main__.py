"""`python -m tests.bench [NAME...] [--quick | --full] [--out bench-out]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench import (
    control_plane,
    edits,
    edits_large,
    evaluation,
    fetch,
    fraction_of_ideal,
    p1_cpu,
    planning,
    ranking,
    scan,
    training,
    vllm,
)
from tests.bench.legs import LegError, NotHereError
from tests.bench.report import Bench

BENCHES = {
    "planning": planning,
    "scan": scan,
    "control_plane": control_plane,
    "p1_cpu": p1_cpu,
    "fraction_of_ideal": fraction_of_ideal,
    "fetch": fetch,
    "edits": edits,
    "edits_large": edits_large,
    "evaluation": evaluation,
    "ranking": ranking,
    "training": training,
    "vllm": vllm,
}


def main() -> int:
    """Run the benches one after another; 1 when one of them could not be measured (a missed target is a figure)."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; default: all")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="small sizes: does it still work, not a measurement")
    sizes.add_argument(
        "--full", action="store_true", help="all repeats; resumable, finished legs of this commit are kept"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHES):
        parser.error(f"no bench is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    failed = []
    for name in options.names or BENCHES:
        bench = Bench(name, "quick" if options.quick else "full" if options.full else "default", options.out)
        try:
            BENCHES[name].measure(bench)
            print(f"   -> {bench.finish()}", flush=True)
        except NotHereError as error:
            print(f"\n== {name} is left out: {error}", flush=True)
        except LegError as error:
            failed.append(name)
            print(f"\n== {name} could not be measured: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
