"""The figures of an evaluation as a reader wants them: every one with its interval, beside its control and what was published.

Published tables of negation (NegBench, arXiv 2501.09425; NegationCLIP, 2501.10913; VALSE, 2112.07566) print a bare value. What
differs: here no value stands without its interval, its count and what is missing in it, the released protocol's value
follows it, and a published figure comes with its source and its known faults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from negscale.benchmarks.cells import Cell, Pair, Published, Suite
from negscale.benchmarks.evaluation import Score
from negscale.core.benchmark import Estimate

OTHER_IMAGES = "the model, other images"  # a control, but not a blind one: it is the model that answers
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Line:
    """One score of one model: whole, or of the items of one type."""

    name: str  # "accuracy", "accuracy/hybrid"
    unit: str
    estimate: Estimate
    as_released: Estimate | None  # of the whole only


@dataclass(frozen=True, slots=True)
class Beside:
    """A published figure and what the models of this evaluation have on the same score."""

    published: Published
    unit: str
    ours: Mapping[str, Estimate]  # model key -> estimate; without those that have no such score


def shown(value: float | None, unit: str = "fraction") -> str:
    """A value as text: shares in percent, ranks as they are, a dash for no number.

    >>> shown(0.4725), shown(3.5, "rank"), shown(float("nan")), shown(None)
    ('47.2', '3.5', '–', '–')
    """
    if value is None or not isfinite(value):
        return NOTHING
    return f"{100 * value:.1f}" if unit == "fraction" else f"{value:.4g}"


def interval(estimate: Estimate, unit: str = "fraction") -> str:
    """The bounds of the 95 % interval as text; "" where there is none.

    >>> interval(Estimate(0.5, 10, 0, 0.2366, 0.7634))
    '23.7 – 76.3'
    """
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{shown(estimate.low, unit)} – {shown(estimate.high, unit)}"


def signed(value: float) -> str:
    """A difference of shares in points, with its sign.

    >>> signed(0.031), signed(-0.0004)
    ('+3.1', '0.0')
    """
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def p_text(p: float) -> str:
    """A p-value as text.

    >>> p_text(0.00049), p_text(0.0312), p_text(1.0)
    ('< 0.001', '0.031', '1.000')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def lines(cell: Cell) -> list[Line]:
    """Every score of a cell, each followed by its parts."""
    found: list[Line] = []
    for score in cell.scores:
        found.append(Line(score.name, score.unit, score.estimate, score.as_released))
        found += [Line(f"{score.name}/{group}", score.unit, part, None) for group, part in score.groups.items()]
    return found


def line_names(suite: Suite, benchmark: str) -> list[str]:
    """The names of all lines of a benchmark, in the order of its cells."""
    return list(dict.fromkeys(line.name for cell in cells_of(suite, benchmark) for line in lines(cell)))


def line(cell: Cell, name: str) -> Line | None:
    """The line called `name`."""
    return next((one for one in lines(cell) if one.name == name), None)


def cells_of(suite: Suite, benchmark: str) -> list[Cell]:
    """The cells of a benchmark in the order of the models; without models that it was not put to."""
    return [suite.cells[benchmark, model.key] for model in suite.models if (benchmark, model.key) in suite.cells]


def names_of(suite: Suite) -> dict[str, str]:
    """Model key -> what the user calls the model."""
    return {model.key: model.name or model.key for model in suite.models}


def blind(cell: Cell) -> tuple[str, Estimate] | None:
    """The strongest solver without the image: the one that the gain is taken over, else the best of the controls."""
    if cell.gain is not None and cell.gain.over in cell.controls:
        return cell.gain.over, cell.controls[cell.gain.over]
    own = {name: one for name, one in cell.controls.items() if name != OTHER_IMAGES and isfinite(one.value)}
    best = max(own, key=lambda name: own[name].value, default="")
    return (best, own[best]) if best else None


def published_of(suite: Suite, benchmark: str) -> list[Beside]:
    """The published figures of a benchmark, each once, beside this evaluation's own."""
    cells = cells_of(suite, benchmark)
    found: list[Beside] = []
    for row in dict.fromkeys(_key(row) for cell in cells for row in cell.reference):
        own = {cell.model: one for cell in cells if (one := line(cell, row.score)) is not None}
        unit = next((one.unit for one in own.values()), "fraction")
        found.append(Beside(row, unit, {model: one.estimate for model, one in own.items()}))
    return found


@dataclass(frozen=True, slots=True)
class FromSource:
    """The published figures of one source: what is wrong with all of them, and each with what is wrong with it alone."""

    source: str
    faults: tuple[str, ...]
    rows: tuple[tuple[Beside, tuple[str, ...]], ...]


def by_source(found: Sequence[Beside]) -> list[FromSource]:
    """Published figures by source, in the order of their first figures."""
    groups: dict[str, list[Beside]] = {}
    for one in found:
        groups.setdefault(one.published.source, []).append(one)
    made = []
    for source, several in groups.items():
        common = tuple(f for f in several[0].published.faults if all(f in one.published.faults for one in several))
        rows = tuple((one, tuple(f for f in one.published.faults if f not in common)) for one in several)
        made.append(FromSource(source, common, rows))
    return made


def highest_published(suite: Suite, benchmark: str) -> Published | None:
    """The highest published figure of a model on the headline score; figures without an image are no model's."""
    cells = cells_of(suite, benchmark)
    if not cells or cells[0].headline.higher_is_better is not True:
        return None
    rows = [one.published for one in published_of(suite, benchmark)]
    models = [row for row in rows if row.score == cells[0].headline.name and not row.model.startswith("no image")]
    return max(models, key=lambda row: row.value, default=None)


def pairs_of(suite: Suite, benchmark: str) -> tuple[Pair, ...]:
    """The differences between models on a benchmark."""
    return suite.paired.get(benchmark, ())


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """(path, text) of every leaf of nested JSON values; what is empty or null is left out.

    >>> flat({"files": {"a.csv": "9f"}, "training": None, "seeds": [1, 2]})
    [('files / a.csv', '9f'), ('seeds', '1, 2')]
    """
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() for leaf in flat(inner, f"{name} / {key}" if name else str(key))]
    if isinstance(value, (list, tuple)) and any(isinstance(inner, (Mapping, list, tuple)) for inner in value):
        return [leaf for at, inner in enumerate(value) for leaf in flat(inner, f"{name} / {at}" if name else str(at))]
    if isinstance(value, (list, tuple)):
        return [(name, ", ".join(map(str, value)))] if value else []
    return [] if value is None or value == "" else [(name, str(value))]


def headline_name(score: Score) -> str:
    """A score's name for a table's cell: "recall@5, text to image"."""
    direction, _, rest = score.name.rpartition("/")
    return f"{rest.replace('_', ' ')}, {direction.replace('_', ' ')}" if direction else rest.replace("_", " ")


def _key(row: Published) -> Published:
    """A figure that can be hashed whatever list type it was read into."""
    return Published(row.model, row.score, row.value, row.source, tuple(row.faults), row.evidence)
