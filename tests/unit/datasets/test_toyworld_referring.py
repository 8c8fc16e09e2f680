"""Scenes of pairs and what is said of them: rows by arithmetic, the geometry, the share of wrong expressions."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negscale.core.boxes import iou
from negscale.core.image import ImageError, decode
from negscale.core.schema import ENVELOPE, EXPRESSION
from negscale.datasets.captions import image_ref
from negscale.datasets.toy_pairs import (
    BESIDE_PX,
    HEIGHT_PX,
    WIDTH_PX,
    Claim,
    draw_pairs,
    expressions,
    holds,
    pair_scene,
)
from negscale.datasets.toyworld_referring import ToyworldReferringConfig


def read_all(**config: Any) -> list[dict[str, Any]]:
    source = ToyworldReferringConfig(**config).build()
    listing, rows = source.list(), []
    for shard in listing.shards:
        table = source.read(shard, None)
        assert table.schema.equals(pa.schema([*ENVELOPE, *EXPRESSION]))
        assert len(table) == shard.rows
        rows += table.to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == listing.rows
    assert json.dumps(dict(listing.identity))
    return rows


def test_rows_do_not_depend_on_the_shards() -> None:
    rows = read_all(images=40, expressions_per_image=3, shard_rows=7)
    assert rows == read_all(images=40, expressions_per_image=3, shard_rows=1000)
    assert rows[:60] == read_all(images=20, expressions_per_image=3)
    assert all(row["quarantine"] is None for row in rows)
    assert rows[4]["id"] == "toyref-00000001-1"
    assert len({(row["image_id"], row["expression"]) for row in rows}) == len(rows)
    assert all(row["referred_id"] in {one["id"] for one in row["instances"]} for row in rows)
    assert rows != read_all(images=40, expressions_per_image=3, seed=1)


def test_zones_keep_their_distance_and_everything_lies_in_the_picture() -> None:
    seen: Counter[str] = Counter()
    for index in range(1500):
        what = pair_scene(5, index)
        for item in what.items:
            x, y, w, h = item.box_xywh_px
            assert x >= 0
            assert y >= 0
            assert x + w <= WIDTH_PX
            assert y + h <= HEIGHT_PX
        overlaps = [iou(a.box_xywh_px, b.box_xywh_px) for a, b in combinations(what.items, 2)]
        seen["overlap"] += any(overlaps)
        seen["small"] += len({item.side_px for item in what.of_kind}) == 2
        seen[f"of_kind_{len(what.of_kind)}"] += 1
        for a, b in combinations(what.items, 2):
            gap = max(a.x_px, b.x_px) - min(a.x_px + a.side_px, b.x_px + b.side_px)
            assert gap <= BESIDE_PX or gap >= 4 * BESIDE_PX, "beside or clearly not"
    assert all(seen[key] > 50 for key in ("overlap", "small", "of_kind_1", "of_kind_2", "of_kind_3")), seen


def test_claims_follow_the_geometry() -> None:
    what = next(s for s in (pair_scene(0, i) for i in range(50)) if len(s.of_kind) == 2 and len(s.items) == 3)
    left, right = sorted(what.of_kind, key=lambda item: item.x_px)
    thing = next(item for item in what.items if item not in what.of_kind)
    owner = min(what.of_kind, key=lambda item: abs(item.x_px - thing.x_px))
    bare = left if owner is right else right
    assert holds(what, owner, Claim("has", thing.name))
    assert holds(what, bare, Claim("lacks", thing.name))
    assert not holds(what, bare, Claim("has", thing.name))
    assert holds(what, left, Claim("side", "left"))
    assert holds(what, right, Claim("not_side", "left"))
    assert holds(what, right, Claim("rank", "2"))
    assert not holds(what, left, Claim("rank", "2"))


def test_expressions_are_true_of_one_object_but_for_the_wrong_share() -> None:
    negated = wrong = 0
    for index in range(1500):
        what = pair_scene(1, index)
        for said in expressions(what, 1, index, 2, 0.1):
            true = [item for item in what.of_kind if holds(what, item, said.claim)]
            assert len(true) == 1, said
            negated += said.claim.negated
            wrong += true[0] is not said.target
            assert said.claim.negated or true[0] is said.target
    assert negated > 1200
    assert 0.07 < wrong / negated < 0.13
    for what in (pair_scene(1, index) for index in range(200)):
        assert all(holds(what, said.target, said.claim) for said in expressions(what, 1, 0, 3, 0.0))


def test_pictures_are_drawn_where_the_annotations_say() -> None:
    reader = pickle.loads(pickle.dumps(ToyworldReferringConfig().reader()))  # noqa: S301 - our own object
    what = pair_scene(3, 7)
    ref = image_ref("toypairs:3/7", height_px=HEIGHT_PX, width_px=WIDTH_PX)
    pixels = reader.read(ref)
    assert pixels.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert np.array_equal(decode(reader.read_bytes(ref)), pixels)
    empty = draw_pairs(type(what)(what.place, what.kind, (), what.light))
    rows, columns = np.nonzero((pixels != empty).any(axis=2))
    inside = np.zeros(pixels.shape[:2], bool)
    for item in what.items:
        inside[item.y_px : item.y_px + item.side_px, item.x_px : item.x_px + item.side_px] = True
    assert inside[rows, columns].all()
    assert len(rows) > 0.3 * inside.sum()
    with pytest.raises(ImageError):
        reader.read(image_ref("other.jpg"))
