"""Values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from negscale.metrics.editing import (
    auc_removal,
    released_auc_removal,
    released_mean,
    released_removal,
    removal_curve,
    removed,
    retained,
    says_yes_or_no,
)


def test_removed_is_not_seen_and_unknown_stays_unknown() -> None:
    assert [removed(seen) for seen in (True, False, None)] == [False, True, None]


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ({"dog": True, "cat": True}, {"dog": True, "cat": True}, 1.0),
        ({"dog": True, "cat": True, "hat": True}, {"dog": True, "cat": False, "hat": False}, 1 / 3),
        ({"dog": True, "cat": False}, {"dog": True, "cat": True}, 1.0),  # what appears does not count
        ({"dog": False}, {"dog": True}, None),  # nothing to keep
        ({}, {}, None),
        ({"dog": True}, {"dog": None}, None),  # nobody could tell
        ({"dog": True}, {}, None),
        ({"dog": True, "park": None}, {"dog": False, "park": None}, 0.0),
    ],
)
def test_retention_of_a_row(before: dict[str, bool | None], after: dict[str, bool | None], share: float | None) -> None:
    assert retained(before, after) == share


def test_auc_removal_by_hand() -> None:
    # CDF: 2/4 from 0.0, 3/4 from 0.2, 4/4 from 0.8 -> 0.5*0.2 + 0.75*0.6 + 1*0.2 = 0.75
    scores = [0.0, 0.8, 0.0, 0.2]
    thresholds, shares = removal_curve(scores)
    assert thresholds.tolist() == [0.0, 0.2, 0.8]
    assert shares.tolist() == [0.5, 0.75, 1.0]
    assert auc_removal(scores) == pytest.approx(75)


def test_auc_removal_is_the_mean_of_what_is_left() -> None:
    scores = np.random.default_rng(3).random(1000)
    assert auc_removal(scores) == pytest.approx(100 * (1 - scores.mean()), abs=1e-9)
    assert (auc_removal([0.0, 0.0]), auc_removal([1.0, 1.0])) == (100, 0)


def test_the_released_area_jumps_with_the_threshold() -> None:
    scores = [0.05, 0.3]
    assert released_auc_removal(scores, [False, True]) == pytest.approx(85)
    assert auc_removal(scores) == pytest.approx(82.5)


@pytest.mark.parametrize("scores", [[], [1.2], [-0.1], [float("nan")]])
def test_confidences_outside_of_their_range_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        auc_removal(scores)


def test_released_counts_to_the_letter_and_divides_by_what_is_typed_in() -> None:
    answers = ["No", "no", "No.", "Yes", None, "No"]
    assert released_removal(answers, 6) == pytest.approx(2 / 6)
    assert released_removal(answers, 24_182) == pytest.approx(2 / 24_182)
    assert released_mean([1.0, 0.5, None], 4) == pytest.approx(0.375)


def test_which_judges_answer_in_words() -> None:
    assert says_yes_or_no("yes, there is one")
    assert not says_yes_or_no(None)
    assert not says_yes_or_no("cat 0.95 at (1, 2)")
