from __future__ import annotations

import resource
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.errors import ConfigError
from negscale.datasets.image_text import ParquetConfig
from tests.unit.datasets.layouts import kinds, picture, read_all


def config(root: Path, **more: object) -> ParquetConfig:
    return ParquetConfig(root=str(root), **more)  # pyright: ignore[reportArgumentType]


def test_paths_and_captions_over_files_and_row_groups(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for part in range(2):
        captions = [f"caption {part} {i}" for i in range(25)]
        table = pa.table({"image": [f"images/{part}-{i}.png" for i in range(25)], "caption": captions})
        pq.write_table(table, tmp_path / "train" / f"part-{part}.parquet", row_group_size=7)
    rows = read_all(config(tmp_path, shard_rows=10).build())
    assert len(rows) == 50
    assert kinds(rows) == [None] * 50
    assert [row["caption"] for row in rows] == [f"caption {part} {i}" for part in range(2) for i in range(25)]
    assert rows[30]["id"] == "train/part-1/00000005"
    assert rows[30]["image"]["uri"] == "images/1-5.png"
    other = read_all(config(tmp_path, shard_rows=9).build())
    assert [row["id"] for row in other] == [row["id"] for row in rows]


def test_embedded_images_as_hugging_face_writes_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    data = {"image": [{"bytes": picture(i), "path": f"{i}.png"} for i in range(9)], "text": [f"t{i}" for i in range(9)]}
    datasets.Dataset.from_dict(data, features=features).to_parquet(str(tmp_path / "data.parquet"), batch_size=4)
    chosen = config(tmp_path, caption_column="text", shard_rows=4)
    rows = read_all(chosen.build())
    assert rows[7]["image"]["uri"] == "data.parquet#image:7"
    assert rows[7]["caption"] == "t7"
    reader = chosen.reader()
    assert [reader.read(row["image"])[0, 0, 0] for row in rows] == list(range(9))


def test_bad_rows(tmp_path: Path) -> None:
    captions = pa.array([b"fine", b"caf\xe9", None, b"", b"a \x00", b"word " * 300, b"no image"], pa.binary())
    images = ["a.png"] * 6 + [None]
    pq.write_table(pa.table({"image": images, "caption": captions}), tmp_path / "x.parquet")
    rows = read_all(config(tmp_path).build())
    assert kinds(rows) == [
        None, "not_utf8", "empty_caption", "empty_caption", "control_characters", "caption_too_long",
        "missing_image_entry",
    ]  # fmt: skip
    # the same bytes in a column that claims to be text
    text = pa.Array.from_buffers(pa.string(), 7, captions.buffers())
    pq.write_table(pa.table({"image": images, "caption": text}), tmp_path / "x.parquet")
    assert kinds(read_all(config(tmp_path).build())) == kinds(rows)


def test_ids_of_the_data(tmp_path: Path) -> None:
    table = pa.table({"image": ["a"] * 5, "caption": ["x"] * 5, "key": [7, 7, None, 9, 7]})
    pq.write_table(table, tmp_path / "x.parquet")
    rows = read_all(config(tmp_path, id_column="key", shard_rows=3).build())
    assert [row["id"] for row in rows] == [
        "00000-x-000000000/7", "00000-x-000000000/7~2", "x/00000002", "00000-x-000000003/9", "00000-x-000000003/7",
    ]  # fmt: skip
    assert kinds(rows) == [None, "duplicate_id", "schema", None, None]


def test_all_captions_of_the_image(tmp_path: Path) -> None:
    table = pa.table({"image": ["a"] * 2, "caption": ["x", "y"], "all": [["x", "y"], None]})
    pq.write_table(table, tmp_path / "x.parquet")
    rows = read_all(config(tmp_path, image_captions_column="all").build())
    assert [row["image_captions"] for row in rows] == [["x", "y"], []]


def test_a_missing_column_names_those_that_exist(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["a"], "text": ["b"], "n": [1], "lists": [[1]]}), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match="no column 'image'; its columns are url, text, n, lists"):
        config(tmp_path).build().list()
    with pytest.raises(ConfigError, match=r"source\.caption_column.*int64; expected text"):
        config(tmp_path, image_column="url", caption_column="n").build().list()
    with pytest.raises(ConfigError, match=r"list<.*int64>; expected text, or a list of texts"):
        config(tmp_path, image_column="url", caption_column="lists").build().list()
    with pytest.raises(ConfigError, match=r"no file matches '\*\*/\*\.tar'; there is: x.parquet"):
        config(tmp_path, files="**/*.tar").build().list()


def test_broken_files_are_quarantined_rows_unless_all_are(tmp_path: Path) -> None:
    table = pa.table({"image": [f"{i}" for i in range(2000)], "caption": [f"caption {i}" for i in range(2000)]})
    pq.write_table(table, tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:3000])
    (tmp_path / "c.parquet").write_bytes(b"")
    damaged = bytearray(whole)
    damaged[100:8000] = bytes(7900)
    (tmp_path / "d.parquet").write_bytes(damaged)
    rows = read_all(config(tmp_path).build())
    assert len(rows) == 4002
    assert kinds(rows)[:2000] == [None] * 2000
    assert set(kinds(rows)[2000:]) == {"unreadable_file"}
    assert "b.parquet" in rows[2000]["quarantine"]["message"]
    assert rows[2000]["id"] == "b"
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "d.parquet").unlink()
    with pytest.raises(ConfigError, match="none of 2 files is readable"):
        config(tmp_path).build().list()


def test_listing_reads_footers_only(tmp_path: Path) -> None:
    """120 files of 10,000 rows; the full 1,200 are measured by the benchmarks."""
    table = pa.table({"image": pa.array(["a"] * 10_000).dictionary_encode(), "caption": ["b"] * 10_000})
    pq.write_table(table, tmp_path / "0000.parquet", row_group_size=1000)
    data = (tmp_path / "0000.parquet").read_bytes()
    for number in range(1, 120):
        (tmp_path / f"{number:04d}.parquet").write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    listing = config(tmp_path).build().list()
    assert listing.rows == 1_200_000
    assert len(listing.shards) == 120 * 20
    assert time.monotonic() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
