"""One line per promise: PASS or FAIL with its figures."""

from __future__ import annotations


def verdict(behaviour: str, passed: bool, **figures: object) -> None:
    """Print ``PASS behaviour: k=v ...`` (or FAIL) and fail the test when the promise is not kept."""
    shown = " ".join(f"{name}={_short(value)}" for name, value in figures.items())
    line = f"{'PASS' if passed else 'FAIL'} {behaviour}: {shown}"
    print(f"\n{line}", flush=True)
    assert passed, line


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
