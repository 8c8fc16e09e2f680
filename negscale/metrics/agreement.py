"""How often two judges say the same of the same rows, and how much of that is chance (Cohen's kappa)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Agreement:
    """Counts over the rows that both judges answered."""

    both_yes: int = 0
    both_no: int = 0
    first_only: int = 0  # the first says yes, the second no
    second_only: int = 0

    def add(self, first: Iterable[bool | None], second: Iterable[bool | None]) -> None:
        """Count more rows; one that a judge did not answer is left out."""
        for one, other in zip(first, second, strict=True):
            if one is None or other is None:
                continue
            self.both_yes += one and other
            self.both_no += not one and not other
            self.first_only += one and not other
            self.second_only += other and not one

    @property
    def rows(self) -> int:
        """Rows that both answered."""
        return self.both_yes + self.both_no + self.first_only + self.second_only

    @property
    def share(self) -> float | None:
        """Share of rows with equal answers; None without rows."""
        return (self.both_yes + self.both_no) / self.rows if self.rows else None

    @property
    def kappa(self) -> float | None:
        """Agreement beyond chance, 1 = always equal; None without rows, or where both always give the one same answer."""
        if self.share is None:
            return None
        first, second = (self.both_yes + self.first_only) / self.rows, (self.both_yes + self.second_only) / self.rows
        chance = first * second + (1 - first) * (1 - second)
        return None if chance == 1 else (self.share - chance) / (1 - chance)

    def facts(self) -> dict[str, int | float | None]:
        """As plain values."""
        return {
            "rows": self.rows, "share": self.share, "kappa": self.kappa, "both_yes": self.both_yes,
            "both_no": self.both_no, "first_only": self.first_only, "second_only": self.second_only,
        }  # fmt: skip
