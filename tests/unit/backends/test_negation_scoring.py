"""Training-free negation: the geometry by hand, the texts it needs, and a small real encoder around which it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from negscale.backends.dual_encoders import OpenClipEncoderConfig
from negscale.backends.negation_scoring import (
    NOTHING_AFFIRMED,
    NegationAwareConfig,
    ProjectionConfig,
    RepulsionConfig,
    needed_texts,
    projected,
    repelled,
    turned,
)
from tests.unit.backends.made_vision import make_open_clip, pictures


def at(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_repulsion_turns_in_the_plane_of_both() -> None:
    cosine = float(np.cos(np.radians(30)))
    found = repelled(at(0, 0, 0, 0), at(20, 59, 61, 0), cosine)
    angles = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    assert angles == pytest.approx([-20, -0.5, 0, 0], abs=1e-3)  # alpha - theta / 2 away, none where caps do not meet
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert repelled(at(0), at(180), 0.5) == pytest.approx(at(0), abs=1e-6)


def test_projection_takes_the_denied_part_out() -> None:
    text, denied = at(60), at(0)
    assert projected(text, denied, np.zeros(2), 1.0) == pytest.approx(at(90), abs=1e-6)
    assert projected(text, denied, np.zeros(2), 0.0) == pytest.approx(text, abs=1e-6)
    beyond = projected(text, denied, np.zeros(2), 2.0)
    assert float(beyond[0] @ denied[0]) == pytest.approx(-0.5)
    anchored = projected(text, denied, np.array([0.0, 0.5]), 1.0)
    assert anchored == pytest.approx(at(90), abs=1e-6)


def test_texts_without_a_denial_keep_their_vectors() -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return at(*(7.0 * len(text) % 360 for text in texts)).astype(np.float32)

    texts = ["A dog and a cat.", "A dog, but no cat.", "There is no cat in the picture."]
    found = turned(texts, embed, RepulsionConfig())
    assert asked == sorted({*texts, "A dog", NOTHING_AFFIRMED, "a photo of cat"})
    assert found[0] == pytest.approx(at(7.0 * len(texts[0]))[0])
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert needed_texts(texts[:1], RepulsionConfig()) == texts[:1]
    assert "a photo" in needed_texts(texts, ProjectionConfig())


@pytest.mark.parametrize("scoring", [RepulsionConfig(cosine=0.5), ProjectionConfig(strength=1.0)])
def test_around_a_real_encoder(tmp_path: Path, scoring: RepulsionConfig | ProjectionConfig) -> None:
    pytest.importorskip("open_clip")
    name, path = make_open_clip(tmp_path)
    plain_config = OpenClipEncoderConfig(model=name, path=str(path))
    config = NegationAwareConfig(encoder=plain_config, scoring=scoring)
    plain, aware = plain_config.build(), config.build()
    plain.load()
    aware.load()
    texts = ["a dog in the park", "a dog in the park without a cat"]
    before, after = plain.encode_texts(texts), aware.encode_texts(texts)
    assert after[0] == pytest.approx(before[0], abs=1e-5)
    cat = plain.encode_texts(["a photo of cat"])[0]
    assert after[1] @ cat < before[1] @ cat
    assert np.linalg.norm(after, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(aware.encode_images(pictures()), plain.encode_images(pictures()))
    assert aware.id.startswith(f"{plain.id}+{scoring.kind}(")
    assert (
        config.identity() != NegationAwareConfig(encoder=plain_config, scoring=RepulsionConfig(cosine=0.6)).identity()
    )
    assert aware.too_long(["a"]) == [False]
    aware.close()
