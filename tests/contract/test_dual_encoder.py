"""What every DualEncoder promises; each implementation that can load here is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from negscale.backends.dual_encoders import HfDualEncoderConfig, OpenClipEncoderConfig
from negscale.core.backend import DualEncoder
from tests.unit.backends.made_vision import make_dual, make_open_clip, pictures

pytest.importorskip("torch")

TEXTS = ["a dog", "a cat in the park", "a photo of a tree", "a dog", ""]


def open_clip(folder: Path) -> DualEncoder:
    pytest.importorskip("open_clip")
    name, path = make_open_clip(folder)
    return OpenClipEncoderConfig(model=name, path=str(path)).build()


ENCODERS: dict[str, Callable[[Path], DualEncoder]] = {
    "clip": lambda folder: HfDualEncoderConfig(model="made/clip", path=str(make_dual(folder, "clip"))).build(),
    "siglip": lambda folder: HfDualEncoderConfig(model="made/siglip", path=str(make_dual(folder, "siglip"))).build(),
    "open_clip": open_clip,
}


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DualEncoder]:
    built = ENCODERS[request.param](tmp_path_factory.mktemp("encoder"))
    built.load()
    yield built
    built.close()


def test_unit_vectors_of_one_space(encoder: DualEncoder) -> None:
    images, texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)
    assert images.dtype == texts.dtype == np.float32
    assert images.shape == (4, texts.shape[1])
    assert len(texts) == len(TEXTS)
    assert np.linalg.norm(images, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(texts, axis=1) == pytest.approx(1, abs=1e-5)


def test_order_and_batch_mates(encoder: DualEncoder) -> None:
    images, texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)
    assert encoder.encode_images(pictures()[::-1])[::-1] == pytest.approx(images, abs=1e-5)
    for number, text in enumerate(TEXTS):
        assert encoder.encode_texts([text])[0] == pytest.approx(texts[number], abs=1e-5)
    assert texts[0] == pytest.approx(texts[3], abs=1e-6)
    assert np.abs(texts[0] - texts[1]).max() > 1e-3
    assert np.abs(images[0] - images[1]).max() > 1e-3


def test_nothing_in_nothing_out(encoder: DualEncoder) -> None:
    width = encoder.encode_texts(["a dog"]).shape[1]
    assert encoder.encode_images([]).shape == (0, width)
    assert encoder.encode_texts([]).shape == (0, width)


def test_long_texts_are_cut_not_refused(encoder: DualEncoder) -> None:
    assert np.isfinite(encoder.encode_texts(["a dog " * 300])).all()


def test_what_is_no_picture_is_named(encoder: DualEncoder) -> None:
    with pytest.raises(ValueError, match=r"image 1: expected uint8\[H, W, 3\]"):
        encoder.encode_images([pictures()[0], np.zeros((4, 4), np.uint8)])


def test_the_id_names_weights(encoder: DualEncoder) -> None:
    name, _, revision = encoder.id.rpartition("@")
    assert name
    assert len(revision) >= 7
