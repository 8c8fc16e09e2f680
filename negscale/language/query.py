"""A search query taken apart: what it affirms, and the phrases it denies.

The training-free scorers need this split. SpaceVLM (arXiv 2511.12331) has a fine-tuned language model write it, tuned on
slices of the benchmarks that it is then scored on; "Seeing What's Not There" (ICLR 2026) finds scopes by rules. What differs:
the rules are this package's scope rules, tuned on captions and on no benchmark; nothing is rewritten, words are only left
out, so that the affirmed part may be short of a word but never holds one that the query lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from negscale.language.caches import SENTENCES
from negscale.language.scope import NegatedSpan, negated_spans
from negscale.language.tokens import Token, tokenise, word_set

_LOOSE: Final = frozenset({"PUNCT", "CONJ", "PREP", "AUX", "DET", "PART"})  # never closes or opens a phrase of its own
_LOOSE_START: Final = frozenset({"PUNCT", "CONJ", "AUX", "PART"})
_RELATIVES: Final = word_set("which that who where there it is")
_SHOWS: Final = word_set("show shows feature features include includes depict depicts contain contains")
_MEDIUM: Final = word_set(
    "image picture photo photograph scene this the a an of in with is are shows features includes depicts"
)


@dataclass(frozen=True, slots=True)
class Query:
    """`affirmed`: the query without its denials, "" when nothing but a mention of the picture is left; `denied` in order."""

    affirmed: str
    denied: tuple[str, ...]


@lru_cache(maxsize=SENTENCES)
def take_apart(text: str) -> Query:
    """What `text` affirms and what it denies.

    >>> take_apart("A man rides a horse on a beach, with no dog in sight.")
    Query(affirmed='A man rides a horse on a beach', denied=('dog',))
    >>> take_apart("There is no car in the picture.")
    Query(affirmed='', denied=('car',))
    """
    spans = negated_spans(text)
    if not spans:
        return Query(text, ())
    tokens = tokenise(text)
    out: set[int] = set()
    for span in spans:
        out |= set(range(min(span.cue_start, span.reach_start), max(span.cue_end, span.reach_end)))
    runs: list[list[int]] = []
    for at in range(len(tokens)):
        if at not in out:
            if runs and runs[-1][-1] == at - 1:
                runs[-1].append(at)
            else:
                runs.append([at])
    kept = [trimmed for run in runs if (trimmed := _trim(tokens, run, opens=run[0] == 0))]
    parts = [text[tokens[run[0]].start : tokens[run[-1]].end] for run in kept]
    words = {tokens[at].lower for run in kept for at in run if tokens[at].is_word}
    denied = tuple(dict.fromkeys(phrase for span in spans if (phrase := _denied(text, tokens, span))))
    return Query("" if words <= _MEDIUM else ", ".join(parts), denied)


def _trim(tokens: Sequence[Token], run: Sequence[int], opens: bool) -> list[int]:
    """A run of kept tokens without what only tied it to the words left out."""
    left, right = 0, len(run)
    while left < right and not opens and (
        tokens[run[left]].pos in _LOOSE_START or tokens[run[left]].lower in _RELATIVES | _SHOWS
    ):  # fmt: skip
        left += 1
    while right > left and (tokens[run[right - 1]].pos in _LOOSE or tokens[run[right - 1]].lower in _RELATIVES):
        right -= 1
    return list(run[left:right]) if any(tokens[at].is_content for at in run[left:right]) else []


def _denied(text: str, tokens: Sequence[Token], span: NegatedSpan) -> str:
    """The denied phrase without determiners before and a predicate after; the people that an empty street lacks."""
    start, end = span.start, span.end
    if start <= span.cue_start < end or start >= end:
        return "people" if "people" in span.implied else min(span.implied, default="")
    while start < end and (tokens[start].pos in ("DET", "AUX") or not tokens[start].is_word):
        start += 1
    predicate = next((at for at in range(start + 1, end) if tokens[at].pos == "AUX"), end)
    return text[tokens[start].start : tokens[predicate - 1].end] if predicate > start else ""
