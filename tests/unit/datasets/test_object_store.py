"""The same sources on an emulated S3, by URI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.image import ImageError
from negscale.datasets.captions import image_ref
from negscale.datasets.coco import CocoConfig
from negscale.datasets.folder import FolderConfig
from negscale.datasets.image_text import ParquetConfig
from negscale.datasets.images import ImageReader
from negscale.datasets.webdataset import WebDatasetConfig
from tests.unit.datasets.layouts import picture, read_all, write_coco, write_tar


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("sources")
        yield "s3://sources"
    server.stop()


def upload(folder: Path, uri: str) -> None:
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).put(f"{folder}/", uri.removeprefix("s3://") + "/", recursive=True)


def test_every_layout_reads_the_same_from_s3(bucket: str, tmp_path: Path) -> None:
    write_coco(tmp_path / "coco", [{"id": 1, "file_name": "1.png"}], [{"id": 5, "image_id": 1, "caption": "a dog"}])
    (tmp_path / "coco" / "val2017").mkdir()
    (tmp_path / "coco" / "val2017" / "1.png").write_bytes(picture(5))
    (tmp_path / "folder" / "images").mkdir(parents=True)
    (tmp_path / "folder" / "images" / "a.png").write_bytes(picture(6))
    (tmp_path / "folder" / "captions.csv").write_text("image,caption\na.png,a cat\n")
    (tmp_path / "parquet" / "deep").mkdir(parents=True)
    cells = pa.array([{"bytes": picture(i), "path": None} for i in range(6)])
    table = pa.table({"image": cells, "caption": [f"caption {i}" for i in range(6)]})
    pq.write_table(table, tmp_path / "parquet" / "deep" / "x.parquet", row_group_size=4)
    members = [(f"{i}.{end}", data) for i in range(3) for end, data in (("png", picture(i)), ("txt", b"some words"))]
    write_tar(tmp_path / "web" / "0.tar", members)
    upload(tmp_path, f"{bucket}/data")
    local, remote = str(tmp_path), f"{bucket}/data"
    pairs = [
        [CocoConfig(root=f"{root}/coco", split="val2017") for root in (local, remote)],
        [FolderConfig(root=f"{root}/folder") for root in (local, remote)],
        [ParquetConfig(root=f"{root}/parquet", shard_rows=4) for root in (local, remote)],
        [WebDatasetConfig(root=f"{root}/web") for root in (local, remote)],
    ]
    for here, there in pairs:
        rows = read_all(there.build())
        assert rows == read_all(here.build())
        assert here.build().list().identity == there.build().list().identity
        images = [there.reader().read(row["image"])[0, 0, 0] for row in rows]
        assert images == [here.reader().read(row["image"])[0, 0, 0] for row in rows]


def test_missing_and_absolute_objects(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(9))
    upload(tmp_path, f"{bucket}/other")
    reader = ImageReader(f"{bucket}/mine", [f"{bucket}/other"])
    assert reader.read(image_ref(f"{bucket}/other/a.png"))[0, 0, 0] == 9
    with pytest.raises(ImageError, match=r"none\.png") as caught:
        reader.read(image_ref("none.png"))
    assert caught.value.kind == "missing_image"
    for uri in (f"{bucket}/else/a.png", f"{bucket}/other/../else/a.png", "s3://another/a.png"):
        with pytest.raises(ImageError) as caught:
            reader.read(image_ref(uri))
        assert caught.value.kind == "forbidden_path"
