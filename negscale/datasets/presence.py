"""What is in each picture and what is not: the tables that balanced questions are made from.

NegBench (arXiv 2501.09425, section 3.1) takes a COCO image's unannotated classes for absent and keeps three of them. Here
every class is listed as present, as absent, or, where the caller has doubts, as neither.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping

import pyarrow as pa

from negscale.core.errors import ConfigError
from negscale.core.schema import PRESENCE
from negscale.datasets.coco import parse_coco
from negscale.datasets.indexed import read_config_file
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import scene
from negscale.storage.folder import open_folder


def toyworld_presence(seed: int, images: int) -> pa.Table:
    """`PRESENCE` of toyworld's scenes 0 .. images - 1: the drawing is the truth, nothing is in doubt."""
    rows = []
    for index in range(images):
        there = scene(seed, index).names
        rows.append({
            "image_id": f"toy-{index:08d}", "image_path": f"toyworld:{seed}/{index}",
            "present": [name for name in OBJECTS if name in there],
            "absent": [name for name in OBJECTS if name not in there],
        })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PRESENCE)


def coco_presence(
    path: str,
    image_folder: str,
    only: Collection[int] | None = None,
    doubts: Mapping[int, Collection[str]] | None = None,
) -> pa.Table:
    """`PRESENCE` of the images of a COCO instances file, in its order; crowds count as present.

    path: the instances JSON; image_folder: what stands before the file names; only: image ids to keep.
    doubts: image id -> classes that are not to be called absent though nobody drew a box, since a caption mentions them.
    Raises ConfigError for another kind of file, and for ids that it does not list.
    """
    folder, _, file = path.rpartition("/")
    content = parse_coco(
        read_config_file(open_folder(folder or "."), file, "instances"), path, ("images", "annotations", "categories")
    )
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    listed = {image["id"] for image in content["images"]}
    if only is not None and (strange := sorted(set(only) - listed)):
        raise ConfigError(f"{path}: no image {strange[0]} ({len(strange)} of the ids asked for are not in this file)")
    there: dict[int, set[str]] = {image_id: set() for image_id in listed}
    for number, note in enumerate(content["annotations"]):
        if note.get("category_id") not in names or note.get("image_id") not in there:
            raise ConfigError(
                f"{path}: annotation number {number} names an unknown category or image: {str(note)[:120]}"
            )
        there[note["image_id"]].add(names[note["category_id"]])
    doubted = doubts or {}
    rows = [
        {
            "image_id": f"{image['id']:012d}", "image_path": posixpath.join(image_folder, image["file_name"]),
            "present": [name for name in names.values() if name in there[image["id"]]],
            "absent": [n for n in names.values() if n not in there[image["id"]] and n not in doubted.get(image["id"], ())],
        }
        for image in content["images"] if only is None or image["id"] in only
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PRESENCE)
