"""Word differences: nothing is lost, the new words are marked, case does not count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negscale.review.diff import word_diff


@given(st.text(), st.text())
def test_segments_joined_are_the_captions(old: str, new: str) -> None:
    gone, came = word_diff(old, new)
    assert "".join(text for text, _ in gone) == old
    assert "".join(text for text, _ in came) == new


@pytest.mark.parametrize(
    ("old", "new", "added"),
    [
        ("The dog sits.", "Without a ball, the dog sits.", ["Without a ball,"]),
        ("A cat on a mat", "A cat on a mat, but there isn't a dog", [", but there isn't a dog"]),
        ("a b c", "a b c", []),
        ("", "no dog", ["no dog"]),
    ],
)
def test_new_words_are_marked(old: str, new: str, added: list[str]) -> None:
    gone, came = word_diff(old, new)
    assert [text.strip() for text, differs in came if differs] == added
    assert not any(differs for _, differs in gone)


def test_very_long_captions_are_shown_unmarked() -> None:
    old, new = "a " * 2000, "b " * 2000
    assert word_diff(old, new) == ([(old, False)], [(new, False)])
