from __future__ import annotations

import gzip
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from negscale.core.errors import ConfigError
from negscale.core.schema import ENVELOPE, URL_CAPTION
from negscale.datasets.cc12m import CC12MConfig
from tests.unit.datasets.layouts import kinds


def rows_of(root: Path, **config: Any) -> list[dict[str, Any]]:
    source = CC12MConfig(root=str(root), **config).build()
    listing = source.list()
    assert len({shard.name for shard in listing.shards}) == len(listing.shards)
    found = []
    for shard in pickle.loads(pickle.dumps(listing.shards)):  # noqa: S301 - our own object
        table = source.read(shard, None)
        assert table.schema.equals(pa.schema([*ENVELOPE, *URL_CAPTION]))
        assert len(table) == shard.rows
        found += table.to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return found


LINES = [f"http://example.org/{n}.jpg\tcaption number {n}" for n in range(1, 26)]


@pytest.mark.parametrize("size", [1, 7, 25, 100])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", ["cc12m.tsv", "cc12m.tsv.gz"])
def test_every_line_is_a_row(tmp_path: Path, size: int, ending: str, last: bool, name: str) -> None:
    data = (ending.join(LINES) + (ending if last else "")).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    rows = rows_of(tmp_path, shard_rows=size)
    assert [row["url"] for row in rows] == [line.partition("\t")[0] for line in LINES]
    assert [row["caption"] for row in rows] == [f"caption number {n}" for n in range(1, 26)]
    assert (rows[16]["id"], rows[16]["image_captions"]) == ("cc12m/000000017", ["caption number 17"])
    assert not any(kinds(rows))


def test_caption_first_as_in_cc3m(tmp_path: Path) -> None:
    (tmp_path / "Train_GCC-training.tsv").write_text("a dog , running\thttp://example.org/1\n")
    (row,) = rows_of(tmp_path, columns="caption_url")
    assert (row["url"], row["caption"]) == ("http://example.org/1", "a dog , running")


def test_malformed_lines_are_rows_with_a_kind(tmp_path: Path) -> None:
    lines = [
        b"http://e.org/1\tgood", b"no tab here", b"", b"   ", b"http://e.org/2\tcaf\xe9", b"http://e.org/\xff\tgood",
        b"\tno url", b"http://e.org/3\t", b"http://e.org/4\tone\ttwo", b"http://e.org/5\t" + b"x" * 70_000,
        b"http://e.org/6\ta\x00b", "http://e.org/7\tDer Hund läuft".encode(), b"http://e.org/1\tgood",
    ]  # fmt: skip
    (tmp_path / "a.tsv").write_bytes(b"\n".join(lines) + b"\n")
    rows = rows_of(tmp_path, shard_rows=4)
    assert kinds(rows) == [
        None, "schema", "empty_line", "empty_line", "not_utf8", "not_utf8", "missing_url", "empty_caption", None,
        "line_too_long", "control_characters", None, None,
    ]  # fmt: skip
    assert rows[8]["caption"] == "one two"
    assert rows[11]["caption"] == "Der Hund läuft"
    assert rows[0]["image_id"] == rows[12]["image_id"] != rows[8]["image_id"]


def test_shards_of_a_gzip_can_be_read_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress("\n".join(LINES).encode()))
    source = CC12MConfig(root=str(tmp_path), shard_rows=4).build()
    shards = source.list().shards
    forwards = [source.read(shard, None).to_pylist() for shard in shards]
    backwards = [source.read(shard, None).to_pylist() for shard in reversed(shards)]
    assert forwards == backwards[::-1]


def test_a_cut_gzip_gives_its_rows_and_one_that_names_the_break(tmp_path: Path) -> None:
    import random

    text = "\n".join(f"http://e.org/{random.Random(n).random()}\tcaption {n}" for n in range(20_000))
    data = gzip.compress(text.encode())
    (tmp_path / "a.tsv.gz").write_bytes(data[: len(data) // 2])
    rows = rows_of(tmp_path)
    assert 5_000 < len(rows) < 15_000
    assert kinds(rows)[-1] == "broken_gzip"
    assert set(kinds(rows)[:-2]) == {None}  # the line before the break may be cut
    assert f"the {len(rows) - 1} lines before that are read" in rows[-1]["quarantine"]["message"]


def test_the_content_bears_identity_and_the_place_does_not(tmp_path: Path) -> None:
    listings = []
    for folder, text in (
        ("a", "http://e.org/1\tone\n"),
        ("b", "http://e.org/1\tone\n"),
        ("c", "http://e.org/1\ttwo\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.tsv").write_text(text)
        listings.append(CC12MConfig(root=str(tmp_path / folder)).build().list().identity)
    assert listings[0] == listings[1] != listings[2]


def test_listing_and_reading_hold_no_file_in_memory(tmp_path: Path) -> None:
    line = b"http://example.org/a/rather/long/path/to/an/image.jpg\ta caption of some ten words as they are usual\n"
    lines = 400_000
    (tmp_path / "a.tsv").write_bytes(line * lines)  # 40 MB
    source = CC12MConfig(root=str(tmp_path), shard_rows=1000).build()
    tracemalloc.start()
    listing = source.list()
    assert len(source.read(listing.shards[-1], None)) == 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert listing.rows == lines
    assert peak < 12e6


def test_a_file_without_line_breaks_is_one_broken_row(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"x" * 5_000_000)
    (row,) = rows_of(tmp_path)
    assert row["quarantine"]["kind"] == "line_too_long"


def test_nothing_there_is_an_error_that_says_what_is(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("x")
    with pytest.raises(ConfigError, match=r"no file matches .*; there is: readme.md"):
        CC12MConfig(root=str(tmp_path)).build().list()
    (tmp_path / "a.tsv").write_bytes(b"")
    with pytest.raises(ConfigError, match="no line in 1 files"):
        CC12MConfig(root=str(tmp_path)).build().list()
