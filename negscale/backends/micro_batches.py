"""Rows cut into passes of equal size, and what to do when a pass does not fit into memory.

A kernel may round differently for another batch size. So every pass has the configured size, the last one of a kind is
filled up by repeating its last row, and which rows go together follows from the rows alone. Out of memory, a pass is
halved, and its halves again, down to one row: no row is lost, and each knows the size of the pass that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from negscale.core.errors import FatalError

_T = TypeVar("_T")
_R = TypeVar("_R")
# what torch says where a GPU, and where the machine itself, has no more to give
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cuda_error_out_of_memory")
_DEVICE_LOST = ("cuda error", "cudnn_status_internal_error", "cublas_status_execution_failed")


@dataclass(frozen=True, slots=True)
class Pass(Generic[_R]):
    """Rows that went through the model together. `result` is None when not even one row fits."""

    rows: tuple[int, ...]
    size: int  # of the pass, filled up
    result: _R | None
    error: str = ""


def groups(keys: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """The numbers of the rows with equal key, in order of first appearance.

    >>> groups(["a", "b", "a"])
    {'a': [0, 2], 'b': [1]}
    """
    found: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return found


def filled(rows: Sequence[_T], size: int) -> list[_T]:
    """`rows` and as many repeats of the last one as make `size`.

    >>> filled([4, 5], 4)
    [4, 5, 5, 5]
    """
    return [*rows, *[rows[-1]] * (size - len(rows))]


def slices(rows: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """`rows` in runs of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def run_halving(
    rows: Sequence[int], size: int, run: Callable[[list[int]], _R], free: Callable[[], None]
) -> Iterator[Pass[_R]]:
    """`run` over `rows` (at most `size`), filled up to `size`; out of memory, over halves.

    free: gives memory back before the next try. Other errors of `run` are raised; FatalError when the device is lost.
    """
    error = ""
    try:
        result = run(filled(rows, size))
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
        error = str(problem) or type(problem).__name__  # the traceback, left here, keeps the tensors of the try alive
    else:
        yield Pass(tuple(rows), size, result)
        return
    free()
    if size == 1:
        yield Pass(tuple(rows), 1, None, error)
        return
    half = (size + 1) // 2
    for piece in slices(rows, half):
        yield from run_halving(piece, half, run, free)


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` says that memory ran out. Raises FatalError when it says that the device is lost."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return True
    if any(words in text for words in _DEVICE_LOST):
        raise FatalError(f"the device is lost: {error}") from error
    return False
