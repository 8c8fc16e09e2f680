"""Boxes: overlap by hand-made cases, and the enlarging by the figures of a released item."""

from __future__ import annotations

import pytest

from negscale.core.boxes import Box, as_box, clipped, enlarge, grown, intersection, iou


@pytest.mark.parametrize(
    "values",
    [None, [], [1, 2, 3], [0, 0, 0, 5], [0, 0, 5, -1], [0, 0, float("nan"), 1], ["a", 0, 1, 1], [0, 0, 1, 1, 1]],
)
def test_what_is_no_box(values: list[float] | None) -> None:
    assert as_box(values) is None


def test_overlap() -> None:
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((0, 0, 10, 10), (10, 0, 10, 10)) == 0
    assert intersection((0, 0, 10, 10), (8, 5, 10, 10)) == 10
    assert clipped((-5, -5, 10, 20), 100, 10) == (0, 0, 5, 10)
    assert clipped((100, 0, 5, 5), 100, 100) is None
    assert grown((10, 10, 10, 20), 0.5) == (5, 0, 20, 40)


def test_enlarging_stops_at_the_image_and_at_the_other_candidate() -> None:
    left, right = (40.41, 40.07, 254.83, 436.68), (367.08, 50.52, 189.72, 416.47)  # the cats of COCO image 358083
    assert enlarge(left, 3, 640, 522, [right]) == pytest.approx((0, 0, 367.08, 522))
    assert enlarge(right, 3, 640, 522, [left]) == pytest.approx((295.24, 0, 344.76, 522))
    assert enlarge(left, 3, 640, 522) == pytest.approx((0, 0, 550.07, 522))
    assert enlarge(left, 1, 640, 522) == pytest.approx(left)


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ((45, 65, 10, 10), (20, 20, 60, 45)),  # below
        ((45, 25, 10, 10), (20, 35, 60, 45)),  # above
        ((25, 45, 10, 10), (35, 20, 45, 60)),  # to the left
        ((65, 62, 10, 10), (20, 20, 45, 60)),  # to the right and below, farther to the right
        ((50, 50, 40, 40), (20, 20, 60, 60)),  # overlapping: stops nothing
        ((300, 40, 10, 10), (20, 20, 60, 60)),  # too far to matter
    ],
)
def test_the_side_that_faces_another_box_stops(other: Box, wanted: Box) -> None:
    assert enlarge((40, 40, 20, 20), 3, 400, 400, [other]) == wanted
