"""What is kept for the tests: pairs of objects, negation cues, sentence frames.

A model that has seen "no dog" beside "a tree" may know that sentence and not negation. So the objects are put into three
groups: two of one group stand together in tests only, in one sentence or in what training makes of a row. Test sentences
deny with cues that fine-tuning never uses, in frames that it never uses: "doesn't", "don't", "can't" and other contractions of
verbs but "be", where fine-tuning says "no", "without", "isn't", "does not", "lacks". A cue of which fine-tuning never meets
a token ("nowhere"; "lacking", whose "lack" is not the token of "lacks") tells nothing about a recipe: a text tower of this
size reads it as before, whatever it was trained on.
What differs: the papers test on sentences of the same language model, with the same few-shot examples, as they train on;
NegBench's templates are the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from negscale.core.rng import rng_for
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import PLACES, scene
from negscale.language.nouns import plural

_BORDERS = (6, 11)  # groups of six, five and five; a question names four objects of one group at most
_TOGETHER, _SAMPLE = 0.005, 4000
_CUE = re.compile(r"(?<!\bis)(?<!\bare)n['’]t\b", re.IGNORECASE)
_NAMES = {form: name for name in OBJECTS for form in (name, plural(name))}
_NOUN = re.compile(rf"\b(?:{'|'.join(sorted(_NAMES, key=len, reverse=True))})\b", re.IGNORECASE)
_PLACE = re.compile(rf"\b(?:{'|'.join(place.phrase for place in PLACES)})\b", re.IGNORECASE)
_ARTICLE = re.compile(r"\b(?:an?|the) THING\b", re.IGNORECASE)
_PARTS = ("caption", "negated_caption", "absent_object", "positive_objects", "extracted_objects")


@dataclass(frozen=True, slots=True)
class Split:
    """Groups of objects; a pair within a group belongs to the tests."""

    groups: tuple[tuple[str, ...], ...]

    def group_of(self, name: str) -> tuple[str, ...]:
        """The group that holds an object."""
        return next(group for group in self.groups if name in group)

    def is_test_pair(self, first: str, second: str) -> bool:
        """Whether the two are named together in tests only."""
        return first != second and second in self.group_of(first)

    def test_pairs(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """The pairs among `names` that belong to the tests."""
        return [pair for pair in combinations(sorted(set(names)), 2) if self.is_test_pair(*pair)]


@cache
def split_objects(seed: int) -> Split:
    """Toyworld's sixteen objects in three groups, drawn by the seed until each group gives enough to ask about.

    In each group some three objects are seen together in `_TOGETHER` of the scenes: balanced questions need such pictures.
    """
    rng = rng_for(seed, "object groups")
    names = sorted(OBJECTS)
    often = _seen_together() >= _TOGETHER
    while True:
        groups = np.split(rng.permutation(len(names)), _BORDERS)
        if all(often[np.ix_(group, group, group)].any() for group in groups):
            return Split(tuple(tuple(sorted(names[at] for at in group.tolist())) for group in groups))


@cache
def _seen_together() -> np.ndarray:
    """float[16, 16, 16]: share of scenes that show three different objects."""
    names = sorted(OBJECTS)
    shown = np.array([[name in scene(0, index).names for name in names] for index in range(_SAMPLE)], float)
    together = np.einsum("ni,nj,nk->ijk", shown, shown, shown, optimize=True) / _SAMPLE
    at = np.arange(len(names))
    together[at, at, :] = together[at, :, at] = together[:, at, at] = 0
    return together


def names_in(text: str) -> set[str]:
    """The objects of toyworld that a text names, in the singular or plural.

    >>> sorted(names_in("No dogs beside the bench"))
    ['bench', 'dog']
    """
    return {_NAMES[found.lower()] for found in _NOUN.findall(text)}


def frame_of(text: str) -> str:
    """A sentence without its objects and place: what two sentences share that say the same of other things.

    >>> frame_of("There is no dog in the park.") == frame_of("there is no umbrella at the beach")
    True
    """
    bare = _NOUN.sub("THING", _PLACE.sub("PLACE", text.strip().rstrip(".")))
    return re.sub(r"\s+", " ", _ARTICLE.sub("a THING", bare)).lower()


def why_not(split: Split, frames: frozenset[str], row: Mapping[str, Any]) -> str | None:
    """Why a row may not be trained on: "test_cue", "test_frame", "test_pair"; None when it may.

    What training makes of a row (hard negatives) combines its caption, its absent object and its lists of objects, so all
    of them count together. The options of a question are read as they are, each by itself.
    """
    texts = [row[name] for name in ("caption", "negated_caption") if row.get(name)]
    options: Sequence[str] = row.get("options") or ()
    if any(has_test_cue(text) for text in (*texts, *options)):
        return "test_cue"
    if any(frame_of(text) in frames for text in (*texts, *options)):
        return "test_frame"
    together = {name for part in _PARTS if row.get(part) for name in _named(row[part])}
    if not options and split.test_pairs(together):
        return "test_pair"
    return "test_pair" if any(split.test_pairs(names_in(option)) for option in options) else None


def has_test_cue(text: str) -> bool:
    """Whether a text denies something with a cue of the tests."""
    return _CUE.search(text) is not None


def breaches(split: Split, frames: frozenset[str], texts: Iterable[str]) -> dict[str, list[str]]:
    """reason -> texts that fine-tuning must not see, each text by itself; empty when the split holds."""
    found: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        if (reason := _breach(split, frames, text)) is not None:
            found.setdefault(reason, []).append(text)
    return found


def _breach(split: Split, frames: frozenset[str], text: str) -> str | None:
    if has_test_cue(text):
        return "test_cue"
    if frame_of(text) in frames:
        return "test_frame"
    return "test_pair" if split.test_pairs(names_in(text)) else None


def _named(value: str | Sequence[str]) -> set[str]:
    return _names_of(value) if isinstance(value, str) else {name for text in value for name in _names_of(text)}


@cache
def _names_of(text: str) -> set[str]:
    return names_in(text)
