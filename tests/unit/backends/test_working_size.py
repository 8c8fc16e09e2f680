from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from negscale.backends.working_size import Fit, WorkingSize

EXTREME = [(1, 1), (7, 3000), (3000, 7), (100, 4000), (513, 511), (427, 640), (64, 64), (9000, 9000)]


@pytest.mark.parametrize("fit", ["whole", "crop"])
@pytest.mark.parametrize("size", EXTREME)
def test_any_size_has_a_working_size_in_bounds(fit: Fit, size: tuple[int, int]) -> None:
    height, width = WorkingSize(512, 64, fit).of(*size)
    assert height % 64 == width % 64 == 0
    assert 64 <= min(height, width) <= max(height, width) <= 512
    assert (height >= width) == (size[0] >= size[1]) or height == width


def test_crop_is_what_the_released_script_does() -> None:
    """`edit_cli.py`: the two factors, then ImageOps.fit."""
    for height, width in ((427, 640), (640, 480), (500, 333), (333, 500)):
        factor = 512 / max(width, height)
        factor = np.ceil(min(width, height) * factor / 64) * 64 / min(width, height)
        released = int((width * factor) // 64) * 64, int((height * factor) // 64) * 64
        image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
        size = WorkingSize(512, 64, "crop")
        if max(released) > 512:  # the script grows the long side here; ours is cut at it
            released = (min(released[0], 512), min(released[1], 512))
        expected = ImageOps.fit(Image.fromarray(image), released, method=Image.Resampling.LANCZOS)
        assert (size.fitted(image) == np.asarray(expected)).all()
        assert size.restored(size.fitted(image), image).shape == (released[1], released[0], 3)


def test_the_whole_picture_comes_back_aligned() -> None:
    image = np.full((427, 640, 3), 200, np.uint8)
    image[100:160, 500:560] = (255, 0, 0)
    size = WorkingSize(512, 64, "whole")
    fitted = size.fitted(image)
    assert fitted.shape == (320, 512, 3)
    back = size.restored(fitted, image)
    assert back.shape == image.shape
    red = np.argwhere(back[..., 1] < 100)
    assert red.min(0) == pytest.approx([100, 500], abs=1)
    assert red.max(0) == pytest.approx([159, 559], abs=1)


def test_without_a_size_pictures_stay_as_they_are() -> None:
    image = np.zeros((31, 47, 3), np.uint8)
    assert WorkingSize(0, 16, "whole").fitted(image) is image
