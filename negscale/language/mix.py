"""Mix of negation forms and positions over a set of captions.

NegationCLIP (arXiv 2501.10913) motivates its data by how captions negate; its own mix is not reported. Counts here say
which forms (no, not, without, ...) a data set teaches, and whether they stand early, in the middle or late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from negscale.language.cues import FORMS
from negscale.language.scope import POSITIONS, negated_spans


@dataclass(frozen=True, slots=True)
class NegationMix:
    """Counts of negations: ``counts[form][position]``; captions seen, and captions with at least one negation."""

    counts: dict[str, dict[str, int]]
    num_captions: int
    num_negated: int

    @property
    def num_negations(self) -> int:
        """All negations; a caption may hold several."""
        return sum(sum(row.values()) for row in self.counts.values())

    def by_form(self) -> dict[str, int]:
        """Counts per form, every form present."""
        return {form: sum(row.values()) for form, row in self.counts.items()}

    def by_position(self) -> dict[str, int]:
        """Counts per third of the caption in which the cue stands."""
        return {position: sum(row[position] for row in self.counts.values()) for position in POSITIONS}

    def rows(self) -> list[tuple[str, int, int, int, int, float]]:
        """Table rows (form, early, middle, late, total, share of all negations in 0..1), then the row ``total``."""
        total = max(self.num_negations, 1)
        table = []
        for form, row in self.counts.items():
            count = sum(row.values())
            table.append((form, row["early"], row["middle"], row["late"], count, count / total))
        sums = self.by_position()
        share = 1.0 if self.num_negations else 0.0
        table.append(("total", sums["early"], sums["middle"], sums["late"], self.num_negations, share))
        return table


def negation_mix(captions: Iterable[str]) -> NegationMix:
    """Count the negations of ``captions`` by form and position; holds one caption at a time.

    >>> negation_mix(["a dog with no hat", "no cats here"]).by_form()["no"]
    2
    """
    counts: dict[str, dict[str, int]] = {form: dict.fromkeys(POSITIONS, 0) for form in FORMS}
    num_captions = num_negated = 0
    for caption in captions:
        spans = negated_spans(caption)
        num_captions += 1
        num_negated += bool(spans)
        for span in spans:
            counts[span.form][span.position] += 1
    return NegationMix({form: dict(row) for form, row in counts.items()}, num_captions, num_negated)
