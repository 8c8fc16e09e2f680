"""Where a negation can be attached to a caption: its subject, what follows it, and whether it is a full sentence.

The structure NegationCLIP's two in-context examples rely on ("a woman [not wearing a hat] riding a horse", arXiv
2501.10913, section 3) made explicit, so that rules can do what the authors' code leaves to a language model.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from negscale.language.caches import SENTENCES, WORDS
from negscale.language.lexicon import kinds
from negscale.language.nouns import hyponyms, singular_word, synonyms
from negscale.language.tokens import Token, possible_pos, tokenise

Mood = Literal["finite", "nominal", "unknown"]
"""``finite``: a full sentence ("a dog runs"); ``nominal``: a noun phrase ("a dog running"); ``unknown``: hard to say."""
Being = Literal["person", "animal", "place", "surface", "thing", "none"]
After = Literal["participle", "finite", "preposition", "end", "other"]

_NEGATION = re.compile(
    r"\b(?:no|not|cannot|without|never|none|nobody|nothing|nowhere|neither|nor|lack\w*|devoid|absent|missing|free of|empty)\b"
    r"|n't\b|n\u2019t\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=\S)")
_SPACE_BEFORE = re.compile(r"\s+([.,;:!?])(?=\s|$)")
_TRAILING = " \t.,;:-\u2013\u2014_/\\|&*+=~<([{"
_SUBORDINATORS = frozenset({"that", "who", "which", "whose", "where", "while", "as", "when", "because", "if", "so"})
_BE = frozenset(
    {"is", "are", "was", "were", "has", "have", "had", "can", "could", "will", "'s", "'re", "do", "does", "did"}
)


@dataclass(frozen=True, slots=True)
class Subject:
    """The leading noun phrase: ``end`` is the offset just after it, ``head`` its lemma."""

    start: int
    end: int
    head: str
    being: Being
    many: bool
    after: After
    after_word: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A tidied caption (final punctuation taken off into ``closing``) and what can be attached where."""

    text: str
    closing: str
    first_end: int  # end of the first sentence without its full stop
    num_sentences: int
    tokens: tuple[Token, ...]
    subject: Subject | None
    mood: Mood
    existential: bool
    pictorial_end: int  # offset after "a photo of ", 0 when the caption does not say so
    num_people: int
    negated: bool
    shouted: bool


def tidy(caption: str) -> tuple[str, str]:
    """(caption with single spaces and no final punctuation, its closing mark); ValueError when no word is left."""
    text = " ".join(unicodedata.normalize("NFC", caption).replace("\ue000", " ").split())
    text = _SPACE_BEFORE.sub(r"\1", text)
    if len(text) > 1 and text[0] in "\"'\u201c" and text[-1] in "\"'\u201d":
        text = text[1:-1].strip()
    body = text.rstrip(_TRAILING + "!?")
    tail = text[len(body) :]
    closing = next((mark for mark in tail if mark in ".!?"), "")
    if not any(char.isalpha() for char in body):
        raise ValueError(
            f"cannot state an absence in caption {caption!r}: it holds no word; drop the row before this step"
        )
    return body, closing


@lru_cache(maxsize=1)
def _people() -> frozenset[str]:
    return (hyponyms("person") | synonyms("person")) - {"hand", "finger", "her", "his", "him", "himself", "herself"}


@lru_cache(maxsize=1)
def _animals() -> frozenset[str]:
    found = set(kinds.ANIMALS)
    for kind in ("dog", "cat", "horse", "cow", "sheep", "bear", "bird", "elephant"):
        found |= hyponyms(kind) | synonyms(kind)
    return frozenset(found)


@lru_cache(maxsize=WORDS)
def being_of(noun: str) -> Being:
    """What a noun stands for, a lower-case word or compound, by its last word if need be; ``thing`` when it is in no list."""
    lead, _, last = noun.rpartition(" ")
    one = singular_word(last)
    for name in (f"{lead} {one}", one) if lead else (one,):
        if name in _people():
            return "person"
        if name in _animals():
            return "animal"
        if name in kinds.PLACES:
            return "place"
        if name in kinds.SURFACES:
            return "surface"
    return "thing"


def _in_noun_phrase(tokens: tuple[Token, ...], at: int, started: bool) -> bool:
    token = tokens[at]
    if token.pos in ("DET", "ADJ", "NUM", "NOUN"):
        return not (token.pos == "DET" and started and tokens[at - 1].pos == "NOUN")
    if token.lower in ("'s", "very") or (token.lower == "-" and started):
        return True
    after = tokens[at + 1] if at + 1 < len(tokens) else None
    if after is None or not started:
        return False
    if token.lower in ("and", "or", ",") and tokens[at - 1].pos in ("ADJ", "NOUN"):
        colours = tokens[at - 1].pos == "ADJ" or (
            token.lower == "and" and not _partner_follows(tokens, at, tokens[at - 1].lower)
        )
        return colours and after.pos in ("ADJ", "NOUN")
    return False


def _verb_after_all(tokens: tuple[Token, ...], at: int, joined: bool = False) -> bool:
    """True for a "noun" that agrees with the person or animal before it: "a woman huddles", "two dogs play"."""
    token, before = tokens[at], tokens[at - 1]
    if at == 0 or token.pos != "NOUN" or before.pos != "NOUN" or "VERB" not in possible_pos(token.lower):
        return False
    if being_of(before.lower) not in ("person", "animal"):
        return False
    if joined:  # "a dog and a cat run"
        return not token.lower.endswith("s")
    return token.lower.endswith("s") == (singular_word(before.lower) == before.lower)


def _partner_follows(tokens: tuple[Token, ...], at: int, head: str) -> bool:
    """True if the noun phrase after the "and" at ``at`` is a second subject, not the rest of "a blue and yellow train"."""
    if at + 1 >= len(tokens):
        return False
    pos = tokens[at + 1].pos
    if pos in ("DET", "NUM"):
        return True
    return pos in ("ADJ", "NOUN") and (singular_word(head) != head or being_of(head) in ("person", "animal"))


def _noun_phrase(tokens: tuple[Token, ...], at: int, joined: bool = False) -> tuple[int, str, bool] | None:
    """(index after the phrase, head as written, several) for the phrase at ``at``, "of" parts and "and" partners in."""
    start, head, many = at, "", False
    while at < len(tokens):
        token = tokens[at]
        if head and _verb_after_all(tokens, at, joined):
            break
        if _in_noun_phrase(tokens, at, at > start):
            if token.pos == "NOUN":
                head = token.lower
            at += 1
            continue
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        if head and token.lower == "of" and after is not None:
            inner = _noun_phrase(tokens, at + 1)
            if inner is None:
                return None
            if singular_word(head) in kinds.GROUPS:
                return inner[0], inner[1], True
            return inner[0], head, many or singular_word(head) != head
        if head and token.lower in ("and", "&") and _partner_follows(tokens, at, head):
            inner = _noun_phrase(tokens, at + 1, joined=True)
            if inner is None:
                return None
            return inner[0], head, True
        break
    if not head:
        return None
    return at, head, many or singular_word(head) != head


def _follows(tokens: tuple[Token, ...], at: int, joined: bool) -> tuple[After, str]:
    if at >= len(tokens):
        return "end", ""
    token = tokens[at]
    if token.pos == "AUX" or (token.pos == "NOUN" and _verb_after_all(tokens, at, joined)):
        return "finite", token.lower
    if token.pos == "VERB":
        if token.lower.endswith("ing") or token.lower in kinds.DESCRIPTIVE_PARTICIPLES:
            return "participle", token.lower
        return ("other" if token.lower.endswith("ed") else "finite"), token.lower
    if token.pos == "PREP":
        return "preposition", token.lower
    return "other", token.lower


def _hidden_verb(tokens: tuple[Token, ...], index: int) -> bool:
    """True for a "noun" that is more likely the main verb: "in a red jacket smacks a", "two mountains stand high"."""
    token, before, after = tokens[index], tokens[index - 1], tokens[index + 1]
    if (
        token.pos != "NOUN"
        or before.pos not in ("NOUN", "ADJ")
        or after.pos not in ("DET", "PREP", "ADV", "VERB", "ADJ")
    ):
        return False
    if "VERB" not in possible_pos(token.lower) or after.lower == "of":
        return False
    return token.lower.endswith("s") or (before.pos == "NOUN" and singular_word(before.lower) != before.lower)


def _mood(tokens: tuple[Token, ...], at: int, subject: Subject | None) -> Mood:
    if subject is None:
        return "unknown"
    if subject.after == "finite":
        return "finite"
    if any(_hidden_verb(tokens, index) for index in range(1, len(tokens) - 1)):
        return "unknown"
    subordinate, doubtful = "", False
    after_subordinator = 0
    for index in range(at, len(tokens)):
        token = tokens[index]
        if token.lower in _SUBORDINATORS and not (token.lower == "as" and token.pos != "PREP" and token.pos != "CONJ"):
            subordinate = subordinate or token.lower
            continue
        finite = token.lower in _BE and token.pos == "AUX"
        if token.pos == "VERB" and not token.lower.endswith("ing"):
            if token.lower in kinds.DESCRIPTIVE_PARTICIPLES or tokens[index - 1].lower in ("to", "being", "been"):
                continue
            if tokens[index - 1].pos in ("AUX", "VERB", "DET", "PREP"):
                continue
            if index + 1 == len(tokens) and "NOUN" in possible_pos(token.lower):
                continue
            if token.lower.endswith(("ed", "en")):
                doubtful = True
                continue
            finite = True
        if finite and not subordinate:
            return "finite"
        after_subordinator += finite
    if subordinate in ("that", "who", "which", "whose") and after_subordinator != 1:
        return "unknown"
    if doubtful or subject.after == "other":
        return "unknown"
    return "nominal"


def _subject(tokens: tuple[Token, ...], at: int) -> tuple[Subject | None, int]:
    phrase = _noun_phrase(tokens, at)
    if phrase is None:
        return None, at
    stop, head, many = phrase
    if tokens[stop - 1].lower == "'s":  # "Children's toy animals": the possessor is not the subject
        return None, at
    one = singular_word(head)
    compound = head
    if stop >= 2 and tokens[stop - 1].lower == head and tokens[stop - 2].pos == "NOUN":
        compound = f"{tokens[stop - 2].lower} {head}"
    joined = many and any(token.lower in ("and", "&") for token in tokens[at:stop])
    after, word = _follows(tokens, stop, joined)
    subject = Subject(tokens[at].start, tokens[stop - 1].end, one, being_of(compound), many, after, word)
    return subject, stop


def _pictorial(tokens: tuple[Token, ...]) -> int:
    """Index after "a close up photo of", 0 when the caption does not begin like that."""
    for index, token in enumerate(tokens[:7]):
        if (
            token.lower == "of"
            and index
            and any(singular_word(t.lower) in kinds.PICTURES for t in tokens[:index] if t.is_word)
        ):
            return index + 1
        if token.pos in ("VERB", "AUX") or token.lower in ("in", "on", "with"):
            break
    return 0


@lru_cache(maxsize=SENTENCES)
def shape_of(caption: str) -> Shape:
    """Parse a caption; ValueError when it holds no word."""
    text, closing = tidy(caption)
    breaks = list(_SENTENCE_END.finditer(text))
    first_end = len(text)
    if breaks:
        first_end = len(text[: breaks[0].start()].rstrip(".!? "))
    tokens = tokenise(text[:first_end])
    existential = len(tokens) > 2 and tokens[0].lower in ("there", "here") and tokens[1].pos == "AUX"
    pictorial = 0 if existential else _pictorial(tokens)
    begin = 2 if existential else pictorial
    subject, stop = _subject(tokens, begin)
    mood = "finite" if existential else _mood(tokens, stop, subject)
    if pictorial and mood == "unknown" and subject is not None:
        mood = "nominal"
    all_tokens = tokens if len(breaks) == 0 else tokenise(text)
    people = sum(1 for token in all_tokens if token.pos == "NOUN" and being_of(token.lower) == "person")
    letters = [char for char in text if char.isalpha()]
    return Shape(
        text=text,
        closing=closing,
        first_end=first_end,
        num_sentences=len(breaks) + 1,
        tokens=tokens,
        subject=subject,
        mood=mood,
        existential=existential,
        pictorial_end=tokens[pictorial].start if 0 < pictorial < len(tokens) else 0,
        num_people=people,
        negated=_NEGATION.search(text) is not None,
        shouted=len(letters) > 3 and text.isupper(),
    )
