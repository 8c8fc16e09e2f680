"""The things that a caption names: the nouns that retention asks for.

NeIn (Bui et al., arXiv 2409.06481; evaluation_protocol/) takes the roots of spaCy's noun chunks. What differs: nothing is
downloaded, the chunks are runs of nouns after `negscale.language.tokens`; a compound stays whole ("tennis racket", "hot
dog"), where its root names another thing; and words that name no thing (*top, side, picture, front*), which the released
lists hold, are left out. `style="root"` with nothing excluded gives lists like the released ones ("on top of"
is one preposition here, and names no *top*).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from negscale.language.nouns import singular
from negscale.language.scope import negated_spans
from negscale.language.tokens import Token, tokenise, word_set

HeadStyle = Literal["compound", "root"]

EXCLUDED_HEADS: Final[tuple[str, ...]] = tuple(
    sorted(
        word_set(
            # places of and in the picture
            "top side front back middle bottom center centre left right edge corner end inside outside rear foreground",
            "background distance area part section spot surface angle position direction way air view scene sight setting",
            # the picture itself
            "picture image photo photograph photography shot closeup close-up close look display drawing painting",
            # amounts and groups, of which the thing comes after "of"
            "group couple pair bunch lot number row variety piece set collection array assortment stack pile line bit kind",
            "type sort style crowd bundle cluster slice half dozen series amount",
            # times, deeds and other things that no box can hold
            "day night morning evening afternoon time day-time daytime moment game trick ride color colour shape size design",
            "thing something one other",
        )
    )
)
"""Heads that name a place in the picture, the picture, an amount or a time rather than a thing."""

_NOT_THINGS = frozenset(word_set("i you he she it we they who one ones other others"))


def object_heads(
    caption: str, *, style: HeadStyle = "compound", excluded: Iterable[str] = EXCLUDED_HEADS, denied: bool = False
) -> tuple[str, ...]:
    """Names of the things in `caption`, singular, in order, each once. Never raises.

    style: the whole compound ("tennis racket") or its last noun ("racket"). excluded: heads that are no things.
    denied: also what the caption says is not there.

    >>> object_heads("Two dogs on top of a fire hydrant next to a picture of a man.")
    ('dog', 'fire hydrant', 'man')
    >>> object_heads("a street without cars"), object_heads("a street without cars", denied=True)
    (('street',), ('street', 'car'))
    """
    tokens = tokenise(caption)
    hidden: set[int] = set()
    if not denied:
        hidden = {at for span in negated_spans(caption) for at in range(span.start, span.end)}
    no_things = frozenset(excluded) | _NOT_THINGS
    found: dict[str, None] = {}
    for start, stop in _noun_runs(tokens):
        if stop - 1 in hidden:
            continue
        head = tokens[stop - 1]
        words = [head.lower] if style == "root" else [token.lower for token in tokens[start:stop]]
        try:
            name = singular(" ".join(words))
            root = singular(head.lower)
        except ValueError:  # an article alone, punctuation: no name
            continue
        if root not in no_things and head.lower not in no_things:
            found[name] = None
    return tuple(found)


def _noun_runs(tokens: tuple[Token, ...]) -> list[tuple[int, int]]:
    """[start, stop) of each run of nouns; a possessive ends one ("a man's hat": man, hat), and so does a plural."""
    runs: list[tuple[int, int]] = []
    start = -1
    for at, token in enumerate((*tokens, None)):
        noun = token is not None and token.pos == "NOUN"
        # "dogs frisbee" is no compound: what describes a noun is singular, and here a word between them was mistaken
        if start >= 0 and (not noun or tokens[at - 1].lower != tokens[at - 1].lemma):
            runs.append((start, at))
            start = -1
        if noun and start < 0:
            start = at
    return runs
