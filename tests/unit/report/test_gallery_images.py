"""Pictures: thumbnails within the budget, equal references once, gaps that say why, differences where they are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from negscale.datasets.images import ImageReader
from negscale.report.gallery_images import SIDES_PX, encode_small, heat_picture, make_pictures
from negscale.report.gallery_rows import HEAT, layout_of
from tests.unit.exports.pictures import QUESTIONS, question, reference
from tests.unit.report.edit_runs import EDITS, make_edit_run


def _rows(*uris: str) -> list[dict[str, Any]]:
    return [question(f"q{n}", image=reference(uri)) for n, uri in enumerate(uris)]


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))


def test_equal_references_are_read_once_and_gaps_say_why(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    rows = _rows("toyworld:0/1", "toyworld:0/2", "toyworld:0/1", "gone.jpg", "broken.jpg", "gone.jpg", "../etc/passwd")
    made = make_pictures(rows, layout_of(QUESTIONS), ImageReader(str(tmp_path)), 10**6)
    assert made.read == len(made.data) == 2
    assert made.unread == {"missing_image": 1, "unreadable_image": 1, "forbidden_path": 1}
    assert [figures[0][1] for figures in made.figures] == [0, 1, 0, -1, -1, -1, -1]
    assert made.figures[3][0][2].startswith("missing_image: gone.jpg")


def test_the_budget_holds_and_what_comes_last_goes_without() -> None:
    rows = _rows(*(f"toyworld:0/{n}" for n in range(40)))
    roomy = make_pictures(rows, layout_of(QUESTIONS), ImageReader(), 10**6)
    assert (roomy.side_px, roomy.no_room, len(roomy.data)) == (SIDES_PX[0], 0, 40)
    used = sum(map(len, roomy.data))
    smaller = make_pictures(rows, layout_of(QUESTIONS), ImageReader(), used * 9 // 10)
    assert smaller.side_px < SIDES_PX[0]
    assert sum(map(len, smaller.data)) <= used * 9 // 10
    tight = make_pictures(rows, layout_of(QUESTIONS), ImageReader(), 6000)
    assert 0 < len(tight.data) < 40
    assert tight.no_room == 40 - len(tight.data)
    assert sum(map(len, tight.data)) <= 6000
    again = make_pictures(rows, layout_of(QUESTIONS), ImageReader(), 6000)
    assert (again.data, again.figures) == (tight.data, tight.figures)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (3000, 2), (40, 700)])
def test_odd_shapes_are_shrunk(height: int, width: int) -> None:
    small = _pixels(encode_small(np.full((height, width, 3), 90, np.uint8), 128))
    assert max(small.shape[:2]) == min(128, max(height, width))
    assert abs(int(small.mean()) - 90) <= 2


def test_the_difference_is_bright_where_the_edit_is() -> None:
    before = np.full((100, 200, 3), 120, np.uint8)
    after = before.copy()
    after[20:60, 50:90] = (255, 40, 200)
    heat = heat_picture(before, after).astype(int)
    inside, outside = heat[25:55, 55:85], np.delete(heat, np.s_[45:95], axis=1)
    assert inside.max(-1).min() > 180
    assert np.ptp(outside, axis=-1).max() == 0, "grey where nothing changed"
    assert heat_picture(before[::2, ::2].copy(), after).shape == (100, 200, 3)
    assert np.ptp(heat_picture(before, before), axis=-1).max() == 0


def test_edits_show_both_images_the_difference_and_the_box(tmp_path: Path) -> None:
    run = make_edit_run(tmp_path / "run", 12)
    rows = [row for kind in ("data", "quarantine") for _, table in run.tables(kind) for row in table.to_pylist()]
    made = make_pictures(rows, layout_of(EDITS), ImageReader(run.uri), None)
    for row, figures in zip(rows, made.figures, strict=True):
        if row["quarantine"]:
            assert [figure[1] >= 0 for figure in figures] == [True, False]
            continue
        assert [figure[0] for figure in figures] == ["source", "edit", HEAT]
        (x, y, w, h, meant) = figures[1][3][0]
        assert meant == 1
        heat = _pixels(made.data[figures[2][1]]).astype(int)
        colour = np.ptp(heat, axis=-1)
        box = np.s_[int(y * 96) : int((y + h) * 96), int(x * 96) : int((x + w) * 96)]
        assert colour[box].mean() > 4 * np.delete(colour, box[1], axis=1).mean(), "the change lies in the box"
