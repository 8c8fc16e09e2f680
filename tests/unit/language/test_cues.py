"""Negation cues: the table is sound, affixes are found, look-alikes are not."""

from __future__ import annotations

import pytest

from negscale.language.cues import CUES, FORMS, match_cue, pseudo_cue_length
from negscale.language.tokens import tokenise, word_set


def _cue(text: str, at: int = 0) -> tuple[str, str, str] | None:
    cue = match_cue(tokenise(text), at)
    return None if cue is None else (cue.text, cue.form, cue.reach)


def test_table_is_lower_case_tokens_without_repeats() -> None:
    assert len({cue.words for cue in CUES}) == len(CUES)
    for cue in CUES:
        assert cue.form in FORMS
        written = " ".join(cue.words).replace(" / ", "/")
        at = 1 if cue.words[0] == "n't" else 0
        words = [token.lower for token in tokenise("is" * at + written)][at:]
        assert words == list(cue.words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no one in sight", ("no one", "none", "verb_phrase")),
        ("no dog", ("no", "no", "noun_phrase")),
        ("not a single dog", ("not a single", "no", "noun_phrase")),
        ("not visible", ("not visible", "not", "left")),
        ("nowhere to be seen", ("nowhere to be seen", "none", "left")),
        ("devoid of people", ("devoid of", "lexical", "noun_phrase")),
        ("leafless trees", ("leafless", "affix", "self")),
        ("sugar-free cake", ("sugar-free", "affix", "self")),
        ("unripe bananas", ("unripe", "affix", "self")),
        ("unoccupied bench", ("unoccupied", "lexical", "self")),
        ("missing a wheel", ("missing", "lexical", "either")),
        ("w/o a hat", ("w / o", "without", "noun_phrase")),
    ],
)
def test_longest_cue_wins(text: str, expected: tuple[str, str, str]) -> None:
    assert _cue(text) == expected


@pytest.mark.parametrize(
    "word", sorted(word_set("under uniform umbrella unless stainless unique dress glass noon knot"))
)
def test_look_alike_words_are_no_cues(word: str) -> None:
    assert _cue(word) is None


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("no parking sign", 3),
        ("do not enter sign", 4),
        ("don't walk sign", 4),
        ("nothing but dogs", 2),
        ("no. 5", 3),
        ("no 5", 2),
        ("without a doubt", 3),
        ("not only", 2),
        ("no dog sign here", 0),
        ("no dog", 0),
        ("nothing here", 0),
    ],
)
def test_pseudo_cues(text: str, length: int) -> None:
    assert pseudo_cue_length(tokenise(text), 0) == length


@pytest.mark.parametrize(
    ("text", "implied"),
    [
        ("an empty bench", "person"),
        ("an empty plate", "food"),
        ("an empty street", "car"),
        ("the vase is empty", "flower"),
    ],
)
def test_what_is_empty_depends_on_the_noun(text: str, implied: str) -> None:
    tokens = tokenise(text)
    at = next(j for j, token in enumerate(tokens) if token.lower == "empty")
    cue = match_cue(tokens, at)
    assert cue is not None
    assert implied in cue.implied
