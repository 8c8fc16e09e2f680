"""Grammatical merger: a question answered "no" becomes a negation inside a caption of its image.

Offline counterpart of NegationCLIP's P2 (arXiv 2501.10913, section 3.1), where a language model merges question, "no"
and caption with a prompt that is not published. "Is the man wearing a hat?" becomes "not wearing a hat" beside the man
when the caption opens with one, else a clause of its own ("..., and the man is not wearing a hat"). The caption's own
words keep their order; commas and clauses keep them out of the negation's scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import lemminflect
import numpy as np

from negscale.language.attach import Shape, Subject, being_of, shape_of
from negscale.language.noun_forms import object_words
from negscale.language.nouns import (
    hypernyms,
    hyponyms,
    indefinite,
    is_uncountable,
    plural,
    singular,
    singular_word,
    synonyms,
)
from negscale.language.questions import Question, QuestionError, parse_question
from negscale.language.realise import FORMS, position_of, realise
from negscale.language.rewriting import MARK, Candidate, Form, Position
from negscale.language.tokens import tokenise

_IMPERSONAL: Final = frozenset({
    "raining", "snowing", "sunny", "cloudy", "foggy", "daytime", "nighttime", "dark", "overcast", "night", "day", "light",
})  # fmt: skip
_HAVING: Final = frozenset({"have", "wearing", "has"})
_ARTICLES: Final = ("a", "an", "any", "some")


class CannotMerge(ValueError):
    """Nothing was written; ``kind`` is a stable snake_case label of why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Merged:
    """A caption that states what the "no" denies; ``position`` is the third of the words its negation cue stands in."""

    text: str
    form: Form
    position: Position


def merge_no(question: str, caption: str, rng: np.random.Generator, *, forms: Sequence[str] | None = None) -> Merged:
    """The caption with the content of the question denied; deterministic for a given ``rng`` state.

    ``forms`` restricts the negation to some of `negscale.language.realise.FORMS`. Raises CannotMerge (kinds of
    `QuestionError`, ``caption_not_parsed``, ``no_referent``, ``no_such_form``) and ValueError for an unknown form.
    """
    allowed = frozenset(forms or FORMS)
    if unknown := sorted(allowed - set(FORMS)):
        raise ValueError(f"negation forms {unknown!r}: expected a choice from {list(FORMS)}")
    try:
        asked = parse_question(question)
        shape = shape_of(caption)
    except QuestionError as error:
        raise CannotMerge(error.kind, str(error)) from error
    except ValueError as error:
        raise CannotMerge("caption_not_parsed", str(error)) from error
    draws = rng.random(2)
    if asked.is_bare:
        found = realise(caption, asked.predicate, rng, forms=sorted(allowed))
        return Merged(found.text, found.form, found.position)
    written = _existence(asked, shape) if asked.pattern == "existence" else _predication(asked, shape)
    by_form: dict[str, list[Candidate]] = {}
    for candidate in written:
        if candidate.form in allowed:
            by_form.setdefault(candidate.form, []).append(candidate)
    if not by_form:
        raise CannotMerge("no_such_form", f"{question!r} cannot be denied with {sorted(allowed)} in {caption!r}")
    # forms share evenly in what each offers best: "not" has most wordings, and would drown the others
    groups = sorted(by_form.items())
    group = groups[_pick([max(c.weight for c in members) for _, members in groups], draws[0])][1]
    chosen = group[_pick([c.weight for c in group], draws[1])]
    return Merged(_finished(chosen.text, shape), chosen.form, position_of(chosen.text))


def _pick(weights: Sequence[float], draw: float) -> int:
    at = int(np.searchsorted(np.cumsum(weights), draw * sum(weights), "right"))
    return min(at, len(weights) - 1)


def same_kind(noun: str, other: str) -> bool:
    """Whether two nouns may name one thing: synonyms, or one broader than the other ("man", "person")."""
    one, two = singular(noun), singular(other)
    return bool(synonyms(one) & synonyms(two)) or two in hyponyms(one) or two in hypernyms(one) or one in hyponyms(two)


# -- existence ----------------------------------------------------------------------------------------------------------


def _existence(asked: Question, shape: Shape) -> Iterator[Candidate]:
    """A thing with its place or its properties: "with no people in the boat"."""
    many = asked.auxiliary == "are" and not is_uncountable(asked.predicate)
    words = object_words(asked.predicate, many)
    mass = asked.auxiliary == "is" and indefinite(asked.predicate) == asked.predicate  # "is there snow"
    tail = f" {asked.tail}" if asked.tail else " in sight"
    # "isn't any red car parked here": after "isn't a", a participle would open a predicate of its own
    acting = bool(asked.tail) and tokenise(asked.tail)[0].pos == "VERB"
    one = f"any {asked.predicate}" if mass or acting else words.any_of if many else words.subject
    are, text = words.are_no, shape.text
    if shape.num_sentences > 1:
        yield Candidate(f"{text}. There {are} {MARK}no {words.after_no}{tail}", "no", "clause", 1.0)
        yield Candidate(f"{text}. There {are} {MARK}not {one}{tail}", "not", "clause", 1.0)
        return
    yield Candidate(f"{text}, with {MARK}no {words.after_no}{tail}", "no", "prepositional_phrase", 2.0)
    yield Candidate(f"{text}, {MARK}without {one}{tail}", "without", "prepositional_phrase", 2.0)
    yield Candidate(f"{text}, but there {are} {MARK}no {words.after_no}{tail}", "no", "clause", 1.0)
    yield Candidate(f"{text}, and there {are}{MARK}n't {one}{tail}", "not", "clause", 2.0)
    yield Candidate(f"{text}, and there {are} {MARK}not {one}{tail}", "not", "clause", 0.5)
    if shape.mood == "finite":
        lower = _lowered(shape)
        yield Candidate(f"there {are} {MARK}no {words.after_no}{tail}, but {lower}", "no", "clause", 0.7)
        yield Candidate(f"{MARK}without {one}{tail}, {lower}", "without", "prepositional_phrase", 0.7)


# -- a subject and its predicate ----------------------------------------------------------------------------------------


def _predication(asked: Question, shape: Shape) -> Iterator[Candidate]:
    if asked.is_indefinite:
        yield from _nobody(asked, shape)
        return
    if asked.is_pronoun and not _has_referent(asked, shape):
        raise CannotMerge("no_referent", f"nothing in {shape.text!r} is clearly {asked.subject!r}")
    subject = shape.subject
    same = subject is not None and shape.num_sentences == 1 and _is_the_same(asked, subject, shape)
    yield from _own_clause(asked, shape, same)
    if subject is not None and same:
        yield from _beside(asked, shape, subject)


def _has_referent(asked: Question, shape: Shape) -> bool:
    if asked.head == "it":
        return asked.denied[-1] in _IMPERSONAL
    if asked.head in ("he", "she"):
        return shape.num_people == 1
    if asked.head == "they":
        return shape.subject is not None and shape.subject.many and shape.subject.being in ("person", "animal")
    # "this is not a kitchen" is said of the whole picture; "this is not black" is not
    return asked.head == "this" and asked.predicate.split(" ")[0] in ("a", "an", "the")


def _is_the_same(asked: Question, subject: Subject, shape: Shape) -> bool:
    """Whether the caption's subject is the one that is asked about, in number and with all that describes it."""
    if asked.is_pronoun or not same_kind(asked.head, subject.head):
        return False
    many = asked.auxiliary in ("are", "do", "have")
    if many != subject.many:
        return False
    stated = {token.lower for token in tokenise(shape.text[subject.start : subject.end])}
    if many and stated & {"and", "&"}:
        return False  # "a dog and a cat": neither is the subject alone
    described = [t for t in tokenise(asked.subject) if t.is_word and t.pos != "DET" and t.lower != asked.head]
    return all(token.lower in stated for token in described)


def _clause(asked: Question, joined: str) -> tuple[str, str]:
    """(the denial as a clause, the same contracted); ``joined`` is the subject as it is named there."""
    is_ = asked.auxiliary
    return f"{joined} {is_} {MARK}not {asked.predicate}", f"{joined} {is_}{MARK}n't {asked.predicate}"


def _own_clause(asked: Question, shape: Shape, same: bool) -> Iterator[Candidate]:
    """After the caption: ", and the man is not wearing a hat"."""
    full, short = _clause(asked, asked.subject)
    text = shape.text
    bare = _bare_object(asked)
    if shape.num_sentences > 1:
        yield Candidate(f"{text}. {full[0].upper()}{full[1:]}", "not", "clause", 1.0)
        if bare:
            yield Candidate(f"{text}. {_capital(_having_no(asked, bare))}", "no", "clause", 0.7)
        return
    yield Candidate(f"{text}, and {full}", "not", "clause", 1.0)
    yield Candidate(f"{text}, and {short}", "not", "clause", 0.7)
    yield Candidate(f"{text}, but {full}", "not", "clause", 0.5)
    if bare:
        yield Candidate(f"{text}, and {_having_no(asked, bare)}", "no", "clause", 0.8)
    # "the dog is not black, and a dog sits": the first mention would be the definite one
    if shape.mood == "finite" and not asked.is_pronoun and not same:
        yield Candidate(f"{full}, and {_lowered(shape)}", "not", "clause", 0.4)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _having_no(asked: Question, bare: str) -> str:
    verb = "has" if asked.auxiliary == "does" else "have" if asked.auxiliary == "do" else f"{asked.auxiliary} wearing"
    return f"{asked.subject} {verb} {MARK}no {_without_article(bare)}"


def _bare_object(asked: Question) -> str:
    """What "without" takes: "a hat" of "wearing a hat", "stripes" of "have stripes"; "" for other predicates."""
    first, _, rest = asked.predicate.partition(" ")
    if first not in _HAVING or not rest or (asked.pattern == "have"):
        return ""
    words = tokenise(rest)
    plain = all(token.pos in ("DET", "ADJ", "NOUN", "NUM") for token in words)
    bound = words[0].pos == "DET" and words[0].lower not in _ARTICLES  # "without his hat" says that he has one
    return rest if plain and not bound else ""


def _without_article(phrase: str) -> str:
    first, _, rest = phrase.partition(" ")
    return rest if first in _ARTICLES and rest else phrase


def _beside(asked: Question, shape: Shape, subject: Subject) -> Iterator[Candidate]:
    """Beside the caption's own subject: "a man not wearing a hat", "a dog, which is not black,"."""
    lead, rest = shape.text[: subject.end], shape.text[subject.end :].lstrip()
    if subject.after == "other" or rest[:1] in (",", ";"):
        return
    end = subject.after == "end"
    acting = asked.pattern == "be" and asked.predicate.split(" ")[0].endswith("ing")
    who = "who" if being_of(subject.head) == "person" else "which"
    tail = "" if end else f", {rest}"
    full, short = _clause(asked, f"{lead}, {who}")
    yield Candidate(f"{full}{tail}", "not", "clause", 1.2)
    yield Candidate(f"{short}{tail}", "not", "clause", 0.5)
    if acting:
        yield Candidate(f"{lead}, {MARK}not {asked.predicate}{tail}", "not", "verb_phrase", 1.5)
        loose = subject.after in ("preposition", "end") or subject.after_word.endswith("ing")
        if _has_object(asked) and loose and subject.after != "finite":
            yield Candidate(f"{lead} {MARK}not {asked.predicate} {rest}".rstrip(), "not", "verb_phrase", 3.0)
        if not shape.existential and not shape.pictorial_end and " and " not in lead:
            yield Candidate(f"{MARK}not {asked.predicate}, {_lowered(shape)}", "not", "verb_phrase", 0.7)
    if bare := _bare_object(asked):
        having = "wearing " if acting else "with "
        open_ = f"{lead}," if subject.after == "finite" else lead  # commas come in pairs before a finite verb
        close = f" {rest}" if subject.after == "preposition" else tail
        yield Candidate(f"{open_} {having}{MARK}no {_without_article(bare)}{close}", "no", "prepositional_phrase", 1.6)
        yield Candidate(f"{open_} {MARK}without {bare}{close}", "without", "prepositional_phrase", 1.6)


def _has_object(asked: Question) -> bool:
    """Whether the predicate ends with its object ("wearing a hat"): what follows it then reads as the caption's own."""
    tokens = tokenise(asked.predicate)
    return tokens[-1].pos == "NOUN" and all(token.pos != "PREP" for token in tokens)


def _nobody(asked: Question, shape: Shape) -> Iterator[Candidate]:
    """ "Is anyone sitting?": "no one is sitting", "with no one sitting"."""
    predicate = asked.predicate
    verb, _, rest = predicate.partition(" ")
    if asked.pattern == "do":
        third = "has" if verb == "have" else (lemminflect.getInflection(verb, "VBZ") or (f"{verb}s",))[0]
        finite = f"{third} {rest}".strip()
    else:
        finite = f"{'has' if asked.pattern == 'have' else 'is'} {predicate}"
    if shape.num_sentences > 1:
        yield Candidate(f"{shape.text}. {MARK}No one {finite}", "no", "clause", 1.0)
        return
    yield Candidate(f"{shape.text}, and {MARK}no one {finite}", "no", "clause", 1.0)
    yield Candidate(f"{shape.text}, but {MARK}nobody {finite}", "no", "clause", 0.7)
    if asked.pattern == "be":
        yield Candidate(f"{shape.text}, with {MARK}no one {predicate}", "no", "prepositional_phrase", 1.0)
        yield Candidate(f"{shape.text}, {MARK}without anyone {predicate}", "without", "prepositional_phrase", 1.0)


def _lowered(shape: Shape) -> str:
    """The caption with its first letter lowered, unless it begins with a name."""
    first = shape.tokens[0]
    plain = first.pos in ("DET", "NUM", "PRON", "PREP") or plural(singular_word(first.lower)) == first.lower
    return shape.text[0].lower() + shape.text[1:] if plain and not shape.shouted else shape.text


def _finished(marked: str, shape: Shape) -> str:
    """Without the mark, with the caption's closing punctuation and its capitals."""
    text = marked.replace(MARK, "")
    if shape.shouted:
        text = text.upper()
    elif shape.text[0].isupper() or shape.num_sentences > 1:
        text = _capital(text)
    closing = "." if shape.closing == "?" or (not shape.closing and shape.num_sentences > 1) else shape.closing
    return text + closing
