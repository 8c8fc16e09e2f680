"""Grammatical realiser: rewrite a caption so that it states that an object is absent.

Offline counterpart of NegationCLIP's caption negation (arXiv 2501.10913, section 3 and the released
``data_generation.py``), where a language model gets two in-context examples and free rein. Here the negation is one of
five forms, is attached as a verb phrase, a prepositional phrase or a clause, early, in the middle or late in the
sentence, and the caption's own words keep their order. Nothing the caption asserts comes to stand in the negation's
scope: what follows a negated noun is set off by a comma, a preposition or a new clause.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, get_args

import numpy as np

from negscale.language.attach import Shape, shape_of
from negscale.language.candidates import candidates
from negscale.language.noun_forms import object_words, plural_share
from negscale.language.rewriting import MARK, Attachment, Candidate, Form, Position

T = TypeVar("T")

FORMS: tuple[Form, ...] = get_args(Form)

# Shares aimed at where a caption offers all of them.
_POSITION_WEIGHT: dict[Position, float] = {"early": 0.35, "middle": 0.36, "late": 0.33}
_FORM_WEIGHT: dict[str, float] = {"no": 0.27, "not": 0.29, "without": 0.23, "none": 0.14, "lexical": 0.22}


@dataclass(frozen=True, slots=True)
class Realisation:
    """A caption that states an absence; ``position`` is the third of the words its negation cue stands in."""

    text: str
    form: Form
    position: Position
    attachment: Attachment


def realise(
    caption: str, absent_object: str, rng: np.random.Generator, *, forms: Sequence[str] | None = None
) -> Realisation:
    """State in ``caption`` that ``absent_object`` is absent; deterministic for a given ``rng`` state.

    ``forms`` restricts the negation to some of "no", "not", "without", "none", "lexical". Raises ValueError for a caption or an
    object without any word and for an unknown form.
    """
    allowed = _checked_forms(forms)
    shape = shape_of(caption)
    # One draw of four numbers is several times cheaper than four draws.
    draws = rng.random(4)
    words = object_words(absent_object, draws[0] < plural_share(absent_object))
    by_position: dict[Position, list[Candidate]] = {}
    for candidate in candidates(shape, absent_object, words, float(draws[1])):
        if candidate.form in allowed:
            by_position.setdefault(position_of(candidate.text), []).append(candidate)
    places: list[tuple[Position, float]] = [
        (place, _POSITION_WEIGHT[place] * _richness(items)) for place, items in by_position.items()
    ]
    position = _pick(places, float(draws[2]))
    found = by_position[position]
    total_of_form: dict[str, float] = {}
    best_of_form: dict[str, float] = {}
    for item in found:
        total_of_form[item.form] = total_of_form.get(item.form, 0.0) + item.weight
        best_of_form[item.form] = max(best_of_form.get(item.form, 0.0), item.weight)
    shares = [
        (item, _FORM_WEIGHT[item.form] * best_of_form[item.form] * item.weight / total_of_form[item.form])
        for item in found
    ]
    chosen = _pick(shares, float(draws[3]))
    return Realisation(_finish(chosen.text, shape), chosen.form, position, chosen.attachment)


def position_of(marked: str) -> Position:
    """Third of the words that the mark, which stands before the negation cue, falls into."""
    at = marked.index(MARK)
    share = len(marked[:at].split()) / len(marked.split())
    return "early" if share < 1 / 3 else "middle" if share < 2 / 3 else "late"


def _checked_forms(forms: Sequence[str] | None) -> frozenset[str]:
    if forms is None:
        return frozenset(FORMS)
    unknown = sorted(set(forms) - set(FORMS))
    if unknown or not forms:
        raise ValueError(f"negation forms {list(forms)!r}: expected a non-empty choice from {list(FORMS)}")
    return frozenset(forms)


def _richness(found: list[Candidate]) -> float:
    """How well the best wording of a position reads: a position with only second choices is taken less often."""
    return min(2.0, max(candidate.weight for candidate in found) / 2.0)


def _pick(options: list[tuple[T, float]], draw: float) -> T:
    total = sum(weight for _, weight in options)
    running = 0.0
    for item, weight in options:
        running += weight
        if draw * total < running:
            return item
    return options[-1][0]


def _finish(marked: str, shape: Shape) -> str:
    """Drop the mark, add the closing punctuation, and follow the caption's own capitals."""
    text = marked.replace(MARK, "")
    if shape.shouted:
        text = text.upper()
    elif shape.text[0].isupper() or shape.num_sentences > 1:
        text = text[0].upper() + text[1:]
    closing = shape.closing
    if closing == "?" or (not closing and shape.num_sentences > 1):
        closing = "."
    return text + closing
