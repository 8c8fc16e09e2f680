"""Yes/no questions of VQA (Goyal et al., arXiv 1612.00837) by grammar: what they are about and what a "no" denies.

Serves NegationCLIP's P2 (Park et al., arXiv 2501.10913, section 3.1), which leaves this to a language model and released
no code. A question is a subject and a predicate ("the man", "wearing a hat") or the existence of a thing ("people", "in
the boat"). A question that the rules do not cover is refused with a kind, never guessed at: a "no" to "are all the people
wearing hats?" does not say that nobody wears one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from negscale.language.caches import SENTENCES
from negscale.language.content import GENERIC_NOUNS
from negscale.language.tokens import Token, possible_pos, tokenise, word_set

Kind = Literal["object", "attribute", "action"]
KINDS: Final[tuple[Kind, ...]] = ("object", "attribute", "action")
Pattern = Literal["existence", "be", "do", "have"]
"""``existence``: "is there a dog"; ``be``: "is the dog black"; ``do``: "does the cat have stripes"; ``have``: "has the
pizza been cut"."""

_AUXILIARIES: Final = {"is": "be", "are": "be", "does": "do", "do": "do", "has": "have", "have": "have"}
_INDEFINITE: Final = word_set("anyone anybody someone somebody")
_PERSONAL: Final = word_set("he she they it")
_DEMONSTRATIVE: Final = word_set("this that these those")
_QUANTIFIERS: Final = word_set(
    "all every each both everyone everybody everything only just more most many several enough less fewer than lots lot",
    "much plenty bunch exactly least few half either neither entire whole always ever single",
)
_NEGATIVES: Final = word_set("not n't no never none nobody nothing without neither nor")
_NO_THINGS: Final = GENERIC_NOUNS - {"sign", "hand", "object"}
# Verbs that add nothing to the noun after them, so that "without a hat" denies "wearing a hat".
_LIGHT_VERBS: Final = word_set("be have wear do get")
_STATES: Final = word_set("wear have look seem appear contain match belong face need fit resemble consist feature")
_PICTURE_TAIL = re.compile(
    r"\s*\b(?:(?:(?:visible|shown|pictured|depicted|present|seen)\s+)?(?:anywhere\s+)?(?:in|on|within|to be seen in)\s+"
    r"(?:this|the|that)\s+(?:picture|image|photo|photograph|pic|scene|frame|shot|view)"
    r"|here|visible|present|shown|pictured|in view|in sight)$",
    re.IGNORECASE,
)


class QuestionError(ValueError):
    """The question is outside of the grammar; ``kind`` is a stable snake_case label of why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Question:
    """A parsed yes/no question.

    ``subject`` is empty for existence questions, whose ``predicate`` is the thing without its article ("people") and
    whose ``tail`` is where or how ("in the boat", "" when it is just in the picture). Elsewhere ``tail`` is empty.
    """

    pattern: Pattern
    kind: Kind
    auxiliary: str  # as asked, lower case: "is", "does"
    subject: str  # "the man in the blue shirt", "this", "anyone"
    head: str  # the subject's noun or pronoun, lower case: "man"
    predicate: str  # "wearing a hat", "have stripes", "black"
    tail: str = ""
    denied: tuple[str, ...] = ()  # lower-case words that the negation has to cover: ("hat",)

    @property
    def is_bare(self) -> bool:
        """An existence question about one noun and nothing else: "is there a dog?"."""
        return self.pattern == "existence" and not self.tail and len(self.denied) == 1

    @property
    def is_pronoun(self) -> bool:
        """The subject is no noun."""
        return self.head in _PERSONAL | _DEMONSTRATIVE | _INDEFINITE

    @property
    def is_indefinite(self) -> bool:
        """The subject is "anyone" or the like."""
        return self.head in _INDEFINITE


def kind_of(question: str) -> Kind:
    """What the question is about, for any text: parsed questions by their grammar, others by their first words."""
    try:
        return parse_question(question).kind
    except QuestionError:
        words = [token for token in tokenise(question) if token.is_word]
        if len(words) > 1 and words[1].lower == "there":
            return "object"
        acting = any(w.pos == "VERB" and w.lower.endswith("ing") and w.lemma not in _STATES for w in words)
        return "action" if acting else "attribute"


@lru_cache(maxsize=SENTENCES)
def parse_question(question: str) -> Question:
    """The parts of a yes/no question. Raises QuestionError, whose kind says what stands in the way.

    >>> q = parse_question("Is the man in the blue shirt wearing a hat?")
    >>> q.subject, q.predicate, q.kind, q.denied
    ('the man in the blue shirt', 'wearing a hat', 'attribute', ('hat',))
    """
    text = " ".join(question.split()).rstrip("?!. ")
    tokens = tokenise(text)
    if len(tokens) < 3 or tokens[0].lower not in _AUXILIARIES:
        raise QuestionError("question_not_parsed", f"{question!r} does not open with is, are, does, do, has or have")
    _refuse_what_no_does_not_deny(question, tokens)
    if tokens[1].lower == "there":
        return _existence(question, text, tokens)
    pattern = _AUXILIARIES[tokens[0].lower]
    stop, head = _subject(question, tokens, pattern == "do")
    subject = text[tokens[1].start : tokens[stop - 1].end]
    rest = tokens[stop:]
    subject_words = {token.lower for token in tokens[1:stop]}
    if any(token.pos == "NUM" for token in tokens[1:stop]) and "one" not in subject_words:
        raise QuestionError("question_counts", f"{question!r} asks about a number of things")
    _refuse_lists(question, rest)
    acting = rest[0].pos == "VERB" and rest[0].lower.endswith("ing")
    state = rest[0].lemma in _STATES and not (acting and rest[0].lemma == "look")  # "looking at the camera" is an act
    kind: Kind = "action" if (acting or pattern == "do") and not state else "attribute"
    predicate = text[rest[0].start : rest[-1].end]
    return Question(pattern, kind, tokens[0].lower, _definite(subject), head, predicate, denied=_denied(rest))  # pyright: ignore[reportArgumentType]


def _refuse_what_no_does_not_deny(question: str, tokens: Sequence[Token]) -> None:
    words = {token.lower for token in tokens[1:]}
    if found := sorted(words & _NEGATIVES):
        raise QuestionError("question_negated", f"{question!r} is negated already ({found[0]})")
    if found := sorted(words & _QUANTIFIERS):
        raise QuestionError("question_quantified", f"no to {question!r} denies {found[0]!r}, not the rest")
    for at, token in enumerate(tokens[1:], 1):
        if token.lower in (
            "who",
            "which",
            "whose",
            "what",
            "if",
            "when",
            "while",
            "because",
            "as",
            "where",
            "so",
            "but",
        ):
            raise QuestionError("question_complex", f"{question!r} has a clause inside ({token.lower})")
        if token.lower == "that" and at > 1 and tokens[at - 1].pos == "NOUN":
            raise QuestionError("question_complex", f"{question!r} has a clause inside (that)")
        if token.pos == "PUNCT" and token.lower not in "-'\"&":
            raise QuestionError("question_complex", f"{question!r} has more than one part ({token.text})")


def _refuse_lists(question: str, part: Sequence[Token]) -> None:
    words = [token.lower for token in part]
    if "or" in words:
        raise QuestionError("question_choice", f"{question!r} offers a choice")
    if "and" in words or "&" in words:
        raise QuestionError("question_conjoined", f"no to {question!r} may deny one part or the other")


def _existence(question: str, text: str, tokens: Sequence[Token]) -> Question:
    auxiliary = tokens[0].lower
    if auxiliary not in ("is", "are"):
        raise QuestionError("question_not_parsed", f"{question!r} does not ask what there is")
    cut = _PICTURE_TAIL.search(text)
    if cut:
        text = text[: cut.start()].rstrip()
        tokens = tokenise(text)
    if len(tokens) < 3:
        raise QuestionError("question_not_parsed", f"{question!r} names no thing")
    text = text[tokens[2].start :]  # read alone: after "there" a plural looks like a verb ("are there chairs")
    tokens = tokenise(text)
    at = 0
    people = tokens[0].lower in _INDEFINITE
    if people:
        stop = 1
    else:
        if at < len(tokens) and tokens[at].lower in ("a", "an", "any", "some"):
            at += 1
        elif at < len(tokens) and tokens[at].pos == "DET":
            raise QuestionError("question_not_parsed", f"{question!r} asks about {tokens[at].lower!r}")
        stop = _noun_phrase(tokens, at)
        if any(token.pos == "NUM" for token in tokens[at:stop]):
            raise QuestionError("question_counts", f"no to {question!r} may mean another number")
        if stop == at or tokens[stop - 1].lemma in _NO_THINGS:
            raise QuestionError("question_not_parsed", f"{question!r} names no thing")
    rest = tokens[stop:]
    if any(token.pos in ("AUX", "CONJ") and token.lower != "being" for token in rest):
        raise QuestionError("question_complex", f"{question!r} is more than a thing and its place")
    _refuse_lists(question, tokens[at:])
    thing = "people" if people else text[tokens[at].start : tokens[stop - 1].end]
    tail = text[rest[0].start : rest[-1].end] if rest else ""
    denied = (("people",) if people else _denied(tokens[at:stop])) + (_denied(rest) if rest else ())
    auxiliary = "are" if people else auxiliary
    return Question("existence", "object", auxiliary, "", "", thing, tail, denied)


def _noun_phrase(tokens: Sequence[Token], at: int) -> int:
    """Index after the noun phrase at ``at``, "of" parts included; ``at`` when there is none."""
    start, head = at, -1
    while at < len(tokens):
        token = tokens[at]
        if token.pos == "NOUN" or token.lower == "one":
            head = at
        elif token.pos == "DET":
            if head >= 0 or at > start:
                break
        elif token.lower == "'s":
            head = -1
        elif token.pos == "ADJ" or token.pos == "NUM" or token.lower in ("very", "-"):
            if head >= 0 and not _noun_soon(tokens, at):
                break
        elif token.lower == "and" and at > start and _joins_adjectives(tokens, at):
            head = -1  # "the black and white cat"
        elif token.lower == "of" and head >= 0 and (end := _noun_phrase(tokens, at + 1)) > at + 1:
            return end
        else:
            break
        at += 1
    if head < 0 and at > start and tokens[at - 1].pos == "ADJ":
        return at  # "a remote": no noun follows, so the adjective is one
    return head + 1 if head >= 0 else start


def _joins_adjectives(tokens: Sequence[Token], at: int) -> bool:
    """Whether the "and" at ``at`` stands between two words that describe the noun after them."""
    between = at + 2 < len(tokens) and tokens[at + 2].pos == "NOUN"
    return between and all("ADJ" in possible_pos(tokens[k].lower) for k in (at - 1, at + 1))


def _noun_soon(tokens: Sequence[Token], at: int) -> bool:
    """Whether the adjective at ``at`` stands before a noun of the same phrase."""
    return at + 1 < len(tokens) and tokens[at + 1].pos == "NOUN"


def _subject(question: str, tokens: Sequence[Token], do: bool) -> tuple[int, str]:
    """(index after the subject, its head) of a question with a subject."""
    first = tokens[1].lower
    if first in _PERSONAL | _INDEFINITE:
        return _nonempty(question, tokens, 2), first
    stop = _verb_of(tokens) if do else _noun_phrase(tokens, 1)
    if stop == len(tokens) > 3 and "ADJ" in possible_pos(tokens[-1].lower):
        stop -= 1  # "is the boy's hair long"
    if first in _DEMONSTRATIVE and (stop <= 2 or stop == len(tokens)):
        return _nonempty(question, tokens, 2), first
    if stop <= 1:
        raise QuestionError("question_not_parsed", f"{question!r}: no subject found")
    head_stop = min(stop, _noun_phrase(tokens, 1))
    while not do and stop < len(tokens) and tokens[stop].pos == "PREP":
        # "is the man [in the blue shirt] wearing a hat": a place belongs to the subject when a predicate follows it
        after = _noun_phrase(tokens, _after_prepositions(tokens, stop))
        if after <= stop + 1 or after >= len(tokens) or tokens[after].pos not in ("VERB", "ADJ", "PREP"):
            break
        if tokens[after].pos == "PREP" and not any(t.pos in ("VERB", "ADJ") for t in tokens[after:]):
            break
        if tokens[after].pos == "ADJ" and after + 1 < len(tokens) and tokens[after + 1].pos == "NOUN":
            break
        stop = after
    head = _head(tokens[1:head_stop])
    if not head:
        raise QuestionError("question_not_parsed", f"{question!r}: the subject has no noun")
    return _nonempty(question, tokens, stop), head


def _after_prepositions(tokens: Sequence[Token], at: int) -> int:
    while at < len(tokens) and tokens[at].pos == "PREP":
        at += 1
    return at


def _nonempty(question: str, tokens: Sequence[Token], stop: int) -> int:
    if stop >= len(tokens) or not any(token.is_word for token in tokens[stop:]):
        raise QuestionError("question_not_parsed", f"{question!r}: no predicate found")
    return stop


def _verb_of(tokens: Sequence[Token]) -> int:
    """Index of the main verb after do-support; 0 when there is none."""
    for at in range(2, len(tokens)):
        if tokens[at].lower == "have":
            return at
    for at in range(2, len(tokens)):
        if tokens[at].pos == "VERB":
            return at
    for at in range(len(tokens) - 1, 1, -1):  # base forms that are nouns too: "does the dog stand near a tree"
        word = tokens[at].lower
        follows = tokens[at + 1].pos if at + 1 < len(tokens) else "PUNCT"
        if "VERB" in possible_pos(word) and tokens[at - 1].pos == "NOUN" and follows in ("PREP", "DET", "ADV", "PUNCT"):
            return at
    return 0


def _head(phrase: Sequence[Token]) -> str:
    """The noun that a phrase is about: before "of", after a possessor; "cup" in "the man's cup of coffee"."""
    head = ""
    for token in phrase:
        if token.lower == "of" and head:
            break
        if token.pos == "NOUN":
            head = token.lower
    return head or (phrase[-1].lower if phrase and phrase[-1].pos == "ADJ" else "")


def _definite(subject: str) -> str:
    """The subject as a statement after the caption names it: "this man" is "the man"; a lone pronoun stays."""
    words = subject.split(" ")
    if len(words) > 1 and words[0].lower() in _DEMONSTRATIVE:
        words[0] = "the"
    return " ".join(words)


def _denied(part: Sequence[Token]) -> tuple[str, ...]:
    """The words of a predicate that carry it; its leading preposition or particle too ("on", "next to the tree")."""
    words = [token.lower for token in part if token.is_content and token.lemma not in _LIGHT_VERBS]
    if part and part[0].pos == "PREP" and part[0].lower not in ("in", "of", "with", "on", "at"):
        words.insert(0, part[0].lower)
    if not words:
        words = [token.lower for token in part if token.is_word and token.pos != "DET"]
    return tuple(dict.fromkeys(words))
