"""Answers of annotators: which of them are a plain "no"."""

from __future__ import annotations

_PADDING = " \t.!,'\""


def is_no(answer: str) -> bool:
    """Whether an answer is the word "no" and nothing else, up to case and final punctuation.

    >>> [is_no(answer) for answer in ("no", "No.", "nope", "none", "not really", "no one", "")]
    [True, True, False, False, False, False, False]
    """
    return answer.strip(_PADDING).lower() == "no"
