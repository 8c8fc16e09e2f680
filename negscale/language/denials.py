"""What a referring expression denies: its negation, the things whose presence it denies, the side it denies.

NegRefCOCOg (NegationCLIP, arXiv 2501.10913) takes every RefCOCOg expression with a negation word. Nine of its 440 have
none: in "the batter with no . 10" the "no" is a number. Here a negation counts when its scope holds something.
`Denial.things` are those that annotations can be asked about: bare nouns ("no ball", "not next to a ball"), not "no red
ball", since a box does not say red, and not "not behind a ball", since a box does not say behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from negscale.language.caches import SENTENCES, WORDS
from negscale.language.cues import Form, pseudo_cue_length
from negscale.language.nouns import hypernyms, singular, synonyms
from negscale.language.scope import NegatedSpan, Position, negated_spans
from negscale.language.tokens import Token, tokenise, word_set

Side: TypeAlias = Literal["left", "right", "top", "bottom"]
NoDenial: TypeAlias = Literal["no_negation", "look_alike", "double_negation", "denies_nothing"]

_HAVING: Final = word_set("have hold carry wear contain include show feature")
_BESIDE: Final = word_set("next to beside besides near by with alongside around")
_FILLERS: Final = word_set("any other others another single one more visible actual")  # "no other dogs" denies dogs
_PLACE_WORDS: Final = word_set("side hand part end of image picture photo far")
_SIDES: Final[dict[str, Side]] = {
    "left": "left", "leftmost": "left", "right": "right", "rightmost": "right", "top": "top", "bottom": "bottom",
}  # fmt: skip
_OPEN: Final = frozenset({"NOUN", "VERB", "ADJ", "NUM", "PRON", "PREP"})


@dataclass(frozen=True, slots=True)
class Denial:
    """One negation of an expression."""

    cue: str
    form: Form
    position: Position
    phrase: str  # the words in the cue's scope; the cue itself where it carries what it denies ("empty")
    things: frozenset[str]  # singular nouns whose presence at the referent is denied
    subject: bool  # the denied phrase stands before the cue ("its tail is not visible")
    side: Side | None  # "not on the left"


@lru_cache(maxsize=SENTENCES)
def find_denial(expression: str) -> Denial | NoDenial:
    """The first negation of `expression` that denies something, or why there is none.

    >>> find_denial("the dog with no ball next to it").phrase
    'ball'
    >>> find_denial("the batter with no . 10")
    'look_alike'
    """
    tokens = tokenise(expression)
    spans = negated_spans(expression)
    for span in spans:
        if _denies(tokens, span):
            core = tokens[span.start : span.end] or tokens[span.cue_start : span.cue_end]  # "no one under it"
            subject = span.end <= span.cue_start < span.cue_end
            named = (
                frozenset() if span.start <= span.cue_start < span.end else frozenset(_things(core, span.form, subject))
            )
            return Denial(
                span.cue, span.form, span.position, expression[core[0].start : core[-1].end],
                named | span.implied, subject, _side(core),
            )  # fmt: skip
    if spans:
        return "denies_nothing"
    if any(pseudo_cue_length(tokens, at) for at in range(len(tokens))):
        return "look_alike"
    return "double_negation" if negated_spans(expression, keep_double=True) else "no_negation"


def _denies(tokens: Sequence[Token], span: NegatedSpan) -> bool:
    """Whether the scope holds more than determiners and degrees: "not very" denies nothing."""
    core = tokens[span.start : span.end]
    return bool(span.implied) or any(t.pos in _OPEN or (t.pos == "ADV" and t.is_content) for t in core)


def _things(core: Sequence[Token], form: Form, subject: bool) -> Iterator[str]:
    """Bare nouns that head the denied phrase, joined by "or", "and" and commas; nothing after the first other word."""
    at = 0
    while at < len(core) and (core[at].pos == "AUX" or core[at].lemma in _HAVING or core[at].lower in _BESIDE):
        at += 1
    if at == 0 and form in ("not", "never") and not subject:
        return  # "the cat, not the reflection" says what the referent is not, and nothing of what is there
    while at < len(core):
        while at < len(core) and (core[at].pos == "DET" or core[at].lower in _FILLERS):
            at += 1
        start = at
        while at < len(core) and core[at].pos in ("NOUN", "ADJ", "PRON") and core[at].is_word:
            at += 1
        if at > start:
            yield singular(" ".join(token.lower for token in core[start:at]))
        if at >= len(core) or core[at].lower not in ("or", "nor", "and", ","):
            return
        at += 1


def _side(core: Sequence[Token]) -> Side | None:
    """The side when the phrase names a side and nothing else: "on the left", not "the left image"."""
    while core and core[0].pos in ("DET", "AUX"):
        core = core[1:]
    if not core or (core[0].pos != "PREP" and not core[0].lower.endswith("most")):
        return None
    core = core[1:] if core[0].pos == "PREP" else core
    words = [token.lower for token in core if token.pos != "DET" and token.is_word]
    sides: set[Side] = {_SIDES[word] for word in words if word in _SIDES}
    others = [word for word in words if word not in _SIDES and word not in _PLACE_WORDS]
    return next(iter(sides)) if len(sides) == 1 and not others else None


@lru_cache(maxsize=WORDS)
def denies_category(thing: str, category: str) -> bool:
    """Whether denying `thing` denies every `category`: the same noun, a synonym, or a broader one ("animal" for dogs).

    A narrower one does not: "no child" leaves room for a person.
    """
    found, todo = set(), [category]
    while todo:
        term = todo.pop()
        if term not in found:
            found |= synonyms(term) | {term}
            todo += hypernyms(term)
    return thing in found
