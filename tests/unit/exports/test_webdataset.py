"""The webdataset export: read back by tarfile and by the project's own source; same bytes each time; nothing dropped."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from negscale.core.errors import ConfigError, PlanError
from negscale.core.pipeline import Listing
from negscale.datasets.images import ImageReader
from negscale.datasets.webdataset import WebDatasetConfig
from negscale.exports.image_files import safe_key
from negscale.exports.webdataset import export_webdataset
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import broken, make_run, rejected, row
from tests.unit.exports.pictures import ODD, QUESTIONS, question, reference, write_picture


def _run(tmp_path: Path) -> tuple[RunFolder, ImageReader, dict[str, bytes]]:
    """Seven rows in three shards: JPEG, PNG and WebP files, one drawn, one missing, one no image, odd ids."""
    root = tmp_path / "root"
    images = {
        f"val/{n}.{suffix}": write_picture(root / f"val/{n}.{suffix}", n, format)
        for n, (suffix, format) in enumerate((("jpg", "JPEG"), ("png", "PNG"), ("dat", "WEBP")))
    }
    (root / "val/text.jpg").write_text("not an image")
    uris = [*images, "toyworld:0/5", "val/none.jpg", "val/text.jpg"]
    ids = ["a.b/c#1", "a_b_c_1", "000000391895-770337", "x" * 300, "gone", "text"]
    rows = [
        row(row_id, "1", "1", image=reference(uri), negated_caption=ODD[n % len(ODD)])
        for n, (row_id, uri) in enumerate(zip(ids, uris, strict=True))
    ]
    rows.append(row("nothing", "1", "1", image=None))
    shards = [rows[:3], [*rows[3:5], rejected("r")], [*rows[5:], broken("q")]]
    return make_run(tmp_path / "run", shards), ImageReader(str(root)), images


def test_samples_hold_the_sources_bytes_the_caption_and_every_column(tmp_path: Path) -> None:
    run, reader, images = _run(tmp_path)
    result = export_webdataset(run, str(tmp_path / "out"), reader, rows_per_tar=3)
    assert (result.rows, result.files) == (4, 2)
    found: dict[str, dict[str, bytes]] = {}
    names = sorted((tmp_path / "out/data").iterdir())
    assert [path.name for path in names] == ["train-00000-of-00002.tar", "train-00001-of-00002.tar"]
    for path in names:
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.uname) == (0, 0, "")
                key, _, suffix = member.name.partition(".")
                stream = tar.extractfile(member)
                assert stream is not None
                found.setdefault(key, {})[suffix] = stream.read()
    rows = {r["id"]: r for _, table in run.tables("data") for r in table.to_pylist()}
    assert len(found) == 4
    for members in found.values():
        columns = json.loads(members["json"])
        wanted = rows[columns["id"]]
        assert members["txt"].decode() == wanted["negated_caption"] == columns["negated_caption"]
        assert columns["caption"] == wanted["caption"]
        assert columns["image_uri"] == wanted["image"]["uri"]
        (suffix,) = members.keys() - {"txt", "json"}
        if wanted["image"]["uri"] in images:
            assert members[suffix] == images[wanted["image"]["uri"]]
    assert sorted(s for m in found.values() for s in m.keys() - {"txt", "json"}) == ["jpg", "png", "png", "webp"]


def test_the_projects_own_source_reads_it(tmp_path: Path) -> None:
    run, reader, images = _run(tmp_path)
    export_webdataset(run, str(tmp_path / "out"), reader, rows_per_tar=2)
    config = WebDatasetConfig(root=str(tmp_path / "out"), shard_rows=2)
    source = config.build()
    listing: Listing = source.list()
    rows = [r for shard in listing.shards for r in source.read(shard, None).to_pylist()]
    assert [r["quarantine"] for r in rows] == [None] * 4
    kept = {r["negated_caption"]: r for _, table in run.tables("data") for r in table.to_pylist()}
    for r in rows:
        uri = kept[next(text for text in kept if text.split() == r["caption"].split())]["image"]["uri"]
        if uri in images:
            assert config.reader().read_bytes(r["image"]) == images[uri]


def test_rows_without_an_image_are_listed(tmp_path: Path) -> None:
    run, reader, _ = _run(tmp_path)
    export_webdataset(run, str(tmp_path / "out"), reader)
    lines = [json.loads(line) for line in (tmp_path / "out/missing_images.jsonl").read_text().splitlines()]
    assert [(line["id"], line["kind"]) for line in lines] == [
        ("gone", "missing_image"), ("nothing", "missing_image"), ("text", "unreadable_image"),
    ]  # fmt: skip
    card = (tmp_path / "out/README.md").read_text()
    assert "4 samples are in the tar files" in card
    assert "The images of 3 rows could not be read" in card
    assert "data/train-*.tar" in card


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run, reader, _ = _run(tmp_path)
    for name in ("one", "two"):
        export_webdataset(run, str(tmp_path / name), reader, rows_per_tar=3)
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_keys_are_safe_and_differ() -> None:
    ids = ["a.b", "a/b", "a_b", "a#b", "", "é", "..", "x" * 300, "x" * 301, "\ud800", "A_B"]
    keys = [safe_key(row_id) for row_id in ids]
    assert len(set(keys)) == len(ids)
    for key in keys:
        assert 0 < len(key) <= 80
        assert not set(key) & set("./\\ #")


def test_refusals(tmp_path: Path) -> None:
    run, reader, _ = _run(tmp_path)
    with pytest.raises(ConfigError, match="rows per tar"):
        export_webdataset(run, str(tmp_path / "out"), reader, rows_per_tar=0)
    questions = make_run(tmp_path / "questions", [[question("a")]], QUESTIONS)
    with pytest.raises(PlanError, match=r"one of the columns \['negated_caption', 'caption'\]"):
        export_webdataset(questions, str(tmp_path / "out"), reader)
    assert not (tmp_path / "out").exists()


def test_a_run_that_kept_nothing_has_one_empty_tar(tmp_path: Path) -> None:
    result = export_webdataset(make_run(tmp_path / "run", [[rejected("r")]]), str(tmp_path / "out"), ImageReader())
    assert (result.rows, result.files) == (0, 1)
    with tarfile.open(next((tmp_path / "out/data").iterdir())) as tar:
        assert tar.getmembers() == []
