from __future__ import annotations

import pytest

from negscale.core.rng import rng_for
from negscale.language.nouns import mentions
from negscale.training.hard_negatives import asserted_absent, denied_present, swap_object

ROW = {
    "caption": "A man rides a bike.", "negated_caption": "A man rides a bike with no hat.", "absent_object": "hat",
    "positive_objects": ["man", "bike", "dog"],
}  # fmt: skip


def test_the_minimal_pair_differs_in_the_object_alone() -> None:
    assert (
        denied_present(ROW, rng_for(0, "a")) == "A man rides a bike with no dog."
    )  # the one that the caption leaves out


def test_without_object_lists_the_captions_nouns_are_denied() -> None:
    row = {key: value for key, value in ROW.items() if key != "positive_objects"}
    texts = {denied_present(row, rng_for(0, k)) for k in range(20)}
    assert all(text and (mentions(text, "man") or mentions(text, "bike")) for text in texts)
    assert denied_present({"caption": "so nice"}, rng_for(0)) is None


def test_what_is_absent_is_asserted() -> None:
    texts = {asserted_absent(ROW, rng_for(0, k)) for k in range(20)}
    assert all(text and mentions(text, "hat") for text in texts)
    assert "A man rides a bike with a hat" in texts
    assert asserted_absent({"caption": "a dog"}, rng_for(0)) is None


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        ("No umbrellas are in the picture", "umbrella", "cup", "No cups are in the picture"),
        ("a cat without a ball", "ball", "umbrella", "a cat without an umbrella"),
        ("Umbrella-free: no umbrella", "umbrella", "dog", "Dog-free: no umbrella"),
        ("a cat", "dog", "cup", None),
    ],
)
def test_swapping(text: str, old: str, new: str, expected: str | None) -> None:
    assert swap_object(text, old, new) == expected
