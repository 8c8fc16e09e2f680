"""Photographs and their captions, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from negscale.datasets.coco import CocoConfig
from negscale.datasets.folder import FolderConfig
from tests.unit.datasets.layouts import kinds, read_all

pytestmark = pytest.mark.real_data


def test_coco_val2017(shared_data: Path) -> None:
    config = CocoConfig(root=str(shared_data / "coco"), split="val2017")
    rows = read_all(config.build())
    images = {row["image"]["uri"]: row["image"] for row in rows}
    assert len(images) > 200
    assert len(rows) >= 5 * len(images)
    assert not any(kinds(rows))
    assert all(row["caption"] in row["image_captions"] and len(row["image_captions"]) >= 5 for row in rows)
    reader = config.reader()
    for ref in images.values():
        assert reader.read(ref).shape == (ref["height_px"], ref["width_px"], 3)


def test_flickr8k(shared_data: Path) -> None:
    config = FolderConfig(root=str(shared_data / "flickr8k"))
    source = config.build()
    rows = read_all(source)
    assert len(rows) == 4000
    assert not any(kinds(rows))
    assert source.list().identity["images_without_captions"] == 0
    reader = config.reader()
    assert all(min(reader.read(row["image"]).shape[:2]) > 50 for row in rows[::5])
