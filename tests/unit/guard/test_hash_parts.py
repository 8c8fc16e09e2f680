"""A guard that was stopped goes on: hashes are kept by shard, and only what they belong to is reused."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.image import encode
from negscale.datasets.images import ImageReader
from negscale.datasets.toy_scenes import draw, scene
from negscale.guard.run import GuardReport, guard_run
from negscale.storage.parts import commit_shard
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import SCHEMA, make_run, row
from tests.unit.exports.pictures import reference

SHARDS, PER_SHARD = 6, 5


class StoppedError(BaseException):
    """What a kill looks like from within: nothing catches it."""


class CountingReader(ImageReader):
    """Notes what is read; stops the program at the image called `stop_at`."""

    def __init__(self, root: str, stop_at: str = "") -> None:
        super().__init__(root)
        self.stop_at, self.names, self._lock = stop_at, list[str](), threading.Lock()

    def read_bytes(self, ref: Mapping[str, Any]) -> bytes:
        with self._lock:
            self.names.append(ref["uri"])
        if ref["uri"] == self.stop_at:
            raise StoppedError
        return super().read_bytes(ref)


def _world(path: Path) -> tuple[RunFolder, Path, str]:
    """A run with files for images, a folder of benchmark images (two of them the run's), and the benchmark's file."""
    mine, bench = path / "mine", path / "bench"
    mine.mkdir()
    bench.mkdir()
    shards = []
    for s in range(SHARDS):
        rows = []
        for k in range(PER_SHARD):
            name = f"{s}-{k}.png"
            (mine / name).write_bytes(encode(draw(scene(0, 100 * s + k))))
            rows.append(row(f"r{s}{k}", f"image-{s}-{k}", "1", image=reference(name)))
        shards.append(rows)
    for number, name in enumerate(("2-3.png", "5-0.png")):
        (bench / f"test-{number}.png").write_bytes((mine / name).read_bytes())
    items = path / "bench.json"
    items.write_text(json.dumps({str(n): {"image_file": f"test-{n}.png"} for n in range(2)}))
    return make_run(path / "run", shards), bench, str(items)


def _guard(world: tuple[RunFolder, Path, str], reader: ImageReader) -> GuardReport:
    run, bench, items = world
    return guard_run(run, [items], reader=reader, image_folders=[str(bench)])[0]


def test_a_stopped_guard_goes_on_where_it_was(tmp_path: Path) -> None:
    world, root = _world(tmp_path), str(tmp_path / "mine")
    try:
        _guard(world, CountingReader(root, stop_at="3-2.png"))
    except StoppedError:
        pass
    else:
        raise AssertionError("it was to be stopped")
    again = CountingReader(root)
    report = _guard(world, again)
    assert {name[0] for name in again.names} == {"3", "4", "5"}, "whole shards are not read twice"
    assert (report.images_reused, report.images_read) == (15, 30)
    third = CountingReader(root)
    last = _guard(world, third)
    assert third.names == []
    assert last.images_reused == last.images_read == 30
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    other = _guard(_world(fresh), ImageReader(str(fresh / "mine")))
    for one in (report, last):
        assert (one.reasons, one.rows_overlapping) == (other.reasons, other.rows_overlapping)
    assert other.reasons["image_sha256"] == 2
    assert other.images_reused == 0


def test_images_that_could_not_be_read_are_tried_again(tmp_path: Path) -> None:
    world, root = _world(tmp_path), tmp_path / "mine"
    data = (root / "2-3.png").read_bytes()
    (root / "2-3.png").unlink()
    assert _guard(world, ImageReader(str(root))).images_unread == {"missing_image": 1}
    (root / "2-3.png").write_bytes(data)
    again = CountingReader(str(root))
    report = _guard(world, again)
    assert again.names == ["2-3.png"]
    assert (report.images_unread, report.images_read, report.reasons["image_sha256"]) == ({}, 30, 2)


def test_a_retried_shard_another_root_and_a_damaged_part_are_hashed_anew(tmp_path: Path) -> None:
    world, root = _world(tmp_path), tmp_path / "mine"
    run = world[0]
    _guard(world, ImageReader(str(root)))
    moved = tmp_path / "moved"
    root.rename(moved)
    elsewhere = CountingReader(str(moved))
    _guard(world, elsewhere)
    assert len(elsewhere.names) == 30
    parts = sorted(Path(run.uri, "guard/images").glob("part-001.*"))
    for part in parts:
        part.write_bytes(part.read_bytes()[:100])
    rows = [row(f"r4{k}", f"image-4-{k}", "1", image=reference(f"4-{k}.png")) for k in range(PER_SHARD)]
    commit_shard(run.folder, "part-004", 1, pa.Table.from_pylist(rows, SCHEMA), rows_read=PER_SHARD)
    again = CountingReader(str(moved))
    assert _guard(world, again).images_read == 30
    assert sorted({name[0] for name in again.names}) == ["1", "4"]
