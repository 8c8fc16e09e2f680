"""Tables of what is in each picture: drawn scenes and COCO's instances."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negscale.core.errors import ConfigError
from negscale.core.schema import PRESENCE
from negscale.datasets.presence import coco_presence, toyworld_presence
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import scene

COCO = {
    "images": [{"id": 7, "file_name": "000000000007.jpg"}, {"id": 9, "file_name": "000000000009.jpg"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "iscrowd": 1}, {"image_id": 7, "category_id": 3}, {"image_id": 7, "category_id": 3},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
}  # fmt: skip


def write(folder: Path, content: object) -> str:
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_toyworld_lists_every_object_once() -> None:
    table = toyworld_presence(3, 20)
    assert table.schema.equals(PRESENCE)
    for index, row in enumerate(table.to_pylist()):
        assert set(row["present"]) == scene(3, index).names
        assert sorted(row["present"] + row["absent"]) == sorted(OBJECTS)
        assert row["image_path"] == f"toyworld:3/{index}"


def test_coco_counts_crowds_as_present_and_lists_images_without_boxes(tmp_path: Path) -> None:
    table = coco_presence(write(tmp_path, COCO), "val2017/")
    assert table.schema.equals(PRESENCE)
    assert table.to_pylist() == [
        {
            "image_id": "000000000007",
            "image_path": "val2017/000000000007.jpg",
            "present": ["person", "car"],
            "absent": [],
        },
        {
            "image_id": "000000000009",
            "image_path": "val2017/000000000009.jpg",
            "present": [],
            "absent": ["person", "car"],
        },
    ]
    assert coco_presence(write(tmp_path, COCO), "val2017", only=[9])["image_id"].to_pylist() == ["000000000009"]


def test_a_doubted_class_is_neither_present_nor_absent(tmp_path: Path) -> None:
    rows = coco_presence(write(tmp_path, COCO), "val2017", doubts={9: {"car"}, 7: {"person"}}).to_pylist()
    assert [(row["present"], row["absent"]) for row in rows] == [(["person", "car"], []), ([], ["person"])]


def test_coco_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no image 8"):
        coco_presence(write(tmp_path, COCO), "val2017", only=[8])
    with pytest.raises(ConfigError, match="no list 'categories'"):
        coco_presence(write(tmp_path, {**COCO, "categories": None}), "val2017")
    strange = {**COCO, "annotations": [{"image_id": 7, "category_id": 99}]}
    with pytest.raises(ConfigError, match="annotation number 0 names an unknown category"):
        coco_presence(write(tmp_path, strange), "val2017")
    with pytest.raises(ConfigError, match="there is no file"):
        coco_presence(str(tmp_path / "none.json"), "val2017")
