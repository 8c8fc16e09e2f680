"""Tokeniser: offsets, clitics, part-of-speech guesses on caption English."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negscale.language.tokens import content_words, lemma_keys, tokenise


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("a man isn't here", ["a", "man", "is", "n't", "here"]),
        ("it cannot fly", ["it", "can", "not", "fly"]),
        ("the dog's T-shirt, size 5.5!", ["the", "dog", "'s", "T-shirt", ",", "size", "5.5", "!"]),
        ("doesn\u2019t", ["does", "n\u2019t"]),
        ("w/o a hat", ["w", "/", "o", "a", "hat"]),
        ("", []),
    ],
)
def test_words(caption: str, words: list[str]) -> None:
    assert [token.text for token in tokenise(caption)] == words


@pytest.mark.parametrize(
    ("caption", "tags"),
    [
        ("a man rides a horse", "DET NOUN VERB DET NOUN"),
        ("two dogs sit on a couch", "NUM NOUN VERB PREP DET NOUN"),
        ("a large white dog running", "DET ADJ ADJ NOUN VERB"),
        ("a cat on top of a car", "DET NOUN PREP PREP PREP DET NOUN"),
        ("a frosted cake on a plate", "DET ADJ NOUN PREP DET NOUN"),
        ("the street is not busy", "DET NOUN AUX PART ADJ"),
        ("a piano sitting outside", "DET NOUN VERB PREP"),
        ("a bar with a pan", "DET NOUN PREP DET NOUN"),
        ("the camera's view", "DET NOUN PART NOUN"),
    ],
)
def test_parts_of_speech(caption: str, tags: str) -> None:
    assert " ".join(token.pos for token in tokenise(caption)) == tags


def test_content_words_are_lemmas_without_stop_words() -> None:
    words = content_words("Two women are riding brown horses in front of the snowy mountains")
    assert words == ("two", "woman", "ride", "brown", "horse", "snowy", "mountain")


def test_lemma_keys_join_inflections() -> None:
    assert lemma_keys("knives") & lemma_keys("knife")
    assert lemma_keys("riding") & lemma_keys("rides")
    assert not lemma_keys("cat") & lemma_keys("car")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=120))
def test_offsets_point_into_the_caption(caption: str) -> None:
    at = 0
    for token in tokenise(caption):
        assert caption[token.start : token.end] == token.text
        assert token.text
        assert not caption[at : token.start].strip()
        at = token.end
    assert not caption[at:].strip()


def test_two_thousand_captions_a_second() -> None:
    captions = [f"a man number {k} riding a brown horse next to two large dogs in a field" for k in range(2000)]
    started = process_time()
    for caption in captions:
        tokenise(caption)
    assert process_time() - started < 1.0
