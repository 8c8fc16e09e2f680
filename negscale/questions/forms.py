"""Forms of option sets in which any option can be the only true one.

An option is a conjunction of claims on unnamed objects: "A", "A and B", "no A", "A but no B". A form is four of them.
It is of use when, for each of its four options, some pattern of present and absent objects makes this option true and
the three others false: then the right option can be drawn at random, whatever the texts say. NegBench's generator (arXiv
2501.09425, section 3) knows one form, {A and B | A not B | ...} with the roles fixed, which gives the answer away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations_with_replacement, permutations, product

import numpy as np

from negscale.questions.options import Kind

OBJECTS = 4  # a form names at most so many
PATTERNS = 2**OBJECTS  # bit i: object i is present

STRUCTURES: tuple[tuple[Kind, ...], ...] = (
    ("affirm_two", "affirm_one", "hybrid", "deny"),
    ("affirm_one", "hybrid", "hybrid", "deny"),
    ("affirm_one", "hybrid", "deny", "deny"),
)
"""Kinds of the options of a form. Over the three, the kinds are as frequent as in NegBench's released COCO file (affirm
one 3, affirm two 1, hybrid 4, deny 4 of 12), and positive, negative and hybrid answers are equally frequent."""


@dataclass(frozen=True, order=True, slots=True)
class Option:
    """A conjunction: these objects are present, those absent. Objects are numbers below `OBJECTS`."""

    kind: Kind
    affirmed: tuple[int, ...]
    denied: tuple[int, ...]

    def renamed(self, names: tuple[int, ...]) -> Option:
        """With object i called names[i]; the order of two affirmed objects does not count."""
        return Option(self.kind, tuple(sorted(names[i] for i in self.affirmed)), tuple(names[i] for i in self.denied))

    def truth(self) -> np.ndarray:
        """bool[PATTERNS]: where it is true."""
        bits = np.arange(PATTERNS)
        true = np.ones(PATTERNS, bool)
        for number in self.affirmed:
            true &= (bits >> number & 1) == 1
        for number in self.denied:
            true &= (bits >> number & 1) == 0
        return true


@dataclass(frozen=True)
class Form:
    """Four options, each of them the only true one for some pattern."""

    options: tuple[Option, ...]

    @cached_property
    def roles(self) -> np.ndarray:
        """bool[4, PATTERNS]: the patterns for which option j alone is true."""
        true = np.array([option.truth() for option in self.options])
        return true & (true.sum(axis=0) == 1)

    @cached_property
    def claims(self) -> np.ndarray:
        """int[OBJECTS, 2]: how often each object is affirmed and denied."""
        counts = np.zeros((OBJECTS, 2), int)
        for option in self.options:
            for number in option.affirmed:
                counts[number, 0] += 1
            for number in option.denied:
                counts[number, 1] += 1
        return counts

    @property
    def objects(self) -> int:
        """How many objects it names; they are the first ones."""
        return int((self.claims.sum(axis=1) > 0).sum())


@cache
def forms_of(structure: tuple[Kind, ...]) -> tuple[Form, ...]:
    """All forms of a structure, one per renaming of its objects.

    >>> [len(forms_of(structure)) > 0 for structure in STRUCTURES]
    [True, True, True]
    """
    found: dict[tuple[Option, ...], Form] = {}
    for options in _option_sets(structure):
        form = Form(options)
        if form.roles.any(axis=1).all():
            found.setdefault(_canonical(options), form)
    return tuple(Form(options) for options in sorted(found))


def _option_sets(structure: tuple[Kind, ...]) -> Iterator[tuple[Option, ...]]:
    choices = [[(kind, option) for option in _options(kind)] for kind in dict.fromkeys(structure)]
    per_kind = [
        combinations_with_replacement([option for _, option in group], structure.count(group[0][0]))
        for group in choices
    ]
    for picked in product(*map(list, per_kind)):
        options = tuple(option for group in picked for option in group)
        if len(set(options)) == len(options):
            yield options


def _options(kind: Kind) -> list[Option]:
    numbers = range(OBJECTS)
    if kind == "affirm_two":
        return [Option(kind, (a, b), ()) for a in numbers for b in numbers if a < b]
    if kind == "hybrid":
        return [Option(kind, (a,), (b,)) for a in numbers for b in numbers if a != b]
    return [Option(kind, (a,), ()) if kind == "affirm_one" else Option(kind, (), (a,)) for a in numbers]


def _canonical(options: tuple[Option, ...]) -> tuple[Option, ...]:
    """The least of all renamings that keeps the order of kinds."""
    return min(_renamings(options))


def _renamings(options: tuple[Option, ...]) -> Iterator[tuple[Option, ...]]:
    order = {kind: at for at, kind in enumerate(dict.fromkeys(option.kind for option in options))}
    for names in permutations(range(OBJECTS)):
        yield tuple(sorted((o.renamed(names) for o in options), key=lambda o: (order[o.kind], o.affirmed, o.denied)))
