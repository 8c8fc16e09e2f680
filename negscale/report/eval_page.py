"""An evaluation as one HTML page: models and benchmarks with intervals, controls, published figures, plots, items, lineage.

The page is one file without scripts: it needs no network, works from file://, in both colour schemes, by keys (its folds and
links are the browser's own) and on a phone, where the rows of a table become blocks. Its policy (CSP) admits its own style
and the pictures inside it, and nothing else.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from negscale.benchmarks.cells import Cell, Suite
from negscale.core.errors import AuditError, ConfigError
from negscale.report import eval_charts as charts
from negscale.report import eval_figures as figures
from negscale.report.eval_items import ShownItem, extremes
from negscale.report.eval_pictures import make_thumbnails
from negscale.report.gallery_images import ReadsImages

PAGE = Path(__file__).with_name("eval_page")


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What the page holds."""

    items: int = 4  # best and worst items of each model on each benchmark, so many each
    budget_mb: float = 24.0  # of pictures in the page, in 10**6 characters of base64


@dataclass(frozen=True, slots=True)
class EvalPage:
    """A page, and what it holds."""

    html: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShownCell:
    """The items of one model on one benchmark."""

    model: str  # its name
    best: Sequence[ShownItem]
    worst: Sequence[ShownItem]
    why_not: str = ""  # where the rows could not be read


def build_eval_page(
    suite: Suite, reader: ReadsImages, options: EvalOptions | None = None, version: str = "",
) -> EvalPage:  # fmt: skip
    """The page of a finished evaluation.

    reader: of the items' images, below the suite's image root; one that raises ImageError leaves a gap that says why.
    Raises ConfigError for bad options, and without jinja2.
    """
    options = options or EvalOptions()
    if options.budget_mb <= 0 or options.items < 0:
        raise ConfigError(
            f"--megabytes {options.budget_mb:g}, --rows {options.items}: expected a number above 0, and 0 or more"
        )
    template = _template()
    names = figures.names_of(suite)
    benchmarks = [name for name in suite.benchmarks if figures.cells_of(suite, name)]
    chosen = {
        name: [_shown_cell(suite, cell, names, options.items) for cell in figures.cells_of(suite, name)]
        for name in benchmarks
    }
    every = [i for cells in chosen.values() for cell in cells for i in (*cell.best, *cell.worst)]
    budget = int(options.budget_mb * 1e6 * 3 / 4)
    pictures = make_thumbnails((path for item in every for path in item.images), reader, budget)
    style = (PAGE / "eval.css").read_text("utf-8")
    html = template.render(
        suite=suite, names=names, benchmarks=benchmarks, items=chosen, pictures=pictures.by_reference, version=version,
        sections={name: _section(suite, name) for name in benchmarks}, f=figures, unread=sum(pictures.unread.values()),
        blind_chart=charts.blind_chart(suite), against=charts.against_charts(suite), style=_raw(style), policy=_policy(style),
        backends={model.key: json.dumps(model.backend, indent=1, sort_keys=True) for model in suite.models},
        anchors={name: f"b{number}" for number, name in enumerate(benchmarks, 1)}, width=charts.WIDTH,
    )  # fmt: skip
    return EvalPage(html, {
        "evaluation": suite.uri, "models": len(suite.models), "benchmarks": len(benchmarks), "items_shown": len(every),
        "pictures": sum(bool(one.src) for one in pictures.by_reference.values()), "picture_side_px": pictures.side_px,
        "images_unread": dict(sorted(pictures.unread.items())), "page_bytes": len(html.encode()),
        "absent": len(suite.absent), "refused": len(suite.refused),
    })  # fmt: skip


def _section(suite: Suite, benchmark: str) -> dict[str, Any]:
    """What the section of one benchmark says, model by model where they differ."""
    cells = figures.cells_of(suite, benchmark)
    return {
        "cells": cells, "first": cells[0], "lines": figures.line_names(suite, benchmark),
        "by_type": charts.type_chart(suite, benchmark),
        "controls": list(dict.fromkeys(name for cell in cells for name in cell.controls)),
        "published": figures.by_source(figures.published_of(suite, benchmark)), "pairs": figures.pairs_of(suite, benchmark),
        "highest": figures.highest_published(suite, benchmark), "blind": figures.blind(cells[0]),
        "notes": _by_text({cell.model: {k: f"{n:,}" for k, n in cell.notes.items()} for cell in cells}),
        "skipped": _by_text({cell.model: dict(cell.skipped) for cell in cells}),
        "lineage": _by_text({cell.model: dict(figures.flat(cell.lineage)) for cell in cells}),
    }  # fmt: skip


def _by_text(said: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str, tuple[str, ...]]]:
    """(name, text, models that say so) of facts of several models; what all of them say stands once, with no models."""
    found: dict[tuple[str, str], list[str]] = {}
    for model, facts in said.items():
        for name, text in facts.items():
            found.setdefault((name, text), []).append(model)
    return [
        (name, text, () if len(models) == len(said) else tuple(models)) for (name, text), models in found.items()
    ]  # fmt: skip


def _shown_cell(suite: Suite, cell: Cell, names: Mapping[str, str], count: int) -> ShownCell:
    if not count:
        return ShownCell(names[cell.model], (), ())
    try:
        best, worst = extremes(cell.task, suite.items(cell.benchmark, cell.model), count)
    except AuditError as error:
        return ShownCell(names[cell.model], (), (), str(error))
    return ShownCell(names[cell.model], best, worst)


def _policy(style: str) -> str:
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _raw(text: str) -> Any:
    """Our own style sheet goes into the page as it is."""
    from markupsafe import Markup

    return Markup(text)


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ConfigError(f"the page needs jinja2 ({error}): install negscale[report]") from None
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(PAGE),
    )  # fmt: skip
    environment.filters.update(
        grouped=lambda number: f"{number:,}",
        spaced=lambda name: name.replace("_", " ").replace("/", " / "),
        list_index=lambda held, one: held.index(one),
    )
    return environment.get_template("eval.html.j2")
