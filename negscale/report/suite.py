"""An evaluation as a table for the terminal: models x benchmarks, each value beside what a blind solver gets.

The published tables print a value. Here a row is one model on one benchmark: value and interval, the value by the released
protocol, the strongest control that sees no image, the gain over it, and a published figure of the same score.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from negscale.benchmarks.cells import Cell, Pair, Published, Suite
from negscale.report.eval_figures import NOTHING, OTHER_IMAGES, blind, cells_of, interval, p_text, shown, signed

_NO_IMAGE = "no image"  # published rows of blind solvers, which stand among the controls already
_ALPHA = 0.05


def suite_table(suite: Suite) -> RenderableType:
    """All cells, what the root lacks, what was refused, and which differences between models are more than luck."""
    table = Table(title=f"{suite.data_root}: {len(suite.models)} models", title_justify="left")
    for name, justify in (
        ("benchmark", "left"), ("model", "left"), ("value [95 %]", "right"), ("released", "right"),
        ("blind", "right"), ("gain [95 %]", "right"), ("shuffled", "right"), ("published", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for benchmark in suite.benchmarks:
        for place, cell in enumerate(cells_of(suite, benchmark)):
            table.add_row("" if place else f"{benchmark}\n{cell.headline.name}", cell.model, *_figures(cell))
        table.add_section()
    legend = (
        "times 100 · released: by the released protocol · blind: the strongest solver that sees no image · gain: over it · "
        "shuffled: the model with other images · published: of the named model"
    )
    return Group(
        table, *map(Text, [legend, *_controls(suite), *_noticed(suite), *_differences(suite), *_left_out(suite)])
    )


def published_for(cell: Cell) -> Published | None:
    """A published figure of the cell's headline: of the plain CLIP that the papers start from where there is one."""
    rows = [row for row in cell.reference if row.score == cell.headline.name and not row.model.startswith(_NO_IMAGE)]
    return next((row for row in rows if row.model == "CLIP B/32"), rows[0] if rows else None)


def _figures(cell: Cell) -> list[str]:
    score, control, paper = cell.headline, blind(cell), published_for(cell)
    gain, other = cell.gain, cell.controls.get(OTHER_IMAGES)
    value, missing = score.estimate, f"{cell.missing:,} missing" if cell.missing else ""
    return [
        "\n".join(filter(None, [shown(value.value, score.unit), interval(value, score.unit), missing])),
        shown(score.as_released.value, score.unit) if score.as_released else "",
        f"{shown(control[1].value)}\n{control[0]}" if control else NOTHING,
        f"{signed(gain.value)}\n{signed(gain.low)} to {signed(gain.high)}" if gain else NOTHING,
        shown(other.value) if other else NOTHING,
        f"{shown(paper.value, score.unit)}\n{paper.model}" if paper else NOTHING,
    ]  # fmt: skip


def _controls(suite: Suite) -> list[str]:
    """Every blind control of each benchmark; they are the same for all models."""
    lines = []
    for benchmark in suite.benchmarks:
        cell = cells_of(suite, benchmark)[0]
        own = [f"{name} {shown(value.value)}" for name, value in cell.controls.items() if name != OTHER_IMAGES]
        own += [f"{name} did not run: {why}" for name, why in cell.skipped.items()]
        if own:
            lines.append(f"{benchmark}, without images: {', '.join(own)}")
    return lines


def _noticed(suite: Suite) -> list[str]:
    lines = []
    for (benchmark, model), cell in suite.cells.items():
        if cell.notes:
            lines.append(f"{benchmark}, {model}: " + ", ".join(f"{what} {n:,}" for what, n in cell.notes.items()))
    return lines


def _differences(suite: Suite) -> list[str]:
    found = []
    for benchmark, pairs in suite.paired.items():
        main = cells_of(suite, benchmark)[0].headline.name
        found += [_difference(benchmark, pair) for pair in pairs if pair.score == main]
    return found


def _difference(benchmark: str, pair: Pair) -> str:
    verdict = "more than luck" if pair.p < _ALPHA else "may be luck"
    span = f"{signed(pair.difference)} ({signed(pair.low)} to {signed(pair.high)})"
    return f"{benchmark}, {pair.score}: {pair.b} minus {pair.a} {span}, {pair.test} p {p_text(pair.p)}, {verdict}"


def _left_out(suite: Suite) -> list[str]:
    lines = [f"{one.benchmark}, {one.model}: not scored: {one.why}" for one in suite.not_scored]
    lines += [f"refused: {benchmark}: {why}" for benchmark, why in suite.refused.items()]
    return lines + [f"absent: {absent.advice}" for absent in suite.absent]
