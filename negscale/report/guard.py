"""A benchmark guard's report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_REASONS = {
    "image_id": "same image by name (COCO number or file name)", "image_sha256": "same image file, byte by byte",
    "image_perceptual": "same picture, re-encoded or resized", "image_mirrored": "same picture, mirrored",
    "caption": "same caption", "caption_near": "nearly the same caption",
}  # fmt: skip


def guard_table(report: Mapping[str, Any]) -> RenderableType:
    """Overlapping rows by reason and by benchmark, and how much was compared."""
    rows = max(1, report["rows"])
    title = f"{report['rows_overlapping']:,} of {report['rows']:,} rows overlap with a benchmark"
    table = Table(title=title, title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    table.add_column("why (a row may have several reasons)")
    for reason, count in report["reasons"].items():
        table.add_row(f"{count:,}", f"{count / rows:.2%}", _REASONS.get(reason, reason))
    table.add_section()
    for benchmark in report["benchmarks"]:
        count = report["by_benchmark"].get(benchmark["name"], 0)
        table.add_row(
            f"{count:,}", f"{count / rows:.2%}", f"{benchmark['name']} ({benchmark['items']:,} items)", style="dim"
        )
    compared = (
        f"compared with {report['benchmark_images_named']:,} image names, {report['benchmark_images_hashed']:,} pictures and "
        f"{report['benchmark_captions']:,} captions of the benchmarks; {report['images_read']:,} pictures of the rows were read"
    )
    if report.get("images_reused"):
        compared += f", {report['images_reused']:,} of them by an earlier guard of the run"
    lines = [Text(compared)]
    for whose, counts in (("rows", "images_unread"), ("benchmarks", "benchmark_images_unread")):
        if report[counts]:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in report[counts].items())
            lines.append(Text(f"pictures of the {whose} that could not be compared: {kinds}", style="yellow"))
    return Group(table, *lines)
