"""The order in which training reads rows: a function of seed and epoch, computed without reading anything.

Parts (committed shards of all runs) are shuffled, cut into windows of at least `window_rows` rows, and the rows of a
window are shuffled. A position in the epoch is one number, whatever the number of workers, so that a run resumes in the
middle of an epoch by arithmetic, with another world size if need be. What differs: WebDataset and `iter_torch_batches`
shuffle in a buffer whose content depends on the worker, and cannot say where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from negscale.core.rng import rng_for

WINDOW_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where training stands: rows taken from the epoch over all workers. Knows no world size."""

    epoch: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class _Unit:
    """A part as often as its weight says; the last copy of a broken weight holds `rows` of its rows."""

    part: int
    copy: int
    rows: int


class EpochOrder:
    """One epoch over parts with `rows[p]` rows each, every row `weights[p]` times.

    A weight of 2 gives every row twice; 0.5 gives half of the rows, drawn anew each epoch. Rows are numbered within
    their part. Memory: one window.
    """

    def __init__(
        self, rows: Sequence[int], weights: Sequence[float], seed: int, epoch: int, window_rows: int = WINDOW_ROWS
    ) -> None:
        self._part_rows, self._seed, self._epoch = rows, seed, epoch
        units = [
            unit for part, (n, w) in enumerate(zip(rows, weights, strict=True)) for unit in self._units(part, n, w)
        ]
        shuffled = rng_for(seed, "parts", epoch).permutation(len(units))
        self._windows: list[list[_Unit]] = []
        room = 0
        for number in shuffled:
            if room <= 0:
                self._windows.append([])
                room = window_rows
            self._windows[-1].append(units[number])
            room -= units[number].rows

    def _units(self, part: int, rows: int, weight: float) -> list[_Unit]:
        whole = int(weight)
        units = [_Unit(part, copy, rows) for copy in range(whole) if rows]
        if weight > whole:
            exact = rows * (weight - whole)
            # rounded at random, so that small parts get their share over the epochs
            count = int(exact + rng_for(self._seed, "share", self._epoch, part).random())
            units += [_Unit(part, whole, count)] if count else []
        return units

    @cached_property
    def starts(self) -> np.ndarray:
        """int64[W + 1]: the position at which each window begins; the last is the number of rows."""
        sizes = [sum(unit.rows for unit in window) for window in self._windows]
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def rows(self) -> int:
        """Rows of this epoch."""
        return int(self.starts[-1])

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return len(self._windows)

    def window_of(self, position: int) -> int:
        """The window that holds a position."""
        return int(np.searchsorted(self.starts, position, "right")) - 1

    def window(self, number: int) -> np.ndarray:
        """int64[R, 2]: part and row within the part, in the order of the window's positions."""
        pieces = []
        for unit in self._windows[number]:
            rows = np.arange(self._part_rows[unit.part], dtype=np.int64)
            if unit.rows < len(rows):
                rows = np.sort(rng_for(self._seed, "subset", self._epoch, unit.part).permutation(rows)[: unit.rows])
            pieces.append(np.stack([np.full(len(rows), unit.part, np.int64), rows], 1))
        together = np.concatenate(pieces)
        return together[rng_for(self._seed, "rows", self._epoch, number).permutation(len(together))]


def share(start: int, stop: int, rank: int, size: int) -> tuple[range, int]:
    """The positions of [start, stop) that worker `rank` of `size` takes, and the slots that every worker has.

    Every worker has the same number of slots, so that step counts and shapes agree; the last ones of a batch that does not
    divide stay empty, and empty slots weigh nothing in the loss. No row is dropped and none comes twice.
    """
    slots = -(-(stop - start) // size)
    first = min(stop, start + rank * slots)
    return range(first, min(stop, first + slots)), slots
