"""Overlaps by name, bytes, pixels and words, with what was compared; a run's build folder; drop and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.errors import ConfigError, PlanError
from negscale.core.image import decode, encode
from negscale.core.schema import IMAGE
from negscale.datasets.images import ImageReader
from negscale.datasets.toy_scenes import draw, scene
from negscale.guard.benchmarks import image_key, read_benchmark
from negscale.guard.reference import GuardConfig
from negscale.guard.run import GuardResult, guard
from negscale.guard.texts import NearCaptions, normalise

SAID = "A man rides a brown horse along the beach."


def table(*rows: dict[str, Any]) -> pa.Table:
    empty = {"uri": None, "offset": None, "length": None, "sha256": None, "height_px": None, "width_px": None}
    return pa.table({
        "id": [row["id"] for row in rows],
        "image": pa.array([{**empty, "uri": row.get("uri"), "offset": row.get("offset")} for row in rows], IMAGE),
        "caption": [row.get("caption") for row in rows], "negated_caption": [row.get("negated") for row in rows],
        "image_id": [row.get("image_id", "") for row in rows],
    })  # fmt: skip


def benchmark(folder: Path, name: str, content: Any) -> Any:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_benchmark(str(path))


def reasons(result: GuardResult) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in result.overlaps.to_pylist():
        found.setdefault(row["id"], []).append(row["reason"])
    return found


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("COCO_train2014_000000374391.jpg", "coco:374391"), ("val2017/000000374391.jpg", "coco:374391"),
        ("000000374391", "coco:374391"), ("v7w_2371044.jpg", "name:v7w_2371044"), ("JPEGImages/004070.jpg", ""), ("", ""),
    ],
)  # fmt: skip
def test_image_keys(name: str, key: str) -> None:
    assert image_key(name) == key


def test_by_name_and_caption(tmp_path: Path) -> None:
    refs = benchmark(
        tmp_path, "NegRefCOCOg.json", [{"image": "COCO_train2014_000000374391.jpg", "phrase": "cat not dog"}]
    )
    mcq = benchmark(
        tmp_path, "mcq.csv", f'image_path,correct_answer,caption_0\nx/000000000001.jpg,0,"{SAID.upper()}"\n'
    )
    rows = table(
        {"id": "by-name", "uri": "val2017/000000374391.jpg", "caption": "something else entirely, of many words"},
        {"id": "by-number", "image_id": "000000374391"},
        {"id": "by-words", "uri": "a.jpg", "caption": "a man rides a brown horse, along the beach"},
        {"id": "negated", "uri": "b.jpg", "caption": "x", "negated": SAID},
        {"id": "short", "uri": "c.jpg", "caption": "cat not dog"},
        {"id": "tar", "uri": "000000374391.tar", "offset": 512, "caption": "no"},
    )
    result = guard([rows], [refs, mcq])
    assert reasons(result) == {
        "by-name": ["image_id"], "by-number": ["image_id"], "by-words": ["caption"], "negated": ["caption"],
    }  # fmt: skip
    report = result.report
    assert (report.rows, report.rows_overlapping, report.clean) == (6, 4, False)
    assert report.by_benchmark == {"NegRefCOCOg": 2, "mcq": 2}
    assert report.images_read == report.benchmark_images_hashed == 0


def test_by_bytes_and_pixels(tmp_path: Path) -> None:
    bench, mine = tmp_path / "bench", tmp_path / "mine"
    bench.mkdir()
    mine.mkdir()
    pictures = [draw(scene(0, number)) for number in range(4)]
    for number, picture in enumerate(pictures[:3]):
        (bench / f"test-{number}.png").write_bytes(encode(picture))
    (mine / "same.png").write_bytes(encode(pictures[0]))
    (mine / "jpeg.jpg").write_bytes(encode(pictures[1], "jpeg", quality=60))
    (mine / "mirror.png").write_bytes(encode(pictures[2][:, ::-1].copy()))
    (mine / "other.png").write_bytes(encode(pictures[3]))
    (mine / "broken.png").write_bytes(b"no image")
    known = benchmark(tmp_path, "b.json", {str(n): {"image_file": f"test-{n}.png"} for n in range(4)})
    rows = table(*({"id": path.name, "uri": path.name} for path in sorted(mine.iterdir())))
    config = GuardConfig(radius=2)
    result = guard([rows], [known], config, reader=ImageReader(str(mine)), image_folders=[str(bench)])
    assert reasons(result)["same.png"] == ["image_sha256", "image_perceptual"]
    assert reasons(result)["jpeg.jpg"] == ["image_perceptual"]
    assert "image_mirrored" in reasons(result)["mirror.png"]
    assert "other.png" not in reasons(result)
    assert decode((mine / "jpeg.jpg").read_bytes()).shape == pictures[1].shape
    assert result.report.images_unread == {"unreadable_image": 1}
    assert result.report.benchmark_images_unread == {"missing_image": 1}, "test-3 is listed and has no file"
    apart = guard(
        [rows],
        [known],
        GuardConfig(radius=2, mirrored=False),
        reader=ImageReader(str(mine)),
        image_folders=[str(bench)],
    )
    assert "image_mirrored" not in apart.report.reasons


def test_near_captions(tmp_path: Path) -> None:
    long = "a man in a red jacket rides a brown horse along the sandy beach at sunset near the pier"
    known = benchmark(tmp_path, "b.csv", f"filename,caption\nx.jpg,{long}\n")
    rows = table(
        {"id": "near", "uri": "a", "caption": f"{long} today"}, {"id": "far", "uri": "b", "caption": long[::-1]},
    )  # fmt: skip
    assert guard([rows], [known]).report.clean
    found = guard([rows], [known], GuardConfig(near_captions=0.8)).overlaps.to_pylist()
    assert [(row["id"], row["reason"]) for row in found] == [("near", "caption_near")]
    assert 0 < found[0]["distance"] < 0.2


def test_near_captions_are_exact_above_the_threshold() -> None:
    store = NearCaptions(0.5)
    store.add(normalise("one two three four five six"))
    assert store.find("one two three four five six") == (0, 1.0)
    found = store.find("one two three four five six seven")
    assert found == (0, 4 / 5)
    assert store.find("seven eight nine ten eleven") is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", {"1": {"answer": 3}}, "no column of images"), ("b.csv", "x,y\n1,2\n", r"it has \['x', 'y'\]"),
        ("c.json", "{", "cannot be read"),
    ],
)  # fmt: skip
def test_refuses_files_without_items(tmp_path: Path, name: str, content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        benchmark(tmp_path, name, content)


@pytest.mark.real_data
def test_released_benchmarks_are_read(shared_data: Path) -> None:
    files = [
        *(shared_data / "bench").iterdir(),
        shared_data / "text/NegRefCOCOg.json",
        shared_data / "text/valse_existence.json",
    ]
    for path in files:
        read = read_benchmark(str(path))
        assert all(entry.image and entry.texts for entry in read.entries), path.name
    coco = {image_key(entry.image) for entry in read_benchmark(str(shared_data / "text/NegRefCOCOg.json")).entries}
    assert len(coco) == 402


def test_a_run_through_the_command_line(tmp_path: Path) -> None:
    """A toyworld run against a benchmark made of two of its rows."""
    from typer.testing import CliRunner

    from negscale.cli import cli
    from negscale.storage.run_folder import RunFolder

    runner = CliRunner()
    made = runner.invoke(cli, [
        "generate", "negationclip_p1", "source.images=12", "source.shard_rows=8", "runtime.executor=local",
        f"runtime.run_root={tmp_path}", "--json",
    ])  # fmt: skip
    run = RunFolder(json.loads(made.stdout)["run"])
    rows = [row for _, part in run.tables("data") for row in part.to_pylist()]
    leaked, told = rows[0], rows[-1]
    bench = tmp_path / "b.jsonl"
    words = {"image": f"{leaked['image_id']}.png", "caption": "nothing of the kind was ever said"}
    bench.write_text(
        json.dumps(words) + "\n" + json.dumps({"image": "x.png", "caption": told["negated_caption"] + "!"})
    )
    images = tmp_path / "images"
    images.mkdir()
    (images / f"{leaked['image_id']}.png").write_bytes(encode(ImageReader().read(leaked["image"])))
    common = ["guard", run.uri, "--against", str(bench), "--images", str(images)]
    done = runner.invoke(cli, [*common, "--drop", str(tmp_path / "clean"), "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert {"image_id", "image_sha256", "image_perceptual", "caption"} <= set(report["reasons"])
    build = Path(report["build"])
    manifest = json.loads((build / "manifest.json").read_text())
    overlapping = set(pq.read_table(build / "overlaps.parquet")["id"].to_pylist())
    assert {leaked["id"], told["id"]} <= overlapping < {row["id"] for row in rows}
    kept = pq.read_table(tmp_path / "clean")["id"].to_pylist()
    assert sorted([*kept, *overlapping]) == sorted(row["id"] for row in rows)
    assert manifest["dropped"]["rows_kept"] == len(kept)
    assert manifest["run_digest"] == run.manifest().content_digest  # type: ignore[union-attr]
    refused = runner.invoke(cli, [*common, "--refuse"])
    assert type(refused.exception).__name__ == "LeakError"
    assert runner.invoke(cli, ["guard", str(tmp_path), "--against", str(bench)]).exception.__class__ is PlanError
