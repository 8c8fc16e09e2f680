"""Encode once: by content, resumable, with faults; with a real, small open_clip model and pictures on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.dual_encoders import OpenClipEncoderConfig
from negscale.benchmarks import encoding
from negscale.benchmarks.embeddings import EmbeddingStore
from negscale.benchmarks.encoding import Vectors, encode
from negscale.benchmarks.pictures import Picture, crop, frames, text_key
from negscale.core.errors import AuditError, PlanError
from negscale.core.image import ImageError
from negscale.datasets.images import ImageReader
from tests.unit.backends.made_vision import make_open_clip
from tests.unit.benchmarks.files import png

pytest.importorskip("torch")
pytest.importorskip("open_clip")

TEXTS = ["a dog", "no dog", "a cat in the park " * 30, "a tree"]


class Counting:
    """A dual encoder that notes what it is asked, and can be told to fail or to give NaN."""

    exact = False

    def __init__(self, inner: Any, die_at: str = "", odd: str = "") -> None:
        self.inner, self.die_at, self.odd = inner, die_at, odd
        self.images, self.texts, self.loads = 0, [], 0

    @property
    def id(self) -> str:
        return self.inner.id

    def load(self) -> None:
        self.loads += 1
        self.inner.load()

    def close(self) -> None:
        self.inner.close()

    def encode_images(self, images: Sequence[Any]) -> np.ndarray:
        self.images += len(images)
        return self.inner.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        if self.die_at in texts:
            raise KeyboardInterrupt
        self.texts += texts
        found = self.inner.encode_texts(texts)
        found[[text == self.odd for text in texts]] = np.nan
        return found

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        return self.inner.too_long(texts)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    name, path = make_open_clip(tmp_path_factory.mktemp("model"))
    built = OpenClipEncoderConfig(model=name, path=str(path)).build()
    built.load()
    return built


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    png(folder / "a.png", (200, 10, 10))
    png(folder / "b.png", (10, 200, 10))
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "broken.png").write_bytes(b"not an image")
    return folder


def run(
    model: Any, images: Path, store: Path, pictures: list[Picture], texts: list[str], **fails: str
) -> tuple[Vectors, Counting]:
    counting = Counting(model, **{"die_at": "\0", **fails})
    done = encode(counting, pictures, texts, ImageReader(str(images)), EmbeddingStore(str(store), model.id))
    assert done.new_pictures == counting.images
    return done.vectors, counting


def test_equal_contents_are_encoded_once_and_never_again(model: Any, images: Path, tmp_path: Path) -> None:
    pictures = [Picture("a.png"), Picture("copy.png"), Picture("b.png"), Picture("a.png", (0.0, 0.0, 12.0, 16.0))]
    vectors, first = run(model, images, tmp_path / "store", pictures, [*TEXTS, "a dog"])
    assert (first.images, sorted(first.texts), first.loads) == (3, sorted(TEXTS), 1)
    rows = vectors.pictures(pictures)
    assert rows[0] == rows[1] != rows[2]
    pixels = [np.full((16, 24, 3), c, np.uint8) for c in ((200, 10, 10), (10, 200, 10))]
    assert vectors.picture_vectors[rows[[0, 2]]] == pytest.approx(model.encode_images(pixels), abs=1e-5)
    assert vectors.text_vectors[vectors.texts(TEXTS)] == pytest.approx(model.encode_texts(TEXTS), abs=1e-5)
    assert vectors.cut == {TEXTS[2]}
    again, second = run(model, images, tmp_path / "store", pictures, [*TEXTS, "one more"])
    assert (second.images, second.texts) == (0, ["one more"])
    assert np.array_equal(again.text_vectors[again.texts(TEXTS)], vectors.text_vectors[vectors.texts(TEXTS)])
    (images / "b.png").write_bytes((images / "a.png").read_bytes())  # a name is not an identity
    _, third = run(model, images, tmp_path / "store", pictures, TEXTS)
    assert (third.images, third.loads) == (0, 0)


def test_a_killed_run_goes_on_where_it_was(
    model: Any, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "TEXT_PART", 2)
    texts = [f"{'very ' * n}long" for n in range(9)]
    with pytest.raises(KeyboardInterrupt):
        run(model, images, tmp_path / "store", [], texts, die_at=texts[5])
    vectors, rest = run(model, images, tmp_path / "store", [], texts)
    assert rest.texts == texts[4:]
    whole, _ = run(model, images, tmp_path / "other", [], texts)
    assert np.array_equal(vectors.text_vectors[vectors.texts(texts)], whole.text_vectors[whole.texts(texts)])


def test_what_cannot_be_encoded_is_a_fault(model: Any, images: Path, tmp_path: Path) -> None:
    pictures = [Picture("a.png"), Picture("gone.png"), Picture("broken.png"), Picture("a.png", (90.0, 0.0, 5.0, 5.0)),
                Picture("../out.png")]  # fmt: skip
    vectors, _ = run(model, images, tmp_path / "store", pictures, TEXTS, odd="no dog")
    assert vectors.pictures(pictures).tolist() == [0, -1, -1, -1, -1]
    kinds = {thing: fault.kind for thing, fault in vectors.faults.items()}
    assert kinds == {
        pictures[1]: "missing_image", pictures[2]: "unreadable_image", pictures[3]: "unreadable_image",
        pictures[4]: "forbidden_path", "no dog": "not_finite",
    }  # fmt: skip
    assert "24 x 16" in vectors.faults[pictures[3]].message
    healed, second = run(model, images, tmp_path / "store", pictures, TEXTS)
    assert second.texts == ["no dog"]
    assert "no dog" not in healed.faults


def test_the_store_refuses_what_does_not_fit(tmp_path: Path) -> None:
    store = EmbeddingStore(str(tmp_path), "m")
    store.add("texts", [text_key("a")], np.ones((1, 3), np.float32), [False])
    with pytest.raises(PlanError, match="vectors of 3 numbers, m gives 4"):
        store.add("texts", [text_key("b")], np.ones((1, 4), np.float32), [False])
    assert EmbeddingStore(str(tmp_path), "n").known("texts") == set()
    part = next(store.folder.list("texts"))
    store.folder.write(part.path, b"short")
    with pytest.raises(AuditError, match="is damaged"):
        store.known("texts")


def test_crops_are_pillows(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)
    for box in ((0.0, 0.0, 24.0, 16.0), (3.5, 2.49, 10.2, 8.8), (1.5, 0.5, 2.0, 2.0)):
        x, y, w, h = box
        assert np.array_equal(crop(pixels, box), np.asarray(Image.fromarray(pixels).crop((x, y, x + w, y + h))))
    assert crop(pixels, (20, 10, 10, 10)).shape == (6, 4, 3)
    with pytest.raises(ImageError, match="lies outside of the image of 24 x 16"):
        crop(pixels, (24, 0, 5, 5))


def test_clips_are_four_frames(model: Any, tmp_path: Path) -> None:
    cv2: Any = pytest.importorskip("cv2")
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(16):
        writer.write(np.full((48, 64, 3), 16 * number, np.uint8))
    writer.release()
    found = frames(path.read_bytes(), 4)
    assert [round(int(frame[20, 20, 0]) / 16) for frame in found] == [2, 6, 10, 14]
    vectors, counting = run_clip(model, tmp_path)
    mean = model.encode_images(found).mean(axis=0)
    assert counting == 4
    assert vectors.picture_vectors[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    with pytest.raises(ImageError, match="no frame of the clip"):
        frames(b"nothing", 4)


def run_clip(model: Any, folder: Path) -> tuple[Vectors, int]:
    counting = Counting(model, die_at="\0")
    store = EmbeddingStore(str(folder / "store"), model.id)
    return encode(counting, [Picture("clip.avi")], [], ImageReader(str(folder)), store).vectors, counting.images
