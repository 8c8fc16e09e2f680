"""Lists of things: shards as the file says, crops as Pillow's, frames of clips, keys by content."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.errors import ConfigError, PlanError
from negscale.core.image import ImageError
from negscale.datasets.things import THINGS_FILE, ThingsConfig, crop, digest_of, frames, picture_key, text_key


def things(shards: str) -> pa.Table:
    """One text a letter of `shards`, which names its shard."""
    rows = [
        {"id": f"text-{at}", "shard": name, "image": None, "box_xywh_px": None, "text": str(at), "batch": 0}
        for at, name in enumerate(shards)
    ]
    return pa.Table.from_pylist(rows, THINGS_FILE)


def test_shards_and_identity_are_the_files(tmp_path: Path) -> None:
    path = tmp_path / "things.parquet"
    pq.write_table(things("aabbb"), path)
    source = ThingsConfig(uri=str(path)).build()
    listing = source.list()
    assert [(shard.name, shard.rows) for shard in listing.shards] == [("a", 2), ("b", 3)]
    assert listing.index is not None
    assert set(source.read(listing.shards[1], listing.index.slice(2, 3))["text"].to_pylist()) == {"2", "3", "4"}
    assert digest_of(things("aabbb")) == listing.identity["things"] != digest_of(things("aaabb"))


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "things.parquet"
    with pytest.raises(ConfigError, match="there is no list of things"):
        ThingsConfig(uri=str(path)).build().list()
    path.write_bytes(b"PAR0")
    with pytest.raises(PlanError, match="no Parquet file"):
        ThingsConfig(uri=str(path)).build().list()
    pq.write_table(things("a").drop_columns(["batch"]), path)
    with pytest.raises(PlanError, match="has the columns"):
        ThingsConfig(uri=str(path)).build().list()
    pq.write_table(things("aba"), path)
    with pytest.raises(PlanError, match="do not stand together"):
        ThingsConfig(uri=str(path)).build().list()


def test_crops_are_pillows() -> None:
    from PIL import Image

    pixels = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)
    for box in ((0.0, 0.0, 24.0, 16.0), (3.5, 2.49, 10.2, 8.8), (1.5, 0.5, 2.0, 2.0)):
        x, y, w, h = box
        assert np.array_equal(crop(pixels, box), np.asarray(Image.fromarray(pixels).crop((x, y, x + w, y + h))))
    assert crop(pixels, (20, 10, 10, 10)).shape == (6, 4, 3)
    with pytest.raises(ImageError, match="lies outside of the image of 24 x 16"):
        crop(pixels, (24, 0, 5, 5))


def test_clips_are_four_frames(tmp_path: Path) -> None:
    cv2: Any = pytest.importorskip("cv2")
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(16):
        writer.write(np.full((48, 64, 3), 16 * number, np.uint8))
    writer.release()
    assert [round(int(frame[20, 20, 0]) / 16) for frame in frames(path.read_bytes(), 4)] == [2, 6, 10, 14]
    with pytest.raises(ImageError, match="no frame of the clip"):
        frames(b"nothing", 4)


def test_keys_name_contents() -> None:
    content = sha256(b"bytes").digest()
    assert picture_key(content, "a.jpg") == picture_key(content, "b/c.PNG") == content
    boxed = picture_key(content, "a.jpg", (0.0, 0.0, 1.0, 2.0))
    assert (
        len({content, boxed, picture_key(content, "a.jpg", (0.0, 0.0, 1.0, 2.5)), picture_key(content, "a.mp4")}) == 4
    )
    assert text_key("\ud800") != text_key("?")  # a lone surrogate has a key too
