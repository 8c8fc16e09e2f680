"""Runs of edits for the tests: drawn scenes, an icon painted into each, the edited pictures in a tar of the run folder."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.image import encode
from negscale.core.schema import EDIT_PLAN, EDIT_VERDICT, EDITED, ENVELOPE, IMAGE, INSTRUCTIONS, extend
from negscale.datasets.toy_icons import ICON_PX, OBJECTS
from negscale.datasets.toy_scenes import draw, paste, scene
from negscale.storage.blobs import TarBlob
from negscale.storage.folder import open_folder
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import make_run
from tests.unit.exports.pictures import reference

EDITS = ENVELOPE
for _added in (
    pa.schema([("image", IMAGE), ("image_id", pa.string())]),
    EDIT_PLAN,
    INSTRUCTIONS,
    EDITED,
    EDIT_VERDICT,
):
    EDITS = extend(EDITS, _added)


def make_edit_run(path: Path, scenes: int, per_scene: int = 2, shard_rows: int = 500, **columns: Any) -> RunFolder:
    """`scenes` * `per_scene` edits: every 5th row is refused, every 11th broke before it was painted. columns override."""
    folder = open_folder(str(path))
    rows: list[dict[str, Any]] = []
    with TarBlob(folder, "images") as blob:
        for index in range(scenes):
            drawn = scene(0, index)
            picture = draw(drawn)
            here = {placed.name for placed in drawn.objects}
            absent = [name for name in OBJECTS if name not in here]
            for k in range(per_scene):
                name = absent[(index + 5 * k) % len(absent)]
                rows.append(_row(index, k, name, picture, blob) | columns)
        uri = blob.commit()
    for row in rows:
        if row["image_with_object"] is not None:
            row["image_with_object"]["uri"] = uri
    return make_run(path, [rows[at : at + shard_rows] for at in range(0, len(rows), shard_rows)], EDITS)


def _row(index: int, k: int, name: str, picture: np.ndarray, blob: TarBlob) -> dict[str, Any]:
    number = index * 7 + k
    row = dict.fromkeys(EDITS.names) | {
        "id": f"toy-{index:08d}#{k}", "image": reference(f"toyworld:0/{index}"), "image_id": f"toy-{index:08d}",
        "caption": f"A picture of scene {index}", "caption_id": "0", "absent_object": name, "selection_score": 0.1 + k / 10,
        "add_instruction": f"Add a {name}.", "negative_instruction": f"There is no {name} in the image.",
    }  # fmt: skip
    if number % 11 == 10:
        fault = {
            "stage": "edit_image",
            "kind": "blank_edit",
            "message": "3 attempts gave one colour",
            "retryable": True,
        }
        return row | {"quarantine": fault}
    edited = picture.copy()
    x, y = (index * 13) % (96 - ICON_PX), (k * 31) % (96 - ICON_PX)
    paste(edited, name, x, y)
    data = encode(edited)
    digest = sha256(data).digest()
    held = {
        **reference("?", blob.add(data, digest, "png"), len(data)),
        "sha256": digest,
        "height_px": 96,
        "width_px": 96,
    }
    score = ((number * 37) % 100) / 100
    row |= {
        "image_with_object": held, "edit_seed": number, "edit_box_xyxy_px": [x, y, x + ICON_PX, y + ICON_PX], "edit_batch": 8,
        "caption_score": score, "caption_holds": score >= 0.4, "object_seen": number % 5 != 4, "object_score": 1 - score / 2,
        "change_inside": 0.31, "change_outside": 0.002,
    }  # fmt: skip
    if number % 5 == 4:
        row["rejection"] = {"stage": "judge_edit", "reason": "object_not_seen"}
    return row
