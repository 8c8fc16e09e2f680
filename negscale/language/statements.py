"""Sentences that say which objects are in an image and which are not: NegBench's templates, and other words for them.

The templates are those of NegBench's multiple-choice options (arXiv 2501.09425, section 3.2: "features A and B", "does
not feature N", "features B, but not N"), with articles and plurals, which the authors' templates lack. `restate` stands
in for the paraphrasing LLM: grammar alone, several sentence shapes and negation forms, the same truth value by design.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from negscale.language.nouns import indefinite, is_plural, is_uncountable

MEDIA = ("image", "picture", "photo", "scene", "video")

_AFFIRM = (
    "This {m} features {a}", "{A} {is_a} in the {m}", "There {is_a} {a} in this {m}", "The {m} shows {a}",
    "{A} can be seen in this {m}", "{A} {is_a} included in this {m}", "You can see {a} in the {m}",
)  # fmt: skip
_DENY = (
    "This {m} does not feature {n}", "There {is_n} no {o} in this {m}", "No {o} {is_n} present in the {m}",
    "The {m} does not include {n}", "{N} {is_nn} not part of this {m}", "No {o} can be seen in the {m}",
    "The {m} is without {n}", "{N} {is_nn} absent from this {m}", "This {m} lacks {n}",
)  # fmt: skip
_BOTH = (
    "This {m} features {a}, but not {n}", "{A} {is_a} in the {m}, but there {is_n} no {o}",
    "There {is_a} {a} in this {m}, but no {o}", "The {m} shows {a} and no {o}", "The {m} features {a} without {n}",
    "No {o} {is_n} present in this {m}, but {a} {is_a}", "There {is_n} no {o} in the {m}, but there {is_a} {a}",
    "{A} {is_a} included in this {m}, while {n} {is_nn} absent",
)  # fmt: skip


def template(affirmed: Sequence[str], denied: Sequence[str], medium: str = "image") -> str:
    """NegBench's wording. Raises ValueError when nothing is stated: there is no "does not feature None".

    >>> template(["knife"], ["scissors"])
    'This image features a knife, but not a pair of scissors'
    >>> template([], ["apple"], "video"), template(["cup", "orange"], [])
    ('This video does not feature an apple', 'This image features a cup and an orange')
    """
    if affirmed and denied:
        return f"This {medium} features {_listed(affirmed, 'and')}, but not {_listed(denied, 'or')}"
    if affirmed:
        return f"This {medium} features {_listed(affirmed, 'and')}"
    if denied:
        return f"This {medium} does not feature {_listed(denied, 'or')}"
    raise ValueError("a statement needs an object; expected one that is affirmed or denied")


def restate(affirmed: Sequence[str], denied: Sequence[str], rng: np.random.Generator, medium: str = "image") -> str:
    """The same in one of several sentence shapes; one draw of `rng`. Raises ValueError when nothing is stated."""
    template(affirmed, denied, medium)
    forms = _BOTH if affirmed and denied else _AFFIRM if affirmed else _DENY
    words = {"m": medium}
    if affirmed:
        a = _listed(affirmed, "and")
        words |= {"a": a, "A": a[:1].upper() + a[1:], "is_a": verb_of(affirmed)}
    if denied:
        n = _listed(denied, "or")
        words |= {"n": n, "N": n[:1].upper() + n[1:], "is_nn": verb_of(denied)}
        words |= {"o": _bare(denied), "is_n": verb_of_bare(denied[-1])}
    return forms[int(rng.random() * len(forms))].format(**words)


def _listed(names: Sequence[str], conjunction: str) -> str:
    shown = [indefinite(name) for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {conjunction} {shown[-1]}"


def _bare(names: Sequence[str]) -> str:
    return " or ".join(names)


def verb_of(names: Sequence[str]) -> str:
    """Of the listed names as subject: "a pair of scissors is", "skis are", "broccoli is"."""
    if len(names) > 1:
        return "are"
    return "is" if indefinite(names[0]).startswith(("a ", "an ")) or is_uncountable(names[0]) else "are"


def verb_of_bare(name: str) -> str:
    """Of the name after "no": "no scissors are", "no skis are", "no dog is"."""
    return "are" if is_plural(name) or verb_of([name]) == "are" else "is"
