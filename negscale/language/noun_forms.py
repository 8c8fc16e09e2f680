"""The surface forms of an absent object that negated sentences need, with their verb agreement."""

from dataclasses import dataclass

from negscale.language.lexicon import kinds
from negscale.language.nouns import indefinite, is_plural, is_uncountable, plural, singular, synonyms, usually_plural

_DISPLAY = {"tv": "TV", "tvs": "TVs", "suv": "SUV", "suvs": "SUVs"}


@dataclass(frozen=True, slots=True)
class ObjectWords:
    """Forms of one object: ``after_no`` ("no cats"), ``subject`` ("a cat"), ``any_of`` ("any cats"), ``worn`` ("gloves")."""

    after_no: str
    are_no: str
    subject: str
    are: str
    any_of: str
    arent_any: str
    bare: str
    bare_are: str
    worn: str


def _shown(text: str) -> str:
    return " ".join(_DISPLAY.get(word, word) for word in text.split(" "))


def plural_share(noun: str) -> float:
    """How often an absence of the noun should be stated in the plural."""
    one = singular(noun)
    if usually_plural(noun):
        return 0.93 if one == "person" else 1.0
    return 0.08 if one in kinds.SOLE else 0.55 if one in kinds.LARGE else 0.35


def object_words(noun: str, in_plural: bool) -> ObjectWords:
    """Surface forms of ``noun``; ``in_plural`` picks "no cats" over "no cat" where the noun has both."""
    one = singular(noun)
    if is_uncountable(one):
        return ObjectWords(one, "is", one, "is", f"any {one}", "isn't", one, "is", one)
    if is_plural(one):
        return ObjectWords(one, "are", one, "are", f"any {one}", "aren't", one, "are", one)
    many, single = _shown(plural(one)), _shown(one)
    an = _shown(indefinite(one))
    if in_plural:
        return ObjectWords(many, "are", many, "are", f"any {many}", "aren't", many, "are", many)
    return ObjectWords(single, "is", an, "is", an, "isn't", many, "are", an)


def is_one_of(noun: str, group: frozenset[str]) -> bool:
    """True if the noun, a synonym of it or its head word is in a kind list."""
    one = singular(noun)
    return one in group or one.rsplit(" ", 1)[-1] in group or not group.isdisjoint(synonyms(one))
