from __future__ import annotations

import pytest

from negscale.language.object_heads import EXCLUDED_HEADS, object_heads


@pytest.mark.parametrize(
    ("caption", "heads"),
    [
        ("A man riding a skateboard down the side of a ramp.", ("man", "skateboard", "ramp")),
        ("Two dogs sit on top of a wooden bench", ("dog", "bench")),
        ("A picture of a cat in front of a laptop", ("cat", "laptop")),
        ("A group of people playing tennis rackets", ("person", "tennis racket")),
        ("a glass of wine and two forks", ("glass", "wine", "fork")),
        ("two dogs frisbees and a man's hat", ("dog", "frisbee", "man", "hat")),
        ("", ()),
        ("...", ()),
        ("\U0001f600 a \u72d7", ("\u72d7",)),
    ],
)
def test_things_without_places_and_amounts(caption: str, heads: tuple[str, ...]) -> None:
    assert object_heads(caption) == heads


def test_the_released_lists_hold_what_is_no_thing() -> None:
    caption = "A picture of a tennis racket on top of a table"
    assert object_heads(caption, style="root", excluded=()) == ("picture", "racket", "table")
    assert object_heads(caption) == ("tennis racket", "table")


def test_what_a_caption_denies_is_not_expected_in_its_image() -> None:
    assert object_heads("A kitchen with no sink") == ("kitchen",)
    assert object_heads("A kitchen with no sink", denied=True) == ("kitchen", "sink")


def test_each_thing_once_whatever_its_number() -> None:
    assert object_heads("A dog beside two dogs, and the Dog again") == ("dog",)


def test_excluded_heads_are_singular_lower_case_words() -> None:
    assert all(head == head.lower().strip() for head in EXCLUDED_HEADS)
    assert {"top", "side", "picture", "front"} <= set(EXCLUDED_HEADS)
