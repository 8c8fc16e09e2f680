from __future__ import annotations

import pytest

from negscale.metrics.agreement import Agreement


def test_counts_by_hand() -> None:
    found = Agreement()
    found.add([True, True, False, None, True], [True, False, False, True, None])
    found.add([False] * 6 + [True] * 1, [False] * 5 + [True] * 2)
    assert (found.both_yes, found.both_no, found.first_only, found.second_only) == (2, 6, 1, 1)
    assert found.rows == 10
    assert found.share == pytest.approx(0.8)
    # both say yes to 3 of 10: by chance 0.09 + 0.49
    assert found.kappa == pytest.approx((0.8 - 0.58) / 0.42)
    assert found.facts()["rows"] == 10


def test_nothing_to_compare() -> None:
    assert Agreement().share is None
    assert Agreement().kappa is None
    same = Agreement()
    same.add([True, True], [True, True])
    assert (same.share, same.kappa) == (1.0, None)
