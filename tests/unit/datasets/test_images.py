from __future__ import annotations

import pickle
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.image import ImageError, decode
from negscale.datasets.captions import image_ref
from negscale.datasets.images import ImageReader
from tests.unit.datasets.layouts import picture


def kind_of(reader: ImageReader, uri: str | None, **more: object) -> str:
    with pytest.raises(ImageError) as caught:
        reader.read({**image_ref(uri), **more})
    assert not uri or uri.partition("#")[0].rpartition("/")[2] in str(caught.value)
    return caught.value.kind


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "a.png").write_bytes(picture(50))
    (tmp_path / "data" / "two.bin").write_bytes(picture(60) + picture(70))
    (tmp_path / "secret.png").write_bytes(picture(1))
    return tmp_path / "data"


def test_files_and_byte_ranges(root: Path) -> None:
    reader = pickle.loads(pickle.dumps(ImageReader(str(root))))  # noqa: S301 - our own object
    assert reader.read(image_ref("sub/a.png"))[0, 0, 0] == 50
    assert reader.read(image_ref("sub/../sub/./a.png"))[0, 0, 0] == 50
    first = len(picture(60))
    assert reader.read(image_ref("two.bin", offset=0, length=first))[0, 0, 0] == 60
    assert reader.read(image_ref("two.bin", offset=first, length=len(picture(70))))[0, 0, 0] == 70
    assert kind_of(reader, "two.bin", offset=first, length=10_000) == "truncated_image"


def test_a_hash_sign_in_a_file_name_is_no_fragment(root: Path) -> None:
    (root / "x#1.png").write_bytes(picture(33))
    assert ImageReader(str(root)).read(image_ref("x#1.png"))[0, 0, 0] == 33


def test_sha256_is_verified_when_it_is_there(root: Path) -> None:
    reader = ImageReader(str(root))
    digest = sha256(picture(50)).digest()
    assert reader.read(image_ref("sub/a.png", sha256=digest))[0, 0, 0] == 50
    assert kind_of(reader, "sub/a.png", sha256=bytes(32)) == "changed_image"


def test_missing_images_name_their_path(root: Path) -> None:
    reader = ImageReader(str(root))
    assert kind_of(reader, "sub/none.png") == "missing_image"
    assert kind_of(reader, "sub") == "missing_image"
    assert kind_of(reader, "sub/a.png/b.png") == "missing_image"
    assert kind_of(reader, None) == "missing_image"


@pytest.mark.parametrize("uri", ["../secret.png", "sub/../../secret.png", "http://example.org/a.png", "file:///x.png"])
def test_references_that_leave_the_root_are_refused(root: Path, uri: str) -> None:
    assert kind_of(ImageReader(str(root)), uri) == "forbidden_path"


def test_absolute_references_need_an_allowed_root(root: Path) -> None:
    outside = root.parent / "secret.png"
    assert kind_of(ImageReader(str(root)), str(outside)) == "forbidden_path"
    assert ImageReader(str(root), [str(root.parent)]).read(image_ref(str(outside)))[0, 0, 0] == 1
    assert ImageReader(str(root)).read(image_ref(str(root / "sub" / "a.png")))[0, 0, 0] == 50
    assert kind_of(ImageReader(str(root)), f"{root}/../secret.png") == "forbidden_path"
    assert kind_of(ImageReader(str(root), [str(root)]), f"{root}x/secret.png") == "forbidden_path"


def test_unreadable_storage_is_worth_a_retry(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ImageReader(str(root))
    reader.read(image_ref("sub/a.png"))

    def fails(self: Path) -> bytes:
        raise TimeoutError("no answer")

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(ImageError, match="no answer") as caught:
        reader.read(image_ref("sub/a.png"))
    assert caught.value.kind == "storage_error"
    assert caught.value.retryable


def test_cells_of_parquet_files(root: Path) -> None:
    cells = [{"bytes": picture(i), "path": None} for i in range(20)]
    cells[3] = {"bytes": None, "path": "sub/a.png"}
    cells[4] = {"bytes": None, "path": None}
    table = pa.table({"image": cells, "raw": [picture(100 + i) for i in range(20)]})
    pq.write_table(table, root / "p.parquet", row_group_size=6)
    reader = ImageReader(str(root))
    assert [reader.read(image_ref(f"p.parquet#image:{i}"))[0, 0, 0] for i in (0, 19, 3, 7)] == [0, 19, 50, 7]
    assert reader.read(image_ref("p.parquet#raw:8"))[0, 0, 0] == 108
    assert kind_of(reader, "p.parquet#image:4") == "missing_image"
    assert kind_of(reader, "p.parquet#image:20") == "missing_image"
    assert kind_of(reader, "p.parquet#nothing:1") == "unreadable_image"
    assert kind_of(reader, "none.parquet#image:1") == "missing_image"
    assert kind_of(reader, "../p.parquet#image:1") == "forbidden_path"


def test_toyworld_is_drawn_on_demand() -> None:
    reader = ImageReader()
    image = reader.read(image_ref("toyworld:7/3"))
    assert image.shape == (96, 96, 3)
    assert np.array_equal(image, decode(reader.read_bytes(image_ref("toyworld:7/3"))))
    assert not np.array_equal(image, reader.read(image_ref("toyworld:7/4")))
