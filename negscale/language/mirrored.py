"""Statements whose denial is their affirmation and a cue, so that no other word tells the two apart.

Templates and paraphrases deny with verbs with which they never affirm ("does not include", "is not part of"). A text encoder
tuned on them takes the verb for the cue: "The scene includes a dog" then means what "does not include" means, and retrieval
pays. Here every frame about one object is written twice, once for each; two objects stand in two frames or in a phrase.
"""

from __future__ import annotations

import numpy as np

from negscale.language.nouns import indefinite
from negscale.language.statements import verb_of, verb_of_bare

# {x}: the object with its article, {X}: at the start of a sentence, {o}: bare; {is}, {is_o}: the verb of each; {m}: medium
FRAMES = (
    ("This {m} features {x}", "This {m} does not feature {x}"),
    ("This {m} includes {x}", "This {m} does not include {x}"),
    ("This {m} shows {x}", "This {m} does not show {x}"),
    ("You see {x} in this {m}", "You do not see {x} in this {m}"),
    ("You can see {x} in the {m}", "You cannot see {x} in the {m}"),
    ("{X} {is} in the {m}", "{X} {is} not in the {m}"),
    ("{X} {is} to be found in the {m}", "{X} {is}n't to be found in the {m}"),
    ("There {is} {x} in the {m}", "There {is}n't {x} in the {m}"),
    ("{X} {is} part of this {m}", "{X} {is}n't part of this {m}"),
    ("{X} {is} to be seen in this {m}", "{X} {is}n't to be seen in this {m}"),
    ("There {is} {x} in this {m}", "There {is_o} no {o} in this {m}"),
    ("{X} {is} present in the {m}", "No {o} {is_o} present in the {m}"),
    ("{X} can be seen in this {m}", "No {o} can be seen in this {m}"),
    ("{X} {is} present in this {m}", "{X} {is} absent from this {m}"),
    ("The {m} comes with {x}", "The {m} comes without {x}"),
    ("This {m} has {x}", "This {m} lacks {x}"),
)
PHRASES = (  # one object with, another without: {a}, {A} and {n}, {o}
    "A {m} of {a} without {n}", "A {m} of {a} with no {o}", "{A} and no {o}", "{A}, but no {o}", "{A} without {n}",
    "A {m} that shows {a} and not {n}", "A {m} of {a}; {n} {is}n't shown", "A {m} of {a}; there {is_o} no {o}",
    "A {m} of {a}, but {n} {is}n't there", "{A}, but {n} {is} not to be seen",
)  # fmt: skip
_PHRASED = 0.5  # of the sentences about two objects; the others are two clauses
_JOINED = ("{0}, but {1}", "{0}, while {1}", "{0}; {1}", "{0}. {1}")  # ", and" would join names without an article


def mirrored(affirmed: str | None, denied: str | None, rng: np.random.Generator, medium: str = "image") -> str:
    """A sentence that affirms an object, denies one, or does both; four draws of `rng` in each case.

    Twins (the same state of `rng`, the objects exchanged) have the same words. Raises ValueError when nothing is stated.

    >>> mirrored(None, "dog", np.random.default_rng(3)), mirrored("dog", None, np.random.default_rng(3))
    ('This image does not include a dog', 'This image includes a dog')
    """
    if affirmed is None and denied is None:
        raise ValueError("a statement needs an object; expected one that is affirmed or denied")
    first, second, joint, turned = rng.random(4)
    if denied is None or affirmed is None:
        return _said(affirmed or denied or "", affirmed is None, first, medium)
    if joint < _PHRASED:
        form = PHRASES[int(first * len(PHRASES))]
        a = _words(affirmed, medium)
        return form.format(**{**_words(denied, medium), "a": a["x"], "A": a["X"], "n": indefinite(denied)})
    said = [_said(affirmed, False, first, medium), _said(denied, True, second, medium)]
    if turned < 0.5:
        said.reverse()
    form = _JOINED[int((joint - _PHRASED) / (1 - _PHRASED) * len(_JOINED))]
    start = said[1] if form.endswith(". {1}") else said[1][0].lower() + said[1][1:]
    return form.format(said[0], start)


def _said(name: str, denied: bool, draw: float, medium: str) -> str:
    return FRAMES[int(draw * len(FRAMES))][denied].format(**_words(name, medium))


def _words(name: str, medium: str) -> dict[str, str]:
    shown = indefinite(name)
    return {
        "x": shown, "X": shown[:1].upper() + shown[1:], "o": name, "m": medium, "is": verb_of([name]),
        "is_o": verb_of_bare(name),
    }  # fmt: skip
