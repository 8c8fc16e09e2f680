"""Verbs on data as it lies: ``scan`` counts the negations of caption files, ``guard`` finds a run's benchmark leaks."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from negscale import app
from negscale.backends.config import check_access
from negscale.core.errors import PlanError
from negscale.guard.reference import GuardConfig
from negscale.guard.run import guard_run
from negscale.report.guard import guard_table
from negscale.report.scan import scan_table
from negscale.scan.agreement import agreement
from negscale.scan.page import html_page
from negscale.scan.pictures import denials
from negscale.scan.run import ScanOptions
from negscale.scan.run import scan as run_scan
from negscale.scan.sources import Reading
from negscale.storage.folder import open_folder
from negscale.storage.run_folder import RunFolder

# a log file has no width of its own; 80 columns would fold every table
_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)
Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]


def scan(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders, patterns or URIs: Parquet, CSV, TSV, JSON lines, text, COCO captions JSON, tars; also .gz, .zst.",
        ),
    ],
    column: Annotated[
        str, typer.Option("--column", help="Caption column or key; a number for a table without a header.")
    ] = "",
    lists: Annotated[bool, typer.Option("--lists", help="Cells hold lists of captions.")] = False,
    cues: Annotated[
        str, typer.Option("--cues", help="negscale, or words: the bare word list of the literature.")
    ] = "negscale",
    examples: Annotated[int, typer.Option("--examples", min=0, help="Examples per cue.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the examples.")] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Threads or processes; 0 = one a core.")] = 0,
    state: Annotated[str, typer.Option("--state", help="Folder or URI for progress and result.")] = "runs/scan",
    html: Annotated[str, typer.Option("--html", help="Also write a page with the examples to this file.")] = "",
    detector: Annotated[
        list[str] | None,
        typer.Option(
            "--detector",
            help="Fragment or key=value with a source (captions with images) and a verifier: also report how often "
            "denied objects are absent from their images. May be repeated.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Share of captions and words that negate, per cue, with examples; killed, the same command goes on."""
    if cues not in ("negscale", "words"):
        raise typer.BadParameter(f"{cues!r} is unknown; known: negscale, words", param_hint="--cues")
    options = ScanOptions(Reading(column, lists), "words" if cues == "words" else "negscale", examples, seed)
    with _err.status("scanning") as line:
        told = None if not _err.is_terminal else lambda done, of: line.update(f"scanned {done:,} of {of:,} units")
        result = run_scan(sources, options, workers=workers, state=state, told=told)
        if detector:
            line.update("asking the detector")
            result["agreement"] = _agreement(detector, seed)
            open_folder(result["state"]).write("result.json", json.dumps(result, indent=1).encode())
    if html:
        parent, _, name = html.rpartition("/")
        open_folder(parent or ("/" if html.startswith("/") else ".")).write(name, html_page(result).encode())
        _err.print(f"page: {html}", soft_wrap=True)
    _show(scan_table(result), result, as_json)
    if result["failed"]:
        raise typer.Exit(4)


def _agreement(parts: list[str], seed: int) -> dict[str, Any]:
    """How often denied objects are absent; `parts` are read as those of a P1 run, whose source and verifier count."""
    fragments, overrides = [part for part in parts if "=" not in part], [part for part in parts if "=" in part]
    recipe, config = app.load_config("negationclip_p1", fragments, overrides)
    check_access(config.verifier)
    judge = config.verifier.build()
    judge.load()
    try:
        rows = denials(recipe.source(config), config.source.reader(), judge.needs_pixels, seed)
        found = agreement(rows, judge)
    finally:
        judge.close()
    return {**asdict(found), "share": found.share, "judge": judge.id, "source": config.source.model_dump(mode="json")}


def guard(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run's folder or URI.")],
    against: Annotated[
        list[str], typer.Option("--against", help="Benchmark file: CSV, JSON, JSON lines, Parquet. May be repeated.")
    ],
    images: Annotated[
        list[str] | None, typer.Option("--images", help="Folder of the benchmarks' images: compares pixels too.")
    ] = None,
    drop: Annotated[str, typer.Option("--drop", help="New folder for the rows that do not overlap.")] = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="Exit code 4 when rows overlap.")] = False,
    radius: Annotated[int, typer.Option("--radius", min=0, max=15, help="Bits of 64 that may differ.")] = 8,
    mirrored: Annotated[bool, typer.Option(help="Also find mirrored images.")] = True,
    near: Annotated[
        float,
        typer.Option(
            "--near-captions", min=0, max=1, help="Similarity from which captions count as equal; 0 = equal only."
        ),
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Find rows of a run that share an image or a caption with benchmarks: by name, bytes, pixels and words."""
    folder = RunFolder(run)
    folder.record()
    config = GuardConfig(radius=radius, mirrored=mirrored, near_captions=near)
    reader = None
    if images:
        source: Any = app.pipeline_of(folder).source
        make = getattr(getattr(source, "config", None), "reader", None)
        if make is None:
            raise PlanError(f"the source of {run} gives no images to compare; leave --images out")
        reader = make()
    report, build = guard_run(
        folder, against, config, reader=reader, image_folders=images or [], drop=drop, refuse=refuse
    )
    _show(guard_table(asdict(report)), {**asdict(report), "build": build, "dropped_to": drop}, as_json)
    _err.print(f"overlaps: {build}", soft_wrap=True)


def _show(shown: Any, facts: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _err.print(shown)
