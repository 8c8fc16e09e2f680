from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from negscale.backends.image_store import ImageStoreConfig
from negscale.core.errors import FatalError
from negscale.core.image import ImageError
from negscale.datasets.images import ImageReader


def pictures(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(n).integers(0, 255, (24 + n, 40, 3), np.uint8) for n in range(count)]


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_stored_images_are_read_back_by_reference(format: str, tmp_path: Path) -> None:
    store = ImageStoreConfig.model_validate({"format": format}).build(str(tmp_path))
    store.load()
    images = pictures(30)
    with store.batch() as batch:
        numbers = [batch.add(image) for image in images]
        refs = batch.commit()
    store.close()
    assert numbers == list(range(30))
    assert len({ref["uri"] for ref in refs}) == 1
    reader = ImageReader(str(tmp_path))
    for image, ref in zip(images, refs, strict=True):
        found = reader.read(ref)
        assert (ref["height_px"], ref["width_px"]) == image.shape[:2]
        if format == "png":
            assert np.array_equal(found, image)
        else:
            assert np.abs(found.astype(int) - image).mean() < 12  # noise is the worst case for JPEG
    tar = tmp_path / refs[0]["uri"]
    data = bytearray(tar.read_bytes())
    data[refs[3]["offset"] + 40] ^= 1
    tar.write_bytes(data)
    with pytest.raises(ImageError, match="sha256"):
        reader.read(refs[3])


def test_a_batch_that_runs_twice_writes_one_object_and_one_that_fails_none(tmp_path: Path) -> None:
    store = ImageStoreConfig().build(str(tmp_path))
    store.load()
    images = pictures(5)
    found = []
    for _ in range(2):
        with store.batch() as batch:
            for image in [*images, images[0]]:
                batch.add(image)
            found.append(batch.commit())
    assert found[0] == found[1]
    assert found[0][0] == found[0][5]  # equal images are stored once
    with contextlib.suppress(RuntimeError), store.batch() as batch:
        batch.add(images[0])
        raise RuntimeError("the editor broke")
    with store.batch() as batch:
        assert batch.commit() == []
    assert [path.name for path in (tmp_path / "images").iterdir()] == [found[0][0]["uri"].rpartition("/")[2]]


def test_a_store_without_a_folder_is_refused() -> None:
    with pytest.raises(FatalError, match="build\\(store"):
        ImageStoreConfig().build().load()
    with pytest.raises(FatalError, match="load"):
        ImageStoreConfig().build("x").batch()
