"""A run as one HTML page to look at: what became of its rows, its scores, and a gallery of a sample with filters.

The page needs no network and no other file (with `folder`, its pictures lie beside it) and works from file://. Its policy
(CSP) admits its own script and style alone, by their hashes; rows travel as JSON in which no "<" is left, and become text
nodes. A browser holds the cards that are in sight, so that 10,000 rows scroll as 100 do.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from negscale.core.errors import ConfigError, PlanError
from negscale.report.gallery_charts import charts
from negscale.report.gallery_facts import recipes_of, run_facts
from negscale.report.gallery_images import Pictures, ReadsImages, make_pictures
from negscale.report.gallery_rows import Names, card, label_of, layout_of
from negscale.report.gallery_sample import Drawn, How, draw_rows
from negscale.report.gallery_scores import thresholds
from negscale.storage.run_folder import RunFolder

PAGE = Path(__file__).with_name("gallery_page")
_CHUNK = 64  # pictures in one block of the page: blocks are read when one of their pictures is


@dataclass(frozen=True, slots=True)
class GalleryOptions:
    """What the page holds."""

    rows: int = 300
    sample: How = "by-reason"
    seed: int = 0
    budget_mb: float = 24.0  # pictures in the page, in 10**6 characters of base64; no limit beside the page
    folder: str = ""  # name of the folder beside the page that holds the pictures; "" puts them into the page


@dataclass(frozen=True, slots=True)
class Gallery:
    """A page, the files beside it, and what they hold."""

    html: str
    files: Mapping[str, bytes] = field(default_factory=dict)  # path relative to the page
    facts: Mapping[str, Any] = field(default_factory=dict)


def build_gallery(
    run: RunFolder, reader: ReadsImages, options: GalleryOptions | None = None, notes: Sequence[str] = (),
    named: str = "", version: str = "",
) -> Gallery:  # fmt: skip
    """The page of a run, finished or not.

    reader: of the rows' images; one that raises ImageError leaves a gap on the card that says why. notes: what is known of
    why, shown when an image could not be read. named: how the user calls the run; version: of negscale, for the foot. Raises
    PlanError where no run or no finished shard is, ConfigError for bad options and without jinja2.
    """
    options = options or GalleryOptions()
    if options.budget_mb <= 0:
        raise ConfigError(f"--megabytes {options.budget_mb:g}: expected a number above 0, e.g. 24")
    template = _template()
    run.record()
    commits = run.commits()
    if not sum(commit.rows_out for commit in commits):
        raise PlanError(f"run {run.uri} has no finished shard with rows yet; see negscale status {run.uri}")
    drawn = draw_rows(run, commits, options.rows, options.sample, options.seed)
    layout = layout_of(drawn.schema)
    rows = [one.row for one in drawn.rows]
    budget = None if options.folder else int(options.budget_mb * 1e6 * 3 / 4)
    pictures = make_pictures(rows, layout, reader, budget)
    names = Names()
    fates = {fate: number for number, fate in enumerate(drawn.fates)}
    cards = [card(one, layout, fates, names) for one in drawn.rows]
    for made, figures in zip(cards, pictures.figures, strict=True):
        if figures:
            made["g"] = figures
    shown = [sum(made["f"] == number for made in cards) for number in fates.values()]
    files = _files(pictures, options.folder)
    data = {
        "kind": layout.kind, "figures": max(map(len, pictures.figures), default=1),
        "run": named or run.uri, "population": drawn.population, "names": names.texts,
        "fates": [
            [place, reason, count, here] for ((place, reason), count), here in zip(drawn.fates.items(), shown, strict=True)
        ],
        "scores": [[name, label_of(name)] for name in layout.scores], "rows": cards, "suffix": pictures.suffix, "chunk": _CHUNK,
        **({"folder": f"{options.folder}/", "files": [path.rpartition("/")[2] for path in files]} if options.folder else {}),
    }  # fmt: skip
    style, script = (PAGE / "gallery.css").read_text("utf-8"), (PAGE / "gallery.js").read_text("utf-8")
    facts = run_facts(run, commits)
    html = template.render(
        run=facts, kind=layout.kind, population=drawn.population, version=version, folder=bool(options.folder),
        fates=[
            {"place": place, "reason": reason, "rows": count, "shown": here}
            for ((place, reason), count), here in zip(drawn.fates.items(), shown, strict=True)
        ],
        notes=[*(notes if pictures.unread else ()), *_notes(pictures)], sample_text=_sample_text(drawn, options),
        charts=charts(drawn.scores, thresholds(recipes_of(run))), policy=_policy(style, script, bool(options.folder)),
        style=_raw(style), script=_raw(script), data=_raw(json_text(data)),
        chunks=[] if options.folder else _chunks(pictures),
    )  # fmt: skip
    return Gallery(html, dict(zip(files, pictures.data, strict=True)) if options.folder else {}, {
        "run": run.uri, "rows": len(cards), "population": drawn.population, "sample": options.sample, "seed": options.seed,
        "counts": facts["counts"], "images_read": pictures.read, "images_unread": dict(sorted(pictures.unread.items())),
        "pictures": len(pictures.data), "pictures_without_room": pictures.no_room, "picture_side_px": pictures.side_px,
        "page_bytes": len(html.encode()), "folder_bytes": sum(map(len, pictures.data)) if options.folder else 0,
    })  # fmt: skip


def json_text(value: Any) -> str:
    """Compact JSON that may stand in a <script> block: no "<" is left, so that nothing in it can end or open one."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _policy(style: str, script: str, folder: bool) -> str:
    hashes = (b64encode(sha256(text.encode()).digest()).decode() for text in (script, style))
    script_hash, style_hash = hashes
    beside = " 'self' file:" if folder else ""
    return (
        f"default-src 'none'; script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'; img-src data:{beside}; "
        "base-uri 'none'; form-action 'none'"
    )


def _chunks(pictures: Pictures) -> Iterator[Any]:
    for start in range(0, len(pictures.data), _CHUNK):
        yield _raw(json_text([b64encode(data).decode() for data in pictures.data[start : start + _CHUNK]]))


def _files(pictures: Pictures, folder: str) -> list[str]:
    """Path of each picture, named by its content: a page that is made again never shows another row's picture."""
    suffix = pictures.suffix
    return [f"{folder}/{number:06d}-{sha256(d).hexdigest()[:12]}.{suffix}" for number, d in enumerate(pictures.data)]


def _notes(pictures: Pictures) -> Iterator[str]:
    if unread := sum(pictures.unread.values()):
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in pictures.unread.most_common())
        yield (
            f"{unread:,} of {unread + pictures.read:,} images of these rows could not be read ({kinds}); their cards say why. "
            f"Images that have moved: give source.root=... to the command."
        )
    if pictures.no_room:
        yield (
            f"{pictures.no_room:,} pictures had no room in this page: use --folder, fewer --rows or more --megabytes."
        )


def _sample_text(drawn: Drawn, options: GalleryOptions) -> str:
    shown, of = len(drawn.rows), drawn.population
    if shown == of:
        return f"All {of:,} rows of the finished shards are on this page."
    how = (
        "the same number of each fate where there are as many, each a uniform sample of its fate"
        if options.sample == "by-reason"
        else "a uniform sample of all rows"
    )
    return f"{shown:,} of {of:,} rows are on this page: {how}, by the hash of their ids (seed {options.seed})."


def _raw(text: str) -> Any:
    """Text that goes into the page as it is: our own files, and JSON without "<"."""
    from markupsafe import Markup

    return Markup(text)


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{seconds:.1f} s"


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ConfigError(f"the page needs jinja2 ({error}): install negscale[report]") from None
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        percent=lambda share: f"{share:.1%}", grouped=lambda number: f"{number:,}", duration=_duration
    )
    return environment.from_string((PAGE / "gallery.html.j2").read_text(encoding="utf-8"))
