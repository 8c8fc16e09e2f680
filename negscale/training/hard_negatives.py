"""Texts that are false of a row's image, made from what is known of it: the hard negatives of our objective.

*Denied but present*: the row's own negated caption with the absent object exchanged for one that is there, so that the two
differ in nothing but the object. *Asserted but absent*: the caption with the absent object put in. What differs:
CoN-CLIP asks a language model for the first kind, and PeakPatch's released labels call true absences wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from negscale.language.nouns import indefinite, mentions, plural, singular
from negscale.language.object_heads import object_heads
from negscale.language.statements import restate

OBJECT_COLUMNS = ("positive_objects", "extracted_objects")  # read where the run has them; else the caption's own nouns


def denied_present(row: Mapping[str, Any], rng: np.random.Generator) -> str | None:
    """A text that denies something that is in the image; None where nothing is known to be there.

    row: `caption` and, where there are, `negated_caption`, `absent_object` and a list of objects.
    """
    here = present_objects(row)
    if not here:
        return None
    # an object that the caption does not name keeps the text free of contradictions: only the image can refute it
    unnamed = [name for name in here if not mentions(row["caption"], name)]
    chosen = (unnamed or here)[int(rng.integers(len(unnamed or here)))]
    swapped = None
    if unnamed and row.get("negated_caption") and row.get("absent_object"):
        swapped = swap_object(row["negated_caption"], row["absent_object"], chosen)
    return swapped or restate((), (chosen,), rng)


def asserted_absent(row: Mapping[str, Any], rng: np.random.Generator) -> str | None:
    """A text that asserts something that is absent from the image; None where no absent object is known."""
    absent = row.get("absent_object") or _first(row.get("negative_objects"))
    if not absent:
        return None
    if rng.random() < 0.5:
        return f"{row['caption'].rstrip(' .')} with {indefinite(absent)}"
    others = [name for name in present_objects(row) if name != absent]
    named = (others[int(rng.integers(len(others)))], absent) if others else (absent,)
    return restate(named, (), rng)


def swap_object(text: str, old: str, new: str) -> str | None:
    """`text` with `new` where `old` stood, in the same number and with the right article; None where `old` is not.

    >>> swap_object("a man without an umbrella, no cars", "umbrella", "dog")
    'a man without a dog, no cars'
    >>> swap_object("There are no cups on the table.", "cup", "knife")
    'There are no knives on the table.'
    """
    one = singular(old)
    for form in sorted({old, one, plural(one)}, key=len, reverse=True):
        found = re.search(rf"\b((?:an?)\s+)?({re.escape(form)})\b", text, re.IGNORECASE)
        if found is None:
            continue
        many = form.lower() == plural(one).lower() != one.lower()
        said = plural(singular(new)) if many else new
        if found[1]:
            said = indefinite(new)
            if found[1][0].isupper():
                said = said[0].upper() + said[1:]
        elif found[2][0].isupper():
            said = said[0].upper() + said[1:]
        return text[: found.start()] + said + text[found.end() :]
    return None


def present_objects(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What is known to be in a row's image: its lists of objects, else the nouns of its caption."""
    for column in OBJECT_COLUMNS:
        if row.get(column):
            return tuple(row[column])
    return _named(row["caption"])


@lru_cache(100_000)  # the same captions come every epoch
def _named(caption: str) -> tuple[str, ...]:
    return object_heads(caption)


def _first(names: list[str] | None) -> str | None:
    return names[0] if names else None
