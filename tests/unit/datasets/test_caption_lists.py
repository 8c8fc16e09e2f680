from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.datasets.image_text import ParquetConfig
from tests.unit.datasets.layouts import kinds, picture, read_all

SAID: list[list[str | None] | None] = [
    ["a", "b", "c"],
    [],
    None,
    ["d"],
    ["e", None],
    *([f"f{n}", f"g{n}"] for n in range(20)),
]


@pytest.mark.parametrize("shard_rows", [1, 3, 1000])
@pytest.mark.parametrize("type_", [pa.list_(pa.string()), pa.large_list(pa.large_string())])
def test_a_row_for_each_caption(tmp_path: Path, shard_rows: int, type_: pa.DataType) -> None:
    images = [f"{n}.png" for n in range(len(SAID))]
    table = pa.table({"image": images, "captions": pa.array(SAID, type_)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=4)
    rows = read_all(ParquetConfig(root=str(tmp_path), caption_column="captions", shard_rows=shard_rows).build())
    expected: list[Any] = []
    for n, said in enumerate(SAID):
        expected += [(f"x/{n:08d}-{k}", f"{n}.png", text or "") for k, text in enumerate(said or [None])]
    assert [(row["id"], row["image"]["uri"], row["caption"]) for row in rows] == expected
    assert [row["image_captions"] for row in rows[:3]] == [["a", "b", "c"]] * 3
    assert kinds(rows)[:8] == [None, None, None, "empty_caption", "empty_caption", None, None, "empty_caption"]


def test_one_bad_caption_in_a_list_breaks_itself_alone(tmp_path: Path) -> None:
    texts = pa.array([b"fine", b"caf\xe9", b"fine too"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    lists = pa.ListArray.from_arrays(pa.array([0, 3], pa.int32()), text)
    pq.write_table(pa.table({"image": ["a.png"], "caption": lists}), tmp_path / "x.parquet")
    rows = read_all(ParquetConfig(root=str(tmp_path)).build())
    assert kinds(rows) == [None, "not_utf8", None]


def test_embedded_images_as_hugging_face_writes_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    texts = datasets.Sequence(datasets.Value("string"))
    features = datasets.Features({"image": datasets.Image(), "caption": texts, "img_id": datasets.Value("string")})
    data = {
        "image": [{"bytes": picture(i), "path": f"{i}.png"} for i in range(6)], "img_id": [f"i{i}" for i in range(6)],
        "caption": [[f"{i} first", f"{i} second"] for i in range(6)],
    }  # fmt: skip
    datasets.Dataset.from_dict(data, features=features).to_parquet(str(tmp_path / "data.parquet"), batch_size=4)
    chosen = ParquetConfig(root=str(tmp_path), id_column="img_id", shard_rows=5)
    rows = read_all(chosen.build())
    assert [row["caption"] for row in rows[:4]] == ["0 first", "0 second", "1 first", "1 second"]
    assert (rows[11]["caption_id"], rows[11]["image_captions"]) == ("i5-1", ["5 first", "5 second"])
    assert [chosen.reader().read(row["image"])[0, 0, 0] for row in rows] == [n // 2 for n in range(12)]
