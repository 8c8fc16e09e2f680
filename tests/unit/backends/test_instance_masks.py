"""Masks in COCO's three notations."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from negscale.backends.instance_masks import decode_rle, instance_mask, polygon_areas
from negscale.core.rng import rng_for


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, the background first."""
    flat = mask.T.ravel().astype(int).tolist()
    runs = [len(list(group)) for _, group in groupby(flat)]
    return runs if flat[0] == 0 else [0, *runs]


def compressed(runs: list[int]) -> str:
    """COCO's string, as cocoapi's rleToString writes it."""
    text = ""
    for k, run in enumerate(runs):
        value = run - runs[k - 2] if k > 2 else run
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != -1 if bits & 0x10 else value != 0
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_come_back_in_both_notations(seed: int) -> None:
    rng = rng_for(seed, "mask")
    mask = np.kron(rng.random((7, 5)) < 0.5, np.ones((rng.integers(1, 30), rng.integers(1, 30)))).astype(bool)
    runs, size = runs_of(mask), list(mask.shape)
    assert (decode_rle({"counts": runs, "size": size}) == mask).all()
    assert (decode_rle({"counts": compressed(runs), "size": size}) == mask).all()


def test_a_window_of_a_mask_is_that_part_of_it() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:12, 8:25] = True
    rle = {"counts": runs_of(mask), "size": [20, 30]}
    assert (instance_mask(rle, (6, 4, 10, 6), (20, 30)) == mask[4:10, 6:16]).all()


def test_polygons_have_their_area_and_smooth_edges() -> None:
    triangle = [[10.0, 10.0, 50.0, 10.0, 10.0, 40.0]]
    mask = instance_mask(triangle, (5, 5, 50, 40), (60, 80))
    assert polygon_areas(triangle) == [600.0]
    assert mask.sum() == pytest.approx(600, rel=0.03)  # PIL fills the outline too: an eighth of a pixel
    assert 0 < ((mask > 0) & (mask < 1)).sum() < 200
    assert mask[8, 8] == 1
    assert mask[0, 0] == 0
    two = instance_mask([*triangle, [60.0, 50.0, 70.0, 50.0, 70.0, 58.0, 60.0, 58.0]], (0, 0, 80, 60), (60, 80))
    assert two.sum() == pytest.approx(680, rel=0.03)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "list of polygons"), ("abc", "list of polygons"), ([[1, 2, 3]], "three corners"),
        ([[1, 2, 3, float("nan"), 5, 6]], "finite"), ({"counts": [4], "size": [2, 3]}, "sum to 4"),
        ({"counts": "\x7f", "size": [2, 3]}, "does not occur"), ({"counts": "P", "size": [2, 3]}, "within a number"),
        ({"size": [2, 3]}, "counts"), ({"counts": [6], "size": [2, 3]}, r"an image of \[2, 3\]"),
    ],
)  # fmt: skip
def test_what_is_no_mask_is_said(bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        instance_mask(bad, (0, 0, 4, 4), (4, 4))
