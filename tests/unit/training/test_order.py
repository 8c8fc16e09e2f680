from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from negscale.training.order import EpochOrder, share


def pairs(order: EpochOrder) -> list[tuple[int, int]]:
    return [(int(p), int(r)) for number in range(order.windows) for p, r in order.window(number)]


@pytest.mark.parametrize("window_rows", [1, 40, 10_000])
def test_every_row_once(window_rows: int) -> None:
    rows = [13, 1, 29, 7, 18]
    order = EpochOrder(rows, [1.0] * 5, seed=3, epoch=0, window_rows=window_rows)
    found = pairs(order)
    assert order.rows == len(found) == sum(rows)
    assert Counter(found) == Counter((p, r) for p, n in enumerate(rows) for r in range(n))
    assert [order.window_of(int(order.starts[n])) for n in range(order.windows)] == list(range(order.windows))


def test_the_order_is_that_of_seed_and_epoch() -> None:
    def made(seed: int, epoch: int) -> list[tuple[int, int]]:
        return pairs(EpochOrder([50, 50, 50], [1.0] * 3, seed, epoch, 60))

    assert made(1, 0) == made(1, 0)
    assert made(1, 0) != made(1, 1)
    assert made(1, 0) != made(2, 0)
    whole = pairs(EpochOrder([50, 50, 50], [1.0] * 3, 1, 0, 1000))
    firsts = [p for p, _ in whole[:50]]
    assert min(Counter(firsts).values()) > 5  # one window mixes all parts


def test_weights_repeat_rows_and_take_turns() -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for epoch in range(200):
        order = EpochOrder([10, 9], [2.0, 0.5], seed=0, epoch=epoch, window_rows=8)
        found = Counter(pairs(order))
        assert order.rows == sum(found.values())
        assert all(found[0, row] == 2 for row in range(10))
        assert max(found[1, row] for row in range(9)) <= 1
        counts += found
    halves = np.array([counts[1, row] for row in range(9)]) / 200
    assert abs(halves.mean() - 0.5) < 0.05  # 4.5 of 9 rows, rounded at random
    assert halves.min() > 0.35


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rows", [1, 5, 12])
def test_workers_share_a_batch(size: int, rows: int) -> None:
    parts = [share(100, 100 + rows, rank, size) for rank in range(size)]
    assert [position for mine, _ in parts for position in mine] == list(range(100, 100 + rows))
    assert len({slots for _, slots in parts}) == 1
    assert all(len(mine) <= slots for mine, slots in parts)
