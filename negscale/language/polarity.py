"""What a sentence says of an object: affirmed, denied, or nothing.

The grammar behind the caption check and the option check. A negation denies an object when its *scope* covers the
object's name, a synonym, a broader term, or implies it ("unoccupied": people).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from negscale.language.caches import SENTENCES, WORDS
from negscale.language.content import match_keys
from negscale.language.nouns import hypernyms, lemma, mentions, synonyms
from negscale.language.scope import NegatedSpan, negated_spans
from negscale.language.tokens import Token, tokenise

Polarity = Literal["affirmed", "denied", "both"]


def polarity(text: str, noun: str) -> Polarity | None:
    """Whether ``text`` says that ``noun`` is there, that it is not, both, or nothing of it. Never raises.

    >>> polarity("a kitchen with a sink but no cup", "sink"), polarity("a kitchen with no cup", "cup")
    ('affirmed', 'denied')
    >>> polarity("a dog in the park", "cat") is None
    True
    """
    tokens, spans = tokenise(text), negated_spans(text)
    denied = any(covers(text, tokens, span, noun, whole=False) for span in spans)
    affirmed = any(mentions(segment, noun) for segment in asserted_segments(text, tokens, spans))
    if affirmed and denied:
        return "both"
    return "affirmed" if affirmed else "denied" if denied else None


def denied_indices(spans: Iterable[NegatedSpan]) -> frozenset[int]:
    return frozenset(j for span in spans for j in range(span.start, span.end))


@lru_cache(maxsize=SENTENCES)
def asserted_segments(text: str, tokens: tuple[Token, ...], spans: tuple[NegatedSpan, ...]) -> tuple[str, ...]:
    """Stretches of ``text`` that no negation denies; what "unoccupied" implies is no text, so the cue itself goes."""
    hidden = denied_indices(spans) | {j for span in spans for j in range(span.cue_start, span.cue_end)}
    segments: list[str] = []
    start: int | None = None
    for j in range(len(tokens) + 1):
        if j == len(tokens) or j in hidden:
            if start is not None:
                segments.append(text[tokens[start].start : tokens[j - 1].end])
                start = None
        elif start is None:
            start = j
    return tuple(segments)


def covers(text: str, tokens: Sequence[Token], span: NegatedSpan, absent_object: str, *, whole: bool) -> bool:
    """Whether ``span`` denies the object by name, by synonym, by plural or without naming it ("unoccupied").

    ``whole`` counts the modifiers of what is denied as well.
    """
    if span.implied and any(mentions(absent_object, thing) for thing in span.implied):
        return True
    core = tokens[span.reach_start : span.reach_end] if whole else tokens[span.start : span.end]
    if not core or span.start == span.cue_start:
        return False
    if denying_denies(text[core[0].start : core[-1].end], absent_object):
        return True
    present = {key for token in core for key in match_keys(token.lower)}
    wanted = [token for token in tokenise(absent_object) if token.is_word and token.pos not in ("DET", "PREP", "CONJ")]
    return bool(wanted) and all(match_keys(token.lower) & present for token in wanted)


@lru_cache(maxsize=WORDS)
def _lemma_of(term: str) -> str | None:
    """Lemma of a stretch of words, None when it is no noun ("pair of")."""
    try:
        return lemma(term)
    except ValueError:
        return None


@lru_cache(maxsize=WORDS)
def denying_denies(phrase: str, absent_object: str) -> bool:
    """Whether "no ``phrase``" denies the object: it holds its name, a synonym or a broader term.

    A narrower or an associated term does not: "no puppy" leaves room for a dog, "no blanket" for a bed.
    """
    terms = synonyms(absent_object) | hypernyms(absent_object)
    words = [token.lower for token in tokenise(phrase) if token.is_word and token.pos != "DET"]
    for start in range(len(words)):
        for stop in range(start + 1, min(start + 3, len(words)) + 1):
            term = " ".join(words[start:stop])
            if _lemma_of(term) in terms and mentions(phrase, term):
                return True
    return False
