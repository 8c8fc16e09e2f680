from __future__ import annotations

import pytest

from negscale.backends.micro_batches import Pass, run_halving
from negscale.core.errors import FatalError


def limited(most: int, calls: list[int]):
    def run(rows: list[int]) -> list[int]:
        calls.append(len(rows))
        if len(rows) > most:
            raise RuntimeError(f"CUDA out of memory. Tried to allocate {len(rows)} GiB")
        return rows

    return run


def test_a_pass_that_fits_is_filled_up_with_its_last_row() -> None:
    assert list(run_halving([5, 6, 7], 4, lambda rows: rows, lambda: None)) == [Pass((5, 6, 7), 4, [5, 6, 7, 7])]


@pytest.mark.parametrize(
    ("size", "most", "sizes"), [(8, 3, [2, 2, 2, 2]), (5, 3, [3, 3]), (6, 5, [3, 3]), (3, 1, [1, 1, 1])]
)
def test_halves_until_it_fits_and_loses_no_row(size: int, most: int, sizes: list[int]) -> None:
    calls: list[int] = []
    freed: list[int] = []
    done = list(run_halving(range(size), size, limited(most, calls), lambda: freed.append(1)))
    assert [each.size for each in done] == sizes
    assert [row for each in done for row in each.rows] == list(range(size))
    assert all(each.result == [*each.rows, *[each.rows[-1]] * (each.size - len(each.rows))] for each in done)
    assert len(freed) == sum(call > most for call in calls) > 0


def test_one_row_that_does_not_fit_has_no_result() -> None:
    done = list(run_halving([1, 2], 2, limited(0, []), lambda: None))
    assert [(each.rows, each.size, each.result) for each in done] == [((1,), 1, None), ((2,), 1, None)]
    assert "out of memory" in done[0].error


def test_the_machines_own_memory_counts_too() -> None:
    def run(rows: list[int]) -> list[int]:
        if len(rows) > 1:
            raise MemoryError
        return rows

    assert [each.size for each in run_halving([1, 2], 2, run, lambda: None)] == [1, 1]


def test_other_errors_are_raised() -> None:
    def broken(_: list[int]) -> list[int]:
        raise RuntimeError("shapes cannot be multiplied")

    def lost(_: list[int]) -> list[int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_halving([1, 2], 2, broken, lambda: None))
    with pytest.raises(FatalError, match="device is lost"):
        list(run_halving([1, 2], 2, lost, lambda: None))
