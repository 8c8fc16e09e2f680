"""Objects named in an option: class names with plurals and synonyms, found in one pass.

The blind controls on NegBench's files (arXiv 2501.09425) need it: with raw class names alone the joint rule solves 89 %
of the VOC2007 questions, with plurals and synonyms ("people", "sofa", "television") 98 to 99 %.
``negscale.language.nouns.mentions`` answers for one noun at a time and also counts narrower terms ("skier"); here every
class is looked up at once, by the words that name the class itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from negscale.core.errors import ConfigError
from negscale.language.nouns import COCO_80, VOC_20, lemma, plural, synonyms

_PEOPLE = ("people", "person", "man", "woman", "men", "women", "child", "children", "boy", "girl", "pedestrian")


@dataclass(frozen=True, slots=True)
class Mention:
    """A class named at text[start:end]."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Lexicon:
    """The classes that may be named. Two names of one thing ("sofa", "couch") are one class, called by the first."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or not all(name.strip() for name in self.names):
            raise ConfigError(f"a lexicon needs class names, got {list(self.names)}")

    @cached_property
    def forms(self) -> dict[str, str]:
        """Surface form, lower case -> class. A form belongs to the first class that claims it; exact names go first."""
        canonical: dict[str, str] = {}
        for name in map(lemma, self.names):
            canonical[name] = next((known for known in canonical.values() if name in synonyms(known)), name)
        found = {form: canonical[lemma(name)] for name in self.names for form in _with_plurals([name])}
        for name, known in canonical.items():
            for form in _with_plurals([*synonyms(name), *(_PEOPLE if name == "person" else ())]):
                found.setdefault(form, known)
        return found

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.forms, key=lambda form: (-len(form), form))
        body = "|".join(re.escape(form).replace(r"\ ", r"[\s-]+") for form in longest_first)
        return re.compile(rf"(?<![a-z0-9])(?:{body})(?![a-z0-9])")

    def mentions(self, text: str) -> list[Mention]:
        """Classes named in the text, in order; longer names win ("hot dog" is no dog)."""
        return [
            Mention(self.forms[re.sub(r"[\s-]+", " ", found[0])], found.start(), found.end())
            for found in self._pattern.finditer(text.lower())
        ]

    def classes(self, words: Iterable[str]) -> set[str]:
        """Classes that any of the words names."""
        return {self.forms[word] for word in words if word in self.forms}


def _with_plurals(names: Iterable[str]) -> set[str]:
    singles = {re.sub(r"[\s-]+", " ", form) for name in names for form in (name.lower(), lemma(name))}
    return singles | {re.sub(r"[\s-]+", " ", plural(form)) for form in singles}


ANNOTATED = Lexicon((*COCO_80, *VOC_20))
"""The classes of COCO and Pascal VOC: what NegBench's questions name."""
