"""What expressions deny: scope decides, look-alikes are told apart, and things are those a box can speak of."""

from __future__ import annotations

import pytest

from negscale.language.denials import Denial, denies_category, find_denial


def denial(text: str) -> Denial:
    found = find_denial(text)
    assert isinstance(found, Denial), f"{text!r}: {found}"
    return found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a brown dog on the grass", "no_negation"),
        ("batter no . 10", "look_alike"),  # released as a negation
        ("the man under the no parking sign", "look_alike"),
        ("a not empty cup", "double_negation"),
        ("the cup not very", "denies_nothing"),
    ],
)
def test_expressions_without_a_denial(text: str, why: str) -> None:
    assert find_denial(text) == why


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("the dog with no ball next to it", {"ball"}),
        ("the man without a tie or a hat", {"tie", "hat"}),
        ("a blurry motorcycle with no other bikes behind it", {"bike"}),
        ("the dog that is not next to a ball", {"ball"}),
        ("bench that does not have people sitting on it", {"person"}),
        ("the orange whose stem is not visible", {"stem"}),
        ("the man with no red hat", {"red hat"}),  # a hat there would not contradict it
        ("cat on toilet not reflection", set()),  # says what it is not, not what is absent
        ("the dog that is not behind the ball", set()),  # a box does not say behind
        ("the cat that is not sleeping", set()),
    ],
)
def test_things_whose_presence_is_denied(text: str, things: set[str]) -> None:
    assert denial(text).things == things


def test_people_are_denied_without_a_noun() -> None:
    assert "person" in denial("a green umbrella with no one under it").things
    assert denial("a green umbrella with no one under it").phrase == "no one"
    assert "person" in denial("the empty bench").things
    assert "empty" not in denial("the empty bench").things


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("the cup that is not on the left", "left"), ("the dog not on the right side", "right"),
        ("the cup that's not the leftmost", "left"), ("the player in white , not the left image", None),
        ("the sausage not right next to the beans", None), ("an orange with no top", None),
    ],
)  # fmt: skip
def test_sides(text: str, side: str | None) -> None:
    assert denial(text).side == side


def test_a_denied_subject_is_marked() -> None:
    assert denial("the giraffe whose head is not visible").subject
    assert not denial("the giraffe without a head").subject


@pytest.mark.parametrize(
    ("thing", "category", "denied"),
    [
        ("dog", "dog", True), ("animal", "dog", True), ("ball", "sports ball", True), ("bike", "bicycle", True),
        ("puppy", "dog", True), ("child", "person", False), ("red hat", "hat", False), ("hat", "dog", False),
    ],
)  # fmt: skip
def test_denying_a_thing_denies_the_categories_below_it(thing: str, category: str, denied: bool) -> None:
    assert denies_category(thing, category) is denied
