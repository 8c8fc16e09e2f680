"""Functions compiled to machine code that run without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` by Numba, kept on disk beside its module or in the user's cache; where neither can be written, not kept.

    Array indices are not checked. It is compiled at its first call (a second or two).
    """
    try:
        return numba.njit(nogil=True, cache=True, boundscheck=False)(function)
    except RuntimeError:  # no place to keep it: a read-only image without a home
        return numba.njit(nogil=True, boundscheck=False)(function)
