"""Credits of choices, groups and boxes, each counted by hand, beside what the released code makes of the same scores."""

from __future__ import annotations

import numpy as np
import pytest

from negscale.metrics.grounding import grounding_credit, released_grounding
from negscale.metrics.multiple_choice import (
    confusion_of_types,
    group_scores,
    released_credits,
    released_group_scores,
    shared_credits,
    strict_credits,
)

NAN = float("nan")
SCORES = np.array([[0.9, 0.1, 0.2, 0.3], [0.5, 0.5, 0.1, 0.5], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 0.0]])


def test_ties_share_and_the_released_code_gives_them_to_the_first() -> None:
    first = np.zeros(4, int)
    assert shared_credits(SCORES, first).tolist() == [1, pytest.approx(1 / 3), 0, 0.25]
    assert released_credits(SCORES, first).tolist() == [1, 1, 0, 1]
    assert strict_credits(SCORES, first).tolist() == [1, 0, 0, 0]
    last = np.full(4, 3)
    assert shared_credits(SCORES, last).tolist() == [0, pytest.approx(1 / 3), 1, 0.25]
    assert released_credits(SCORES, last).tolist() == [0, 0, 1, 0]


def test_missing_options_and_missing_scores() -> None:
    valid = np.array([[True, True, False, False]] * 4)
    assert shared_credits(SCORES, np.ones(4, int), valid).tolist() == [0, 0.5, 1, 0.5]
    broken = SCORES.copy()
    broken[1, 2] = NAN
    assert np.isnan(shared_credits(broken, np.zeros(4, int))).tolist() == [False, True, False, False]
    assert released_credits(broken, np.full(4, 2)).tolist() == [0, 1, 0, 0]  # NaN wins an argmax
    with pytest.raises(ValueError, match=r"answers lie in 4\.\.4"):
        shared_credits(SCORES, np.full(4, 4))
    with pytest.raises(ValueError, match="expected scores"):
        shared_credits(SCORES[0], np.zeros(1, int))


def test_confusion_counts_types_of_options_not_slots() -> None:
    kinds = [["hybrid", "hybrid", "positive", "negative"]] * 4
    found = confusion_of_types(SCORES, np.array([0, 0, 1, 1]), ["hybrid", "hybrid", "negative", "negative"], kinds)
    assert (found.rows, found.columns) == (("hybrid", "negative"), ("(right)", "hybrid", "negative", "positive"))
    assert found.counts == (2, 2)
    third = 1 / 3
    assert found.shares[0] == pytest.approx([(1 + third) / 2, third / 2, third / 2, 0])
    assert found.shares[1] == pytest.approx([0.125, 0.125, (1 + 0.25) / 2, 0.125])


def test_two_by_two_groups() -> None:
    right, mirrored = [[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.8, 0.2]]
    captions_only, images_only = [[0.9, 0.5], [0.1, 0.4]], [[0.9, 0.1], [0.95, 0.99]]
    scores = np.array([right, mirrored, captions_only, images_only, [[0.5, 0.5], [0.5, 0.5]], [[1, NAN], [0, 1]]])
    found = group_scores(scores)
    assert found.text[:5] == pytest.approx([1, 0, 1, 1, 0.25])
    assert found.image[:5] == pytest.approx([1, 0, 0, 0, 0.25])
    assert found.group[:5] == pytest.approx([1, 0, 0, 0, 1 / 6])
    assert np.isnan([found.text[5], found.image[5], found.group[5]]).all()
    strict = released_group_scores(scores)
    assert (strict.text[4], strict.image[4], strict.group[4]) == (0, 0, 0)
    blind = group_scores(np.array([[[0.7, 0.3], [0.7, 0.3]]]))  # prefers a caption whatever the image
    assert (blind.text[0], blind.image[0], blind.group[0]) == (0, 0.25, 0)


def test_random_scores_get_the_chance_of_groups() -> None:
    found = group_scores(np.random.default_rng(0).normal(size=(20000, 2, 2)))
    assert [found.text.mean(), found.image.mean(), found.group.mean()] == pytest.approx([0.25, 0.25, 1 / 6], abs=0.01)


def test_boxes() -> None:
    boxes = [[0, 0, 10, 20], [5.5, 0, 10, 20], [0, 0, 10, 20]]
    assert grounding_credit([0.1, 0.3, 0.2], boxes, boxes[1]) == 1
    assert grounding_credit([0.3, 0.3, 0.1], boxes, boxes[0]) == 0.5
    assert released_grounding([0.3, 0.3, 0.1], boxes, boxes[0]) == 1
    assert released_grounding([0.3, 0.3, 0.1], boxes, boxes[1]) == 0
    assert grounding_credit([0.3, 0.1, 0.3], boxes, boxes[2]) == 1  # the same place twice
    assert np.isnan(grounding_credit([NAN, 0.1, 0.3], boxes, boxes[2]))
    assert released_grounding([0.3, NAN, 0.1], boxes, boxes[1]) == 1
    with pytest.raises(ValueError, match="is not among the boxes"):
        grounding_credit([0.1, 0.2, 0.3], boxes, [1, 1, 1, 1])
    with pytest.raises(ValueError, match="one score for each of 3"):
        grounding_credit([0.1], boxes, boxes[0])
