"""The Hamming index finds what a search over all pairs finds; hashes survive re-encoding and keep photographs apart."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from negscale.core.image import decode
from negscale.core.rng import rng_for
from negscale.datasets.toy_scenes import draw, scene
from negscale.guard.hashes import HammingIndex, distances, perceptual_hash

RADIUS = 8


def test_distance_counts_bits() -> None:
    one = np.array([0, 0b1011, 2**64 - 1], np.uint64)
    assert distances(one, np.zeros(3, np.uint64)).tolist() == [0, 3, 64]


@pytest.mark.parametrize("radius", [0, 3, 4, 8, 12])
def test_index_equals_a_search_over_all_pairs(radius: int) -> None:
    rng = rng_for(radius, "hashes")
    stored = rng.integers(0, 2**63, 400, np.uint64)
    flips = [sum(1 << int(bit) for bit in rng.choice(64, k, replace=False)) for k in rng.integers(0, 16, 300)]
    queries = stored[:300] ^ np.array(flips, np.uint64)
    apart = distances(queries[:, None], stored[None, :])
    wanted = {(int(q), int(s), int(apart[q, s])) for q, s in zip(*np.nonzero(apart <= radius), strict=True)}
    index = HammingIndex(stored, radius)
    assert {(int(q), int(s), int(d)) for q, s, d in zip(*index.near(queries), strict=True)} == wanted
    assert len(wanted) > (5 if radius == 0 else 20)


def test_index_compares_few_pairs() -> None:
    rng = rng_for(0, "hashes")
    index = HammingIndex(rng.integers(0, 2**63, 100_000, np.uint64), RADIUS)
    index.near(rng.integers(0, 2**63, 100, np.uint64))
    assert index.compared < 0.02 * 100 * 100_000


def test_empty_index_and_bad_radius() -> None:
    assert len(HammingIndex(np.zeros(0, np.uint64), 3).near(np.zeros(4, np.uint64))[0]) == 0
    with pytest.raises(ValueError, match="radius 16"):
        HammingIndex(np.zeros(1, np.uint64), 16)


def test_mirrored_hash_is_that_of_the_mirrored_image() -> None:
    for number in range(20):
        image = draw(scene(0, number))
        mirrored = perceptual_hash(image)[1]
        flipped = perceptual_hash(np.ascontiguousarray(image[:, ::-1]))[0]
        assert bin(mirrored ^ flipped).count("1") <= 2


def encoded(picture: Pillow.Image) -> np.ndarray:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=50)
    return decode(buffer.getvalue())


@pytest.mark.real_data
def test_photographs(shared_data: Path) -> None:
    """Re-encoded (JPEG quality 50), resized to 224 x 224 and mirrored copies are found; different photographs are not."""
    paths = sorted((shared_data / "coco/val2017").glob("*.jpg"))
    images = [decode(path.read_bytes()) for path in paths]
    hashes = np.array([perceptual_hash(image)[0] for image in images], np.uint64)
    index = HammingIndex(hashes, RADIUS)
    found = {}
    for name, change in {
        "re-encoded": lambda p: p,
        "resized": lambda p: p.resize((224, 224)),
        "mirrored": lambda p: p.resize((224, 224)).transpose(Pillow.Transpose.FLIP_LEFT_RIGHT),
    }.items():
        copies = [perceptual_hash(encoded(change(Pillow.fromarray(image)))) for image in images]
        queries = np.array([copy[name == "mirrored"] for copy in copies], np.uint64)
        one, other, _ = index.near(queries)
        found[name] = len({int(q) for q, s in zip(one, other, strict=True) if q == s}) / len(images)
    others = sorted((shared_data / "coco/train2017").glob("*.jpg")) + sorted((shared_data / "flickr8k").rglob("*.jpg"))
    more = np.array([perceptual_hash(decode(path.read_bytes()))[0] for path in others[:600]], np.uint64)
    strangers = np.concatenate([hashes, more])
    apart = distances(strangers[:, None], strangers[None, :])[np.triu_indices(len(strangers), 1)]
    rate = float((apart <= RADIUS).mean())
    print(f"\nfound {found}; of {len(apart):,} pairs of different photographs {rate:.2e} are within {RADIUS} bits")
    assert min(found.values()) >= 0.99
    assert rate < 1e-4
