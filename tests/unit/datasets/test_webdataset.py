from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from negscale.core.errors import ConfigError
from negscale.datasets.webdataset import WebDatasetConfig
from tests.unit.datasets.layouts import kinds, picture, read_all, write_tar


def config(root: Path, **more: object) -> WebDatasetConfig:
    return WebDatasetConfig(root=str(root), **more)  # pyright: ignore[reportArgumentType]


def samples(count: int, start: int = 0) -> list[tuple[str, bytes]]:
    return [
        member
        for i in range(start, start + count)
        for member in ((f"{i:05d}.png", picture(i)), (f"{i:05d}.txt", f"caption {i}".encode()))
    ]


def test_captions_and_byte_ranges(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", samples(10))
    write_tar(tmp_path / "00001.tar", samples(3, start=10))
    chosen = config(tmp_path, shard_rows=4)
    rows = read_all(chosen.build())
    assert [row["caption"] for row in rows] == [f"caption {i}" for i in range(13)]
    assert rows[12]["id"] == "00001/00012"
    assert kinds(rows) == [None] * 13
    reader = chosen.reader()
    assert [reader.read(row["image"])[0, 0, 0] for row in rows] == list(range(13))
    assert [row["id"] for row in read_all(config(tmp_path).build())] == [row["id"] for row in rows]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_json_captions(tmp_path: Path, format: int) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=format) as tar:
        for i in range(3):
            name = "deep/" * 30 + f"long-name-{i}"  # needs an extended header
            for extension, data in (("png", picture(i)), ("json", json.dumps({"caption": f"caption {i}"}).encode())):
                info = tarfile.TarInfo(f"{name}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            tar.addfile(tarfile.TarInfo(f"{name}.folder"))
    chosen = config(tmp_path, shard_rows=2)
    rows = read_all(chosen.build())
    assert [row["caption"] for row in rows] == ["caption 0", "caption 1", "caption 2"]
    assert [chosen.reader().read(row["image"])[0, 0, 0] for row in rows] == [0, 1, 2]
    assert rows[1]["id"] == "x/" + "deep/" * 30 + "long-name-1"


def test_bad_samples(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", [
        *samples(1), ("a.txt", b"no image"), ("b.jpg", b"x"), ("c.jpg", b"x"), ("c.txt", b"caf\xe9"),
        ("d.jpg", b"x"), ("d.json", b"{"), ("e.jpg", b"x"), ("e.json", b'{"text": 1}'), ("f.jpg", b"x"), ("f.txt", b" "),
        *samples(1), ("g.jpg", b"x"), ("g.json", json.dumps({"caption": "fine"}).encode()),
    ])  # fmt: skip
    rows = read_all(config(tmp_path).build())
    assert kinds(rows) == [
        None, "missing_image_entry", "missing_caption", "not_utf8", "schema", "schema", "empty_caption",
        "duplicate_id", None,
    ]  # fmt: skip
    assert list(kinds(read_all(config(tmp_path, shard_rows=3).build()))) == kinds(rows)


@pytest.mark.parametrize("keep", [0.35, 0.5, 0.77])
def test_cut_tars_give_their_rows_up_to_the_cut(tmp_path: Path, keep: float) -> None:
    write_tar(tmp_path / "a.tar", samples(2))
    write_tar(tmp_path / "cut.tar", samples(20))
    data = (tmp_path / "cut.tar").read_bytes()[: 20 * 2048]  # without the closing blocks
    (tmp_path / "cut.tar").write_bytes(data[: int(len(data) * keep) + 17])
    chosen = config(tmp_path, shard_rows=5)
    rows = read_all(chosen.build())
    whole = int(20 * keep)
    assert kinds(rows) == [None] * (2 + whole) + ["broken_tar"]
    assert "cut.tar is broken at byte" in rows[-1]["quarantine"]["message"]
    assert [chosen.reader().read(row["image"])[0, 0, 0] for row in rows[2:-1]] == list(range(whole))


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", samples(10))
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[4 * 2048 : 4 * 2048 + 100] = b"\xab" * 100
    (tmp_path / "a.tar").write_bytes(data)
    assert kinds(read_all(config(tmp_path).build())) == [None] * 4 + ["broken_tar"]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file matches"):
        config(tmp_path).build().list()
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no sample in 1 files; a\.tar: zero bytes"):
        config(tmp_path).build().list()
    (tmp_path / "b.tar.gz").write_bytes(b"x")
    with pytest.raises(ConfigError, match="compressed"):
        config(tmp_path, files="*.gz").build().list()
