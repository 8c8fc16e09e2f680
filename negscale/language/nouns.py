"""Noun lexicon: lemmas, plurals, articles, synonyms, and whether a caption mentions an object.

Serves the absence check of NegationCLIP (arXiv 2501.10913, section 3: "an object that is not mentioned in the
caption"). The authors' code leaves that to the language model's word; here a candidate is compared with every caption
by whole words, with plurals, synonyms, narrower terms ("a skier" mentions a person) and implied objects ("a skier"
has skis).
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any, cast

from negscale.language.caches import SENTENCES, WORDS
from negscale.language.lexicon import concepts, countability
from negscale.language.lexicon.classes import COCO_80, COCO_NAME_BY_ID, VOC_20

__all__ = [
    "COCO_80",
    "COCO_NAME_BY_ID",
    "VOC_20",
    "hypernyms",
    "hyponyms",
    "indefinite",
    "is_plural",
    "is_uncountable",
    "lemma",
    "mentions",
    "plural",
    "singular",
    "singular_word",
    "synonyms",
    "usually_plural",
]  # fmt: skip

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_ARTICLE = re.compile(r"^(?:(?:a pair of|pair of|an?|the|some|any|no)(?:\s+|$))+", re.IGNORECASE)
_KEEP_S = ("ss", "us", "is")

Span = tuple[str, ...]


@cache
def _engine() -> Any:
    # here, not above: it takes two seconds to import, and not every worker needs it
    import inflect

    return inflect.engine()


@cache
def _plural_to_singular() -> dict[str, str]:
    return {many: one for one, many in countability.IRREGULAR_PLURALS.items() if one != many}


def _tidy(noun: str) -> str:
    """Lower case, single spaces, no leading article; raises ValueError when nothing is left."""
    text = " ".join(noun.replace("_", " ").lower().split()).strip(" .,;:!?\"'")
    stripped = _ARTICLE.sub("", text)
    if not stripped:
        raise ValueError(f"expected a noun such as 'umbrella', got {noun!r}: drop empty candidates before this call")
    return stripped


def _split_head(phrase: str) -> tuple[str, str]:
    """("wine ", "glass") of "wine glass"; in "glass of wine" and "man with hat" the head is the word before the link."""
    before, after = phrase, ""
    for link in (" of ", " with ", " in ", " on ", " for "):
        if link in phrase:
            cut = phrase.index(link)
            before, after = phrase[:cut], phrase[cut:]
            break
    head = before.rsplit(" ", 1)[-1]
    return before[: len(before) - len(head)], head + after


@lru_cache(maxsize=WORDS)
def singular_word(word: str) -> str:
    """Singular of one lower-case word of any kind; words that are no plural come back unchanged."""
    if word in countability.IRREGULAR_PLURALS or word in countability.UNCOUNTABLE:
        return word
    irregular = _plural_to_singular().get(word)
    if irregular is not None:
        return irregular
    if word in countability.PLURALE_TANTUM or word in countability.SINGULAR_IN_S or not word.isascii():
        return word
    if word.endswith(_KEEP_S) or not word.isalpha():
        return word
    if word.endswith("women") or (word.endswith("men") and len(word) > 3 and word not in ("omen", "specimen", "ramen")):
        return word[:-2] + "an"
    if not word.endswith("s") or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return word[:-2]
    if word.endswith("oes"):
        return word[:-2]
    one = cast(str | bool, _engine().singular_noun(word))
    return one if isinstance(one, str) and one else word[:-1]


@lru_cache(maxsize=WORDS)
def singular(noun: str) -> str:
    """Singular of a noun phrase ("wine glasses" -> "wine glass"); mass and plural-only nouns come back unchanged."""
    phrase = _tidy(noun)
    if phrase in countability.PLURALE_TANTUM or phrase in countability.UNCOUNTABLE:
        return phrase
    whole = _plural_to_singular().get(phrase)
    if whole is not None:
        return whole
    lead, head = _split_head(phrase)
    word, _, tail = head.partition(" ")
    return lead + singular_word(word) + (f" {tail}" if tail else "")


lemma = singular
"""Canonical dictionary form: lower case, no article, singular ("The Dogs" -> "dog", "skis" -> "ski")."""


@lru_cache(maxsize=WORDS)
def plural(noun: str) -> str:
    """Plural of a noun phrase ("wine glass" -> "wine glasses"); mass and plural-only nouns come back unchanged."""
    one = singular(noun)
    if is_uncountable(one) or is_plural(one):
        return one
    known = countability.IRREGULAR_PLURALS.get(one)
    if known is not None:
        return known
    lead, head = _split_head(one)
    word, _, tail = head.partition(" ")
    return lead + _plural_word(word) + (f" {tail}" if tail else "")


@lru_cache(maxsize=WORDS)
def _plural_word(word: str) -> str:
    known = countability.IRREGULAR_PLURALS.get(word)
    if known is not None:
        return known
    if word.endswith("woman") or (
        word.endswith("man") and word not in ("human", "german", "roman", "caiman", "talisman")
    ):
        return word[:-2] + "en"
    if not word.isascii() or not word.isalpha():
        return word + "s"
    return _engine().plural_noun(word)


@lru_cache(maxsize=WORDS)
def is_uncountable(noun: str) -> bool:
    """True for mass nouns: "broccoli", "furniture", "fried rice"."""
    phrase = _tidy(noun)
    if phrase in countability.UNCOUNTABLE:
        return True
    head = phrase.rsplit(" ", 1)[-1]
    # "rain" is a mass noun, "wine glass" is not: the head decides. "ice cream cone" ends in a count noun.
    return " of " not in phrase and head in countability.UNCOUNTABLE and phrase not in countability.IRREGULAR_PLURALS


@lru_cache(maxsize=WORDS)
def is_plural(noun: str) -> bool:
    """True for nouns that have no singular: "scissors", "sunglasses", "blue jeans"."""
    phrase = _tidy(noun)
    return phrase in countability.PLURALE_TANTUM or phrase.rsplit(" ", 1)[-1] in countability.PLURALE_TANTUM - {
        "glasses"
    }


@lru_cache(maxsize=WORDS)
def usually_plural(noun: str) -> bool:
    """True where an absence is better stated in the plural: plural-only nouns, pairs ("gloves") and things in numbers."""
    one = singular(noun)
    return is_plural(one) or one in countability.USUALLY_PLURAL or one.rsplit(" ", 1)[-1] in (
        "glove", "shoe", "boot", "sock", "ski", "pad", "earring", "flower", "noodle",
    )  # fmt: skip


@lru_cache(maxsize=WORDS)
def indefinite(noun: str) -> str:
    """The noun with its indefinite article ("an hourglass", "a unicorn"); bare where English has none ("broccoli").

    Plural-only nouns become "a pair of scissors" where that is idiomatic, else stay bare ("clothes"); a noun given in
    the plural stays plural ("skis").
    """
    phrase = _tidy(noun)
    if phrase in countability.PAIR_OF:
        return f"a pair of {phrase}"
    if is_uncountable(phrase) or is_plural(phrase):
        return phrase
    if singular(phrase) != phrase:
        return phrase
    return f"{_article(phrase)} {phrase}"


@lru_cache(maxsize=WORDS)
def _article(phrase: str) -> str:
    first = re.split(r"[\s-]", phrase, maxsplit=1)[0]
    if first in ("suv", "sub", "uno", "ukulele", "us", "ufo"):  # inflect spells short words out as initialisms
        return "an" if first == "suv" else "a"
    if first in ("lp", "mp3", "led", "lcd", "x-ray", "xray"):
        return "an"
    if not first or not first[0].isascii():
        return "a"
    return _engine().a(first).split(" ", 1)[0]


def _terms(listing: str) -> Iterable[str]:
    return (" ".join(item.split()) for item in listing.replace("\n", " ").split(",") if item.strip())


@cache
def _synonym_sets() -> dict[str, frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for listing in concepts.SYNONYMS:
        members = {singular(term) for term in _terms(listing)}
        for member in members:
            groups.setdefault(member, set()).update(members)
    return {word: frozenset(group) for word, group in groups.items()}


@cache
def _narrower() -> dict[str, frozenset[str]]:
    return {lemma(noun): frozenset(map(singular, _terms(listing))) for noun, listing in concepts.NARROWER.items()}


@cache
def _may_mean() -> dict[str, frozenset[str]]:
    meant: dict[str, set[str]] = {}
    for broad, listing in concepts.MAY_MEAN.items():
        for noun in _terms(listing):
            meant.setdefault(lemma(noun), set()).add(broad)
    return {noun: frozenset(broad) for noun, broad in meant.items()}


@cache
def _broader() -> dict[str, frozenset[str]]:
    broader: dict[str, set[str]] = {}
    for noun, narrow in _narrower().items():
        for term in narrow:
            broader.setdefault(term, set()).add(noun)
    return {term: frozenset(nouns) for term, nouns in broader.items()}


@lru_cache(maxsize=WORDS)
def synonyms(noun: str) -> frozenset[str]:
    """Lemmas that name the same thing, the noun's own lemma included ("sofa" -> couch, sofa, loveseat, ...)."""
    one = lemma(noun)
    return _synonym_sets().get(one, frozenset()) | {one}


@lru_cache(maxsize=WORDS)
def hyponyms(noun: str) -> frozenset[str]:
    """Lemmas of narrower terms, transitively, synonyms excluded ("person" -> man, skier, crowd, ...)."""
    own = synonyms(noun)
    found: set[str] = set()
    todo = list(own)
    while todo:
        for kind in _narrower().get(todo.pop(), ()):
            for term in synonyms(kind) - found - own:
                found.add(term)
                todo.append(term)
    return frozenset(found)


@lru_cache(maxsize=WORDS)
def hypernyms(noun: str) -> frozenset[str]:
    """Lemmas of broader terms, one step up ("puppy" -> dog's broader terms, "skier" -> person)."""
    own = synonyms(noun)
    return frozenset(broad for term in own for broad in _broader().get(term, ())) - own


def _span(phrase: str) -> Span:
    return tuple(_WORD.findall(phrase))


@cache
def _blockers() -> dict[str, tuple[tuple[Span, bool], ...]]:
    """First word -> compounds that start with it, each with "its head misleads too"."""
    compounds = [(term, True) for term in concepts.MISLEADING_HEADS]
    compounds += [(term, False) for term in concepts.MISLEADING_MODIFIERS]
    for modifiers, heads in concepts.MODIFIER_PAIRS:
        compounds += [(f"{first} {second}", False) for first in _terms(modifiers) for second in _terms(heads)]
    table: dict[str, set[tuple[Span, bool]]] = {}
    for term, misleads in compounds:
        many = term if term.endswith((" of", " on")) else plural(term)
        for form in (term, many):
            span = _span(form)
            table.setdefault(span[0], set()).add((span, misleads))
    return {first: tuple(sorted(entries)) for first, entries in table.items()}


@lru_cache(maxsize=WORDS)
def _forms(noun: str) -> dict[str, tuple[Span, ...]]:
    """First word -> word sequences that mention the noun."""
    own = synonyms(noun)
    terms: set[str] = set(own) | hyponyms(noun)
    for word in own:
        terms.update(_terms(concepts.IMPLIED_BY.get(word, "")))
        terms.update(_may_mean().get(word, ()))
    spans: set[Span] = set()
    for term in terms:
        for form in (term, plural(term)):
            span = _span(form)
            if span:
                spans.add(span)
                spans.add(("".join(span),))
    table: dict[str, list[Span]] = {}
    for span in spans:
        table.setdefault(span[0], []).append(span)
    return {first: tuple(sorted(group, key=len, reverse=True)) for first, group in table.items()}


def _blocked(words: list[str], start: int, stop: int) -> bool:
    """True when words[start:stop] lies inside a longer misleading compound."""
    blockers = _blockers()
    for begin in range(max(0, start - 3), start + 1):
        for span, misleads in blockers.get(words[begin], ()):
            end = begin + len(span)
            if end < stop or len(span) <= stop - start or tuple(words[begin:end]) != span:
                continue
            if misleads or stop < end:
                return True
    return False


@lru_cache(maxsize=SENTENCES)
def _words(text: str) -> tuple[str, ...]:
    words = _WORD.findall(text.lower().replace("\u2019", "'"))
    return tuple(word.removesuffix("'s") for word in words)


def mentions(text: str, noun: str) -> bool:
    """True if the text mentions the noun: whole words, plurals, synonyms, narrower terms and implied objects.

    Compounds that do not show the object are no mention: "hot dog" (dog), "teddy bear" (bear), "bus stop" (bus),
    "dog house" (dog), "train tracks" (train), "a couple of cups" (person). Words that could be a verb or a colour as
    well ("skis", "orange") count as mentions: a doubtful candidate is better dropped.
    """
    words = list(_words(text))
    forms = _forms(lemma(noun))
    for start, word in enumerate(words):
        for span in forms.get(word, ()):
            stop = start + len(span)
            if tuple(words[start:stop]) == span and not _blocked(words, start, stop):
                return True
    return False
