"""All benchmarks that are read from released files, and which of them a data root holds.

The released evaluators take one path after another on the command line, with their authors' folders as defaults. Here a
root is listed once; what it holds is found by name, and for what it lacks it is said where to get it.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from negscale.benchmarks.balanced_mcq import BALANCED_MCQ, BALANCED_PAIRS
from negscale.benchmarks.ccneg import CC_NEG
from negscale.benchmarks.celeba import CELEBA
from negscale.benchmarks.imagenet import ZERO_SHOT_1, ZERO_SHOT_7, ZERO_SHOT_80
from negscale.benchmarks.mcq_neg import BINARY_MEDICAL, MCQ_COCO, MCQ_MSRVTT, MCQ_OWN, MCQ_SYNTHETIC, MCQ_VOC
from negscale.benchmarks.negrefcocog import NEGREFCOCOG
from negscale.benchmarks.released import ReleasedBenchmark
from negscale.benchmarks.retrieval_neg import (
    RETRIEVAL_COCO,
    RETRIEVAL_MSRVTT,
    RETRIEVAL_NEG_COCO,
    RETRIEVAL_NEG_COCO_TEMPLATED,
    RETRIEVAL_NEG_MSRVTT,
    RETRIEVAL_NEG_OWN,
    RETRIEVAL_OWN,
)
from negscale.benchmarks.sugarcrepe import SUGARCREPE
from negscale.benchmarks.two_by_two import TWO_BY_TWO
from negscale.benchmarks.valse import EXISTENCE, EXISTENCE_VALIDATED, PIECES
from negscale.core.errors import ConfigError
from negscale.storage.folder import open_folder

RELEASED: dict[str, ReleasedBenchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        MCQ_COCO, MCQ_VOC, MCQ_MSRVTT, MCQ_SYNTHETIC, BINARY_MEDICAL, RETRIEVAL_COCO, RETRIEVAL_NEG_COCO,
        RETRIEVAL_NEG_COCO_TEMPLATED, RETRIEVAL_MSRVTT, RETRIEVAL_NEG_MSRVTT, NEGREFCOCOG, EXISTENCE,
        EXISTENCE_VALIDATED, PIECES, SUGARCREPE, CC_NEG, BALANCED_MCQ, BALANCED_PAIRS, MCQ_OWN, RETRIEVAL_OWN, RETRIEVAL_NEG_OWN,
        TWO_BY_TWO, CELEBA, ZERO_SHOT_80, ZERO_SHOT_7, ZERO_SHOT_1,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Present:
    """A benchmark that a root holds. `unread`: further files that match, of a benchmark that is one file."""

    benchmark: ReleasedBenchmark
    paths: tuple[str, ...]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """A benchmark that a root lacks, and how to get it."""

    benchmark: ReleasedBenchmark

    @property
    def advice(self) -> str:
        """One line for the user."""
        return f"{self.benchmark.name}: no file {' or '.join(self.benchmark.files)}; get it: {self.benchmark.get}"


def released(name: str) -> ReleasedBenchmark:
    """The benchmark called `name`. Raises ConfigError that names the nearest and all others."""
    if name in RELEASED:
        return RELEASED[name]
    near = difflib.get_close_matches(name, RELEASED, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no benchmark is called {name!r}; {hint}there are {', '.join(RELEASED)}")


def survey(data_root: str, names: Sequence[str] = ()) -> tuple[list[Present], list[Absent]]:
    """Which benchmarks (all, or those named) the folder or URI holds, and which it does not."""
    asked = [released(name) for name in names] or list(RELEASED.values())
    root = data_root.rstrip("/")
    paths = sorted(entry.path for entry in open_folder(root).walk())
    present, absent = [], []
    for benchmark in asked:
        found = next((hits for pattern in benchmark.files if (hits := _matching(paths, pattern))), [])
        whole = [f"{root}/{path}" for path in found]
        if not whole:
            absent.append(Absent(benchmark))
        elif benchmark.several:
            present.append(Present(benchmark, tuple(whole)))
        else:
            present.append(Present(benchmark, (whole[0],), tuple(whole[1:])))
    return present, absent


def _matching(paths: Sequence[str], pattern: str) -> list[str]:
    """Paths whose last components match the pattern's, by shortest path first: a copy in a sub-folder comes later."""
    depth = pattern.count("/") + 1
    found = [path for path in paths if fnmatch.fnmatchcase("/".join(path.split("/")[-depth:]), pattern)]
    return sorted(found, key=lambda path: (path.count("/"), path))
