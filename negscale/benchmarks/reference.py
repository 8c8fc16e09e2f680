"""Published figures with their sources and known faults, so that a run can print paper beside ours.

The figures are data (`reference.yaml`), each with how it was read and what is wrong with it. Of the four papers none says
where its baselines come from, and three values circulate for one model on one benchmark (arXiv 2501.09425, table 1
against table 2 of its appendix).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

from omegaconf import OmegaConf
from pydantic import Field, ValidationError

from negscale.core.config import Config
from negscale.core.errors import ConfigError


class SourceOfFigures(Config):
    """Where figures come from, and what is wrong with all of them."""

    paper: str
    """Citation."""
    faults: tuple[str, ...] = ()
    """Known faults of the protocol or the data behind it."""


class ReferenceRow(Config):
    """One published figure."""

    benchmark: str
    """As `negscale.benchmarks.catalogue` names it."""
    metric: str
    """As a run names it, "accuracy/hybrid" for the part of one type."""
    model: str
    """As the source names it."""
    value: float
    """As printed."""
    unit: Literal["percent", "fraction", "rank", "distance"] = "percent"
    """Of the value."""
    source: str
    """Key of the source."""
    evidence: Literal["paper", "file", "figure", "secondary"]
    """How the figure was read."""
    faults: tuple[str, ...] = ()
    """Of this figure, beyond its source's."""

    @property
    def fraction(self) -> float:
        """The value in the unit of a run's own."""
        return self.value / 100 if self.unit == "percent" else self.value


class References(Config):
    """All published figures."""

    sources: Mapping[str, SourceOfFigures] = Field(default_factory=dict)
    """By key."""
    rows: tuple[ReferenceRow, ...] = ()
    """In the order of the file."""

    def of(self, benchmark: str, metric: str = "") -> tuple[ReferenceRow, ...]:
        """The figures of a benchmark, or of one of its metrics."""
        return tuple(row for row in self.rows if row.benchmark == benchmark and metric in ("", row.metric))

    def faults(self, row: ReferenceRow) -> tuple[str, ...]:
        """Everything that is known to be wrong with a figure."""
        return (*self.sources[row.source].faults, *row.faults)


def parse_references(text: str, name: str) -> References:
    """Figures of a YAML text. Raises ConfigError for unknown keys and sources, and for figures that stand twice."""
    try:
        found = References.model_validate(OmegaConf.to_container(OmegaConf.create(text)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{name}: {where}: {first['msg']}, got {str(first.get('input'))[:80]!r}") from None
    seen: set[tuple[str, str, str, str]] = set()
    for row in found.rows:
        if row.source not in found.sources:
            raise ConfigError(f"{name}: source {row.source!r} of {row.model!r} is not listed under sources")
        key = (row.benchmark, row.metric, row.model, row.source)
        if key in seen:
            raise ConfigError(f"{name}: the figure of {row.model!r} on {row.benchmark} ({row.metric}) stands twice")
        seen.add(key)
    return found


@cache
def references(name: str = "reference.yaml") -> References:
    """The figures that come with negscale; nein_reference.yaml: those of editors."""
    return parse_references(files("negscale.benchmarks").joinpath(name).read_text("utf-8"), name)
