"""The audit of question files as one HTML page: no scripts, no external resources, charts as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from negscale.core.errors import ConfigError
from negscale.report.questions import against_chance, cue_text

TEMPLATE = Path(__file__).with_name("questions_page.html.j2")
PLOT_PX = 460  # width of 0..100 % in the solver chart


def questions_page(audits: Sequence[Mapping[str, Any]]) -> str:
    """The page for audits as given by ``QuestionAudit.facts()``. Raises ConfigError without jinja2."""
    try:
        import jinja2
    except ImportError as error:
        raise ConfigError(f"the page needs jinja2 ({error}): install negscale[report]") from None
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.globals.update(against_chance=against_chance, cue_text=cue_text, px=PLOT_PX)
    environment.filters.update(percent=lambda share: f"{share:.1%}", grouped=lambda number: f"{number:,}")
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(audits=audits)
