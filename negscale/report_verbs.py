"""``report``: a run as one HTML page with a gallery of its rows; for finished and running runs, with Ray dead.

On the folder of an evaluation (`negscale eval all`): its page, or its figures as Markdown or CSV.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console

from negscale import __version__, app
from negscale.core.backend import Image
from negscale.core.errors import ConfigError, NegscaleError
from negscale.core.image import ImageError
from negscale.datasets.images import ImageReader
from negscale.report.gallery import Gallery, GalleryOptions, build_gallery
from negscale.report.gallery_facts import ancestors
from negscale.report.gallery_sample import MAX_ROWS, How
from negscale.report_eval import evaluation_text, form_of, is_evaluation, make_eval_report
from negscale.storage.folder import open_folder
from negscale.storage.run_folder import RunFolder

_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)
_ELSEWHERE = ("missing_image", "forbidden_path", "changed_image")  # another reader may have the image

_SMALL_PX = 160  # below, a reader may not tell what is in a picture


class RunImages:
    """Reads the images that a run's rows refer to, wherever they lie: at the source, or in the folder of the run that made them.

    A reference does not say which of these its name is relative to. So the readers are asked in turn: that of the run's
    config, the run folder (images that a stage made), then the same of the runs that the rows come from. A reference with a
    sha256 cannot be mistaken for a namesake.
    """

    def __init__(self, readers: Sequence[Any]) -> None:
        self.readers = tuple(readers)
        self._last: dict[str, int] = {}  # first folder of a name -> the reader that had the latest such image

    def read(self, ref: Mapping[str, Any]) -> Image:
        """Pixels uint8[H, W, 3] of an IMAGE struct; raises the ImageError that says most."""
        kind = str(ref.get("uri") or "").partition("/")[0]
        first = self._last.get(kind, 0)
        errors: list[ImageError] = []
        for number in sorted(range(len(self.readers)), key=lambda n: n != first):
            try:
                pixels = self.readers[number].read(ref)
            except ImageError as error:
                errors.append(error)
                continue
            self._last[kind] = number
            return pixels
        order = {kind: place for place, kind in enumerate(reversed(_ELSEWHERE), start=1)}
        raise min(errors, key=lambda error: order.get(error.kind, 0))


def images_of(run: RunFolder, overrides: Sequence[str] = ()) -> tuple[RunImages, list[str]]:
    """(the reader, what could not be found out). overrides: corrected locations; wrong ones raise ConfigError."""
    notes: list[str] = []
    readers: list[Any] = []
    for number, one in enumerate([run, *(RunFolder(a.uri) for a in ancestors(run) if a.there)]):
        try:
            readers.append(app.reader_of(one, overrides if number == 0 else ()))
        except (NegscaleError, OSError, AttributeError) as error:
            if number == 0 and overrides:
                raise
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            notes.append(f"The config of {one.uri} does not say where its images lie ({why}).")
        readers.append(ImageReader(one.uri))
    return RunImages(readers), notes


def report(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder or URI, finished or running; or that of an evaluation.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[key=value]...",
            help="Corrected locations, e.g. source.root=PATH; of an evaluation image_root=PATH.",
        ),
    ] = None,
    html: Annotated[
        str, typer.Option("--html", metavar="PAGE", help="File to write; default: report/index.html in the run folder.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", help="html; of an evaluation also markdown or csv, which are written to stdout.")
    ] = "html",
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows",
            help=f"Rows in the gallery, at most {MAX_ROWS:,} (300); of an evaluation best and worst items each (4).",
        ),
    ] = None,
    sample: Annotated[
        str, typer.Option("--sample", help="by-reason: as many rows of each fate; uniform: a random sample of all.")
    ] = "by-reason",
    seed: Annotated[int, typer.Option("--seed", help="Of the sample; the same seed shows the same rows.")] = 0,
    folder: Annotated[
        bool, typer.Option("--folder", help="Put the pictures into a folder beside the page: larger, without a budget.")
    ] = False,
    megabytes: Annotated[
        float, typer.Option("--megabytes", help="Of pictures in the page; they shrink to fit.")
    ] = 24.0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")] = False,
) -> None:
    """Write a page to look at: of a run its counts, reasons, scores and a gallery, of an evaluation its figures and items."""
    form = form_of(to)
    if is_evaluation(run):
        if folder:
            raise ConfigError("--folder: the page of an evaluation holds its pictures; more room: --megabytes")
        if form != "html":
            sys.stdout.write(evaluation_text(run, form))
        else:
            _report_evaluation(run, html, 4 if rows is None else rows, megabytes, overrides or [], as_json)
        return
    if form != "html":
        raise ConfigError(f"--to {to}: {run} is no folder of an evaluation, only these are written as {to}")
    if sample not in get_args(How):
        raise ConfigError(f"--sample {sample!r} is unknown; known: {', '.join(get_args(How))}")
    with _err.status("reading rows and images"):
        gallery, path = make_report(
            RunFolder(run), html, rows=300 if rows is None else rows, sample=sample, seed=seed, folder=folder, megabytes=megabytes,  # type: ignore[arg-type]
            overrides=overrides or [], named=run,
        )  # fmt: skip
    facts = {"page": path, **gallery.facts}
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        for line in _lines(facts):
            _err.print(line, soft_wrap=True, markup=False)


def _report_evaluation(
    uri: str, html: str, items: int, megabytes: float, overrides: Sequence[str], as_json: bool
) -> None:  # fmt: skip
    with _err.status("reading items and images"):
        page, path = make_eval_report(uri, html, items=items, megabytes=megabytes, overrides=overrides)
    facts = {"page": path, **page.facts}
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    unread = sum(facts["images_unread"].values())
    _err.print(
        f"{facts['models']} models, {facts['benchmarks']} benchmarks, {facts['items_shown']:,} items with "
        f"{facts['pictures']:,} pictures; {facts['page_bytes'] / 1e6:.1f} MB"
    )
    if unread:
        _err.print(
            f"{unread:,} images could not be read; the page says why. Have they moved? image_root=PATH", markup=False
        )
    _err.print(f"page: {path}", soft_wrap=True, markup=False)


def make_report(
    run: RunFolder, html: str = "", *, rows: int = 300, sample: How = "by-reason", seed: int = 0, folder: bool = False,
    megabytes: float = 24.0, overrides: Sequence[str] = (), named: str = "",
) -> tuple[Gallery, str]:  # fmt: skip
    """Write the page of a run; returns (the page, its path). Raises PlanError, ConfigError; see the verb."""
    run.record()
    path = html or f"{run.uri}/report/index.html"
    parent, _, name = path.rpartition("/")
    if not name or Path(path).is_dir():
        raise ConfigError(
            f"--html {html!r} is a folder; give the name of a file in it, e.g. {path.rstrip('/')}/run.html"
        )
    reader, notes = images_of(run, overrides)
    beside = f"{name.rpartition('.')[0] or name}_images" if folder else ""
    options = GalleryOptions(rows, sample, seed, megabytes, beside)
    gallery = build_gallery(run, reader, options, notes, named, __version__)
    target = open_folder(parent or ("/" if path.startswith("/") else "."))
    for file, data in gallery.files.items():
        target.write(file, data, durable=False)
    target.write(name, gallery.html.encode(), durable=False)
    return gallery, path


def _lines(facts: Mapping[str, Any]) -> list[str]:
    unread = sum(facts["images_unread"].values())
    size = f"{facts['page_bytes'] / 1e6:.1f} MB"
    if facts["folder_bytes"]:
        size += f" and {facts['folder_bytes'] / 1e6:.1f} MB of pictures beside it"
    lines = [
        f"{facts['rows']:,} of {facts['population']:,} rows, {facts['pictures']:,} pictures of at most "
        f"{facts['picture_side_px']} pixels; {size}"
    ]
    if unread:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in facts["images_unread"].items())
        lines.append(f"{unread:,} images could not be read ({kinds}); their cards say so")
    if facts["pictures_without_room"]:
        lines.append(f"{facts['pictures_without_room']:,} pictures had no room: --folder, or more --megabytes")
    elif facts["pictures"] and facts["picture_side_px"] < _SMALL_PX:
        lines.append("the pictures are small: --folder or more --megabytes makes them larger")
    return [*lines, f"page: {facts['page']}"]
