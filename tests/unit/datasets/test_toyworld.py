from __future__ import annotations

import re
import time
from collections import Counter

import numpy as np
import pytest

from negscale.datasets.toy_icons import ICON_PX, OBJECTS, icon
from negscale.datasets.toy_scenes import PLACES, SCENE_PX, background, captions, draw, scene
from negscale.datasets.toyworld import ToyworldConfig
from negscale.language.nouns import mentions
from tests.unit.datasets.layouts import kinds, read_all

NOUN = re.compile(rf"\b({'|'.join(OBJECTS)})\b")


def test_rows_do_not_depend_on_the_shards() -> None:
    rows = read_all(ToyworldConfig(images=50, captions_per_image=3, shard_rows=7).build())
    assert len(rows) == 150
    assert kinds(rows) == [None] * 150
    assert rows == read_all(ToyworldConfig(images=50, captions_per_image=3, shard_rows=1000).build())
    assert rows[:90] == read_all(ToyworldConfig(images=30, captions_per_image=3).build())
    assert rows[4]["id"] == "toy-00000001-1"
    assert rows[4]["image"]["uri"] == "toyworld:0/1"
    assert rows[3]["image_captions"] == [row["caption"] for row in rows[3:6]]
    other = read_all(ToyworldConfig(images=50, captions_per_image=3, seed=1).build())
    assert [row["caption"] for row in other] != [row["caption"] for row in rows]


def test_listing_costs_nothing() -> None:
    start = time.monotonic()
    listing = ToyworldConfig(images=5_000_000).build().list()
    assert listing.rows == 10_000_000
    assert listing.index is None
    assert time.monotonic() - start < 2


def test_reading_and_drawing_are_fast() -> None:
    source = ToyworldConfig(images=2000).build()
    shards = source.list().shards
    source.read(shards[0], None)
    start = time.monotonic()
    rows = sum(len(source.read(shard, None)) for shard in shards)
    assert rows / (time.monotonic() - start) > 2500  # 20,000 alone on a core
    scenes = [scene(0, i) for i in range(1000)]
    start = time.monotonic()
    for what in scenes:
        draw(what)
    assert time.monotonic() - start < 1.0  # 0.08 s alone on a core


def test_objects_never_overlap_and_lie_in_the_picture() -> None:
    counts: Counter[int] = Counter()
    for index in range(2000):
        what = scene(3, index)
        counts[len(what.objects)] += 1
        assert len(what.names) == len(what.objects)
        boxes = [box.box_xyxy_px for box in what.boxes()]
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= SCENE_PX
            assert 0 <= top < bottom <= SCENE_PX
        for i, a in enumerate(boxes):
            assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for b in boxes[:i])
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 120


def test_only_the_boxes_differ_from_the_empty_place() -> None:
    what = next(s for s in (scene(3, i) for i in range(99)) if len(s.objects) == 4)
    empty = np.clip(background(what.place.name) + what.light, 0, 255)
    changed = (draw(what) != empty).any(axis=2)
    inside = np.zeros((SCENE_PX, SCENE_PX), bool)
    for placed in what.objects:
        region = np.s_[placed.y_px : placed.y_px + ICON_PX, placed.x_px : placed.x_px + ICON_PX]
        inside[region] = True
        assert changed[region].mean() > 0.25, placed.name
    assert not changed[~inside].any()


def test_captions_are_true_and_leave_objects_out() -> None:
    unmentioned = two = 0
    for index in range(1000):
        what = scene(5, index)
        at = {placed.name: (placed.x_px, placed.y_px) for placed in what.objects}
        texts = captions(what, 5, index, 3)
        assert len({text.rstrip(".") for text in texts}) == 3
        for text in texts:
            named = NOUN.findall(text)
            assert 1 <= len(named) <= 2, text
            assert set(named) <= what.names, (text, what)
            assert what.place.phrase in text
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text.lower())
            unmentioned += bool(what.names - set(named))
            two += len(named) == 2
            if "left of" in text:
                assert at[named[0]][0] < at[named[1]][0]
            if "right of" in text:
                assert at[named[0]][0] > at[named[1]][0]
            if "above" in text:
                assert at[named[0]][1] < at[named[1]][1]
            if "below" in text:
                assert at[named[0]][1] > at[named[1]][1]
    assert unmentioned > 1500
    assert two > 1000


def test_places_can_be_learned_from_their_objects() -> None:
    seen: dict[str, Counter[str]] = {place.name: Counter() for place in PLACES}
    for index in range(3000):
        what = scene(0, index)
        seen[what.place.name].update(what.names)
    for place in PLACES:
        likeliest = max(place.likely, key=lambda name: place.likely[name])
        assert seen[place.name].most_common(1)[0][0] == likeliest
        elsewhere = [name for name in OBJECTS if name not in place.likely]
        assert 0 < max(seen[place.name][name] for name in elsewhere) < 0.5 * seen[place.name][likeliest]


def test_icons() -> None:
    drawn = [icon(name) for name in OBJECTS]
    assert len(OBJECTS) == 16
    assert all(d.shape == (ICON_PX, ICON_PX, 4) for d in drawn)
    for i, a in enumerate(drawn):
        assert 0.2 < (a[..., 3] == 255).mean() < 0.9
        for b in drawn[:i]:
            assert np.abs(a.astype(int) - b).mean() > 20
    with pytest.raises(KeyError, match="no icon is named 'zebra'"):
        icon("zebra")


def test_no_word_of_a_caption_implies_an_unnamed_object() -> None:
    """The absence check knows synonyms and implied objects ("library" has books): drawn words must not collide."""
    for place in PLACES:
        for name in OBJECTS:
            others = [other for other in OBJECTS if other != name and mentions(f"A {name} is {place.phrase}.", other)]
            assert others == [], (place.phrase, name)
            assert mentions(f"A {name} is {place.phrase}.", name)
