from __future__ import annotations

from negscale.core.pipeline import Pipeline
from negscale.datasets.captioned_images import SCHEMA, CaptionedImages
from negscale.datasets.toyworld import ToyworldConfig


def test_one_row_an_image_whatever_the_source_gives() -> None:
    several = CaptionedImages(ToyworldConfig(images=10, captions_per_image=3).build())
    one = CaptionedImages(ToyworldConfig(images=10, captions_per_image=1).build())
    assert several.list().rows == 30  # no row is left out
    rows = several.read(several.list().shards[0], None).to_pylist()
    kept = [row for row in rows if row["rejection"] is None]
    assert len({row["image_id"] for row in kept}) == len(kept) == 10
    assert {row["rejection"]["reason"] for row in rows if row["rejection"]} == {"another_caption_of_image"}
    assert all(len(row["image_captions"]) == 3 for row in kept)
    assert "caption" not in rows[0]
    single = one.read(one.list().shards[0], None)
    assert single["rejection"].null_count == len(single) == 10
    assert set(SCHEMA.names) <= set(Pipeline("t", one, ()).plan().names)
