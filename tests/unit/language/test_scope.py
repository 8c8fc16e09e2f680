"""Scope of negation: what each cue denies and what it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negscale.language.scope import POSITIONS, negated_spans
from negscale.language.tokens import tokenise, word_set

_WORDS = st.sampled_from(sorted(word_set("no not a dog , and or but missing is of with")))

# (caption, denied phrases in order of their cues)
SCOPES = [
    ("no dogs or cats", ["dogs or cats"]),
    ("no dogs and cats", ["dogs and cats"]),
    ("without a hat or a coat", ["a hat or a coat"]),
    ("a man with no hat and a dog", ["hat"]),
    ("a man with no hat and with a dog", ["hat"]),
    ("a bed, but no cats, books, or lamps", ["cats , books , or lamps"]),
    ("a man without a helmet, next to a dog", ["a helmet"]),
    ("a man without a helmet but with a dog", ["a helmet"]),
    ("a man without a helmet while a dog sleeps", ["a helmet"]),
    ("no dogs in the park", ["dogs"]),
    ("a woman not wearing a hat riding a horse", ["wearing a hat"]),
    ("a woman with no hat riding a horse", ["hat riding"]),
    ("a man no longer wearing a hat", ["wearing a hat"]),
    ("this is not a hat but a cap", ["a hat"]),
    ("the kitchen doesn't have a stove", ["have a stove"]),
    ("a man cannot find his dog", ["find his dog"]),
    ("a plane not sitting on top of a field", ["sitting on top of a field"]),
    ("a street that is not busy", ["busy"]),
    ("no man is holding an umbrella", ["man is holding an umbrella"]),
    ("no cat is on the mat", ["cat is"]),
    ("no cat can be seen in this picture of a dog", ["cat can be seen"]),
    ("nobody is on the beach", ["is"]),
    ("the bench is empty of people", ["people"]),
    ("a dish devoid of any food", ["any food"]),
    ("a man fails to catch the ball", ["catch the ball"]),
    ("without a foil covered plate", ["a foil covered plate"]),
    # to the left
    ("people are absent from the bench", ["people"]),
    ("a hat is nowhere to be seen", ["a hat"]),
    ("a man on a couch, and the hat is missing", ["the hat"]),
    ("a sink but the trees in background are not there", ["the trees"]),
    ("a ball on top of a stick that is absent", ["a stick"]),
    ("a dog is not visible in the scene", ["a dog"]),
    ("a boat on a river but the shore is not nearby", ["the shore"]),
    ("a sky with the smoke absent", ["the smoke"]),
    ("a laptop missing on the table", ["a laptop"]),
    ("a yellow sign but missing from the road", ["a yellow sign"]),
    # to the right after all
    ("a missing monitor", ["monitor"]),
    ("a bike missing a wheel", ["a wheel"]),
    ("a street absent of cars", ["cars"]),
    # both sides, several cues
    ("neither a dog nor a cat", ["a dog nor a cat"]),
    ("a man without a hat and without a dog", ["a hat", "a dog"]),
    ("a shirtless man with no shoes", ["shirtless", "shoes"]),
    # nothing denied
    ("a man not only rides but also walks", []),
    ("a man not without a hat", []),
    ("the street is not empty", []),
    ("there is no lack of food", []),
    ("a no parking sign", []),
    ("a do not enter sign", []),
    ("nothing but a dog", []),
    ("no. 5 on a shirt", []),
    ("without a doubt a dog", []),
    ("a man and a dog under an umbrella", []),
    ("a uniform under a university sign", []),
]


@pytest.mark.parametrize(("caption", "phrases"), SCOPES)
def test_denied_phrases(caption: str, phrases: list[str]) -> None:
    tokens = tokenise(caption)
    found = [" ".join(token.text for token in tokens[span.start : span.end]) for span in negated_spans(caption)]
    assert found == phrases


@pytest.mark.parametrize(
    ("caption", "position"),
    [
        ("no dog lies on the old green couch", "early"),
        ("a man sits with no hat on his head", "middle"),
        ("a man rides a horse in a field without a hat", "late"),
    ],
)
def test_position_is_the_third_of_the_cue(caption: str, position: str) -> None:
    assert [span.position for span in negated_spans(caption)] == [position]


def test_reach_adds_the_modifiers() -> None:
    tokens = tokenise("there is no dog in the park")
    (span,) = negated_spans("there is no dog in the park")
    assert [token.text for token in tokens[span.reach_start : span.reach_end]] == ["dog", "in", "the", "park"]


def test_double_negation_can_be_kept() -> None:
    assert [span.cue for span in negated_spans("a street that is not empty", keep_double=True)] == ["not", "empty"]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=100), st.lists(_WORDS).map(" ".join)))
def test_spans_stay_inside_the_text(text: str) -> None:
    tokens = tokenise(text)
    for span in negated_spans(text):
        assert 0 <= span.reach_start <= span.start <= span.end <= len(tokens)
        assert span.start <= span.reach_end <= len(tokens)
        assert 0 <= span.cue_start < span.cue_end <= len(tokens)
        assert span.position in POSITIONS
