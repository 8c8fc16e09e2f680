"""Ask again, with a new seed, what could not be read the first time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from negscale.core.stage import Fault, Outcome


def ask_again(rows: int, max_attempts: int, ask: Callable[[Sequence[int], int], Sequence[Outcome]]) -> list[Outcome]:
    """One outcome per row: `ask(open rows, attempt)` is called while rows have none or a retryable Fault."""
    outcomes: list[Outcome] = [Fault("unparsable", "never asked", retryable=True)] * rows
    for attempt in range(max_attempts):
        open_ = [i for i, o in enumerate(outcomes) if isinstance(o, Fault) and o.retryable]
        if not open_:
            break
        for i, outcome in zip(open_, ask(open_, attempt), strict=True):
            outcomes[i] = outcome
    return outcomes
