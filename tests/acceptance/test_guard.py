"""Promise: benchmark photographs are found under other names, sizes, qualities and mirrored, and other photographs are not.

Copies of COCO val2017 photographs get new names, 224 x 224 pixels and JPEG quality 50, every second one mirrored, among
photographs of Flickr8k and COCO train2017 treated in the same way. The guard sees the originals as its benchmark.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image as Pillow

from negscale.core.schema import IMAGE
from negscale.datasets.images import ImageReader
from negscale.guard.benchmarks import read_benchmark
from negscale.guard.run import guard
from negscale.metrics.statistics import wilson_interval
from tests.acceptance.verdict import verdict

STRANGERS = 900


@pytest.mark.real_data
def test_copies_are_found(shared_data: Path, tmp_path: Path) -> None:
    coco = shared_data / "coco"
    copies = sorted((coco / "val2017").glob("*.jpg"))
    others = [*sorted((coco / "train2017").glob("*.jpg")), *sorted((shared_data / "flickr8k").rglob("*.jpg"))][
        :STRANGERS
    ]
    rows, names = [], []
    for number, path in enumerate([*copies, *others]):
        picture = Pillow.open(path).convert("RGB").resize((224, 224))
        if number % 2:
            picture = picture.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=50)
        name = f"web-{number:06d}.jpg"
        (tmp_path / name).write_bytes(data.getvalue())
        names.append(name)
        rows.append({"uri": name})
    table = pa.table({"id": names, "image": pa.array(rows, IMAGE)})
    benchmark = read_benchmark(str(coco / "annotations/captions_val2017.json"))
    began = time.perf_counter()
    batches = (table.slice(at, 256) for at in range(0, len(table), 256))
    result = guard(batches, [benchmark], reader=ImageReader(str(tmp_path)), image_folders=[str(coco / "val2017")])
    seconds = time.perf_counter() - began
    by_reason = {
        reason: {row["id"] for row in result.overlaps.to_pylist() if row["reason"] == reason}
        for reason in ("image_perceptual", "image_mirrored")
    }
    plain = set(names[: len(copies) : 2]) & by_reason["image_perceptual"]
    mirrored = set(names[1 : len(copies) : 2]) & by_reason["image_mirrored"]
    wrong = result.ids() - set(names[: len(copies)])
    found = (len(plain) + len(mirrored)) / len(copies)
    verdict(
        "benchmark photographs are found by their pixels", found >= 0.99 and len(wrong) <= len(others) // 100,
        copies=len(copies), plain=len(plain), mirrored=len(mirrored), found=found, strangers=len(others), wrong=len(wrong),
        wrong_at_most=wilson_interval(len(wrong), len(others))[1], benchmark=result.report.benchmark_images_hashed, seconds=seconds,
    )  # fmt: skip
    assert not result.report.images_unread
    assert not result.report.benchmark_images_unread
