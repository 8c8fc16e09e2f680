"""Encode once: by content, in runs that resume and quarantine, with a real, small open_clip model and pictures on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negscale import app
from negscale.backends import dual_encoders
from negscale.backends.dual_encoders import OpenClipEncoderConfig
from negscale.benchmarks.embeddings import EmbeddingStore
from negscale.benchmarks.encoding import ThingSizes, Vectors, new_things, read_vectors, things_of
from negscale.benchmarks.pictures import Picture
from negscale.benchmarks.suite_config import SuiteConfig
from negscale.core.errors import AuditError, PlanError
from negscale.core.run import Manifest
from negscale.datasets.images import ImageReader
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from negscale.suite import embed, store_of
from tests.unit.backends.made_vision import make_open_clip
from tests.unit.benchmarks.files import png

pytest.importorskip("torch")
pytest.importorskip("open_clip")

TEXTS = ["a dog", "no dog", "a cat in the park " * 30, "a tree"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OpenClipEncoderConfig:
    name, path = make_open_clip(tmp_path_factory.mktemp("model"))
    return OpenClipEncoderConfig(model=name, path=str(path))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    png(folder / "a.png", (200, 10, 10))
    png(folder / "b.png", (10, 200, 10))
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "broken.png").write_bytes(b"not an image")
    return folder


def run(
    model: OpenClipEncoderConfig, images: Path, pictures: Sequence[Picture], texts: Sequence[str], **sizes: int
) -> tuple[Vectors, Manifest | None, EmbeddingStore]:
    """The vectors, and the run that made what was new."""
    root = str(images.parent / "runs")
    config = SuiteConfig.model_validate({
        "data_root": "", "models": {"m": model}, "sizes": sizes, "runtime": {"executor": "local", "run_root": root},
    })  # fmt: skip
    store = store_of(model, config.store_root)
    things = things_of(pictures, texts, ImageReader(str(images)))
    manifest = embed(model, things, store, str(images), config)
    return read_vectors(store, things), manifest, store


def test_equal_contents_are_encoded_once_and_never_again(model: OpenClipEncoderConfig, images: Path) -> None:
    pictures = [Picture("a.png"), Picture("copy.png"), Picture("b.png"), Picture("a.png", (0.0, 0.0, 12.0, 16.0))]
    vectors, first, store = run(model, images, pictures, [*TEXTS, "a dog"])
    assert first is not None
    assert (first.rows_read, first.rows_kept, first.shards) == (3 + len(TEXTS), 3 + len(TEXTS), 2)
    assert audit(RunFolder(vectors.runs[0])).passed
    rows = vectors.pictures(pictures)
    assert rows[0] == rows[1] != rows[2]
    encoder = model.build()
    encoder.load()
    pixels = [np.full((16, 24, 3), c, np.uint8) for c in ((200, 10, 10), (10, 200, 10))]
    assert vectors.picture_vectors[rows[[0, 2]]] == pytest.approx(encoder.encode_images(pixels), abs=1e-5)
    assert vectors.text_vectors[vectors.texts(TEXTS)] == pytest.approx(encoder.encode_texts(TEXTS), abs=1e-5)
    assert vectors.cut == {TEXTS[2]}
    again, second, _ = run(model, images, pictures, [*TEXTS, "one more"])
    assert second is not None
    assert second.rows_read == 1
    assert len(again.runs) == 2
    assert np.array_equal(again.text_vectors[again.texts(TEXTS)], vectors.text_vectors[vectors.texts(TEXTS)])
    (images / "b.png").write_bytes((images / "a.png").read_bytes())  # a name is not an identity
    _, third, _ = run(model, images, pictures, TEXTS)
    assert third is None
    other = model.model_copy(update={"dtype": "bfloat16"})
    assert store_of(other, str(images.parent / "runs" / "embeddings")).uri != store.uri  # another precision


def test_what_cannot_be_encoded_is_a_fault(model: OpenClipEncoderConfig, images: Path) -> None:
    outside = (90.0, 0.0, 5.0, 5.0)
    pictures = [
        Picture("a.png"),
        Picture("gone.png"),
        Picture("broken.png"),
        Picture("a.png", outside),
        Picture("../x.png"),
    ]
    vectors, manifest, _ = run(model, images, pictures, TEXTS)
    assert (vectors.pictures(pictures) >= 0).tolist() == [True, False, False, False, False]
    kinds = {thing: fault.kind for thing, fault in vectors.faults.items()}
    assert kinds == {
        pictures[1]: "missing_image", pictures[2]: "unreadable_image", pictures[3]: "unreadable_image",
        pictures[4]: "forbidden_path",
    }  # fmt: skip
    assert "24 x 16" in vectors.faults[pictures[3]].message
    assert manifest is not None
    assert manifest.quarantined == {"embed/unreadable_image": 2}  # what was never read is no row
    _, second, _ = run(model, images, pictures, TEXTS)
    assert second is None  # a broken thing is retried with `negscale retry`, not by every evaluation


def test_a_model_of_nan_is_a_fault_that_a_retry_heals(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    name, path = make_open_clip(tmp_path)
    healthy = path.read_bytes()
    weights = load_file(path)
    weights["text_projection"] *= float("nan")
    save_file(weights, path)
    model = OpenClipEncoderConfig(model=name, path=str(path))
    vectors, manifest, _ = run(model, images, [Picture("a.png")], TEXTS)
    assert manifest is not None
    assert manifest.quarantined == {"embed/not_finite": len(TEXTS)}
    assert {fault.kind for fault in vectors.faults.values()} == {"not_finite"}
    assert vectors.pictures([Picture("a.png")]).tolist() == [0]
    digest = model.content()["file"]
    path.write_bytes(healthy)  # as if the device had been at fault: same model, other answers
    monkeypatch.setattr(dual_encoders, "_file_digest", lambda _: digest)
    mended, tried = app.retry(vectors.runs[0], ["kind=not_finite"])
    assert (tried, mended.rows_quarantined) == (len(TEXTS), 0)
    healed, manifest, _ = run(model, images, [Picture("a.png")], TEXTS)
    assert manifest is None
    assert (healed.texts(TEXTS) >= 0).all()


def test_shards_are_of_like_length_and_batches_are_eighths(images: Path) -> None:
    texts = [f"{'very ' * (n % 7)}long {n:03d}" for n in range(45)]
    things = things_of([Picture("a.png")], texts, ImageReader(str(images)))
    rows = new_things(things, set(), ThingSizes(text_batch=4))
    assert rows is not None
    shards = rows.group_by("shard", use_threads=False).aggregate([("batch", "count"), ("batch", "max")]).to_pydict()
    assert shards == {
        "shard": ["pictures-00000", "texts-00000", "texts-00001"], "batch_count": [1, 32, 13], "batch_max": [0, 7, 6],
    }  # fmt: skip
    said = [text for text in rows["text"].to_pylist() if text]
    assert [len(text) for text in said] == sorted(map(len, texts))
    assert new_things(things, set(rows["id"].to_pylist())) is None


def test_the_store_refuses_what_does_not_fit(model: OpenClipEncoderConfig, images: Path) -> None:
    vectors, _, store = run(model, images, [], ["a"])
    part = next(RunFolder(vectors.runs[0]).folder.list("data"))
    table = pq.read_table(Path(vectors.runs[0]) / part.path)
    wide = table.set_column(table.schema.get_field_index("vector"), "vector", [[b"\0" * 400]])
    pq.write_table(wide, Path(vectors.runs[0]) / part.path)
    with pytest.raises(PlanError, match="vectors of 24 and 100 numbers"):
        run(model, images, [], ["a", "b"])
    (Path(vectors.runs[0]) / part.path).write_bytes(b"short")
    with pytest.raises(AuditError, match="is damaged"):
        store.known()


def test_clips_are_the_mean_of_four_frames(model: OpenClipEncoderConfig, tmp_path: Path) -> None:
    cv2: Any = pytest.importorskip("cv2")
    from negscale.datasets.things import frames

    (tmp_path / "clips").mkdir()
    path = tmp_path / "clips" / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(16):
        writer.write(np.full((48, 64, 3), 16 * number, np.uint8))
    writer.release()
    vectors, _, _ = run(model, tmp_path / "clips", [Picture("clip.avi")], [])
    encoder = model.build()
    encoder.load()
    mean = encoder.encode_images(frames(path.read_bytes(), 4)).mean(axis=0)
    assert vectors.picture_vectors[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
