"""Trees as img2dataset 1.47 writes them: files, webdataset, parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.errors import ConfigError
from negscale.datasets.image_text import ParquetConfig
from negscale.datasets.img2dataset import Img2datasetConfig
from negscale.datasets.webdataset import WebDatasetConfig
from tests.unit.datasets.layouts import kinds, picture, read_all, write_tar

STATUS = {0: "success", 1: "failed_to_download", 2: "success", 3: "failed_to_resize", 4: "success"}


def meta(number: int) -> dict[str, Any]:
    done = STATUS[number] == "success"
    return {
        "key": f"{number:09d}", "status": STATUS[number], "caption": f"caption {number}", "url": f"http://e.org/{number}",
        "error_message": None if done else "HTTP Error 404: Not Found", "width": 8 if done else None,
        "height": 8 if done else None, "original_width": 90 if done else None, "original_height": 60 if done else None,
        "exif": "{}" if done else None, "sha256": "00" * 32 if done else None,
    }  # fmt: skip


def write_tree(root: Path, layout: str) -> None:
    items = [meta(n) for n in STATUS]
    good = [item for item in items if item["status"] == "success"]
    table = pa.Table.from_pylist(items)
    if layout == "parquet":
        done = {item["key"] for item in good}
        images = [picture(int(i["key"])) if i["key"] in done else None for i in items]
        texts = [i["caption"] if i["key"] in done else None for i in items]
        table = table.append_column("jpg", pa.array(images, pa.binary())).append_column("txt", pa.array(texts))
    members: list[tuple[str, bytes]] = []
    for item in good:
        members.append((f"{item['key']}.jpg", picture(int(item["key"]))))
        members.append((f"{item['key']}.txt", item["caption"].encode()))
        members.append((f"{item['key']}.json", json.dumps(item, indent=4).encode()))
    root.mkdir(parents=True, exist_ok=True)
    if layout == "webdataset":
        write_tar(root / "00000.tar", members)
    if layout == "files":
        (root / "00000").mkdir()
        for name, data in members:
            (root / "00000" / name).write_bytes(data)
    pq.write_table(table, root / "00000.parquet")
    (root / "00000_stats.json").write_text(json.dumps({"count": len(items), "successes": len(good)}))


def test_files(tmp_path: Path) -> None:
    write_tree(tmp_path, "files")
    config = Img2datasetConfig(root=str(tmp_path), shard_rows=2)
    rows = read_all(config.build())
    assert [row["id"] for row in rows] == [f"00000/{n:09d}" for n in range(5)]
    assert [row["rejection"] and row["rejection"]["reason"] for row in rows] == [
        None, "failed_to_download", None, "failed_to_resize", None,
    ]  # fmt: skip
    assert not any(kinds(rows))
    reader = config.reader()
    for n in (0, 2, 4):
        assert rows[n]["caption"] == f"caption {n}"
        assert (reader.read(rows[n]["image"]) == n).all()
        assert rows[n]["image"]["height_px"] == 8


def test_files_that_went_missing_or_were_cut(tmp_path: Path) -> None:
    write_tree(tmp_path, "files")
    (tmp_path / "00000" / "000000002.jpg").unlink()
    (tmp_path / "00001.parquet").write_bytes(b"PAR1 cut")
    rows = read_all(Img2datasetConfig(root=str(tmp_path)).build())
    assert kinds(rows) == [None, None, "missing_image", None, None, "unreadable_file"]


def test_webdataset(tmp_path: Path) -> None:
    write_tree(tmp_path, "webdataset")
    config = WebDatasetConfig(root=str(tmp_path))
    rows = read_all(config.build())
    assert [row["id"] for row in rows] == [f"00000/{n:09d}" for n in (0, 2, 4)]
    assert [row["caption"] for row in rows] == ["caption 0", "caption 2", "caption 4"]
    assert (config.reader().read(rows[1]["image"]) == 2).all()
    with pytest.raises(ConfigError, match="no file matches"):
        Img2datasetConfig(root=str(tmp_path), files="*.pq").build().list()


def test_parquet(tmp_path: Path) -> None:
    write_tree(tmp_path, "parquet")
    config = ParquetConfig(root=str(tmp_path), image_column="jpg", id_column="key")
    rows = read_all(config.build())
    assert [row["caption"] for row in rows] == [f"caption {n}" for n in range(5)]
    assert (config.reader().read(rows[4]["image"]) == 4).all()


def test_a_list_that_is_none_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.jpg"], "text": ["b"]}), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=r"x.parquet has no column 'key'.*source.kind=parquet"):
        Img2datasetConfig(root=str(tmp_path)).build().list()
