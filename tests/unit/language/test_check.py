"""Caption check: hard cases by hand, arbitrary text, thresholds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negscale.language.check import REASONS, CheckOptions, check_negated_caption
from negscale.language.tokens import word_set

# (caption, negated caption, absent object, expected reason; None = accepted)
CASES: list[tuple[str, str, str, str | None]] = [
    ("a woman riding a horse in a field", "a woman not wearing a hat riding a horse in a field", "hat", None),
    ("a child playing with a ball in the park", "a child playing with a ball in the park with no tree", "tree", None),
    ("a man rides a horse", "a man without a hat rides a horse", "hat", None),
    ("a man rides a horse", "Without a hat, a man rides a horse.", "hat", None),
    ("two dogs on a couch", "two dogs on a couch, but no cats", "cat", None),
    ("two dogs on a couch", "No cat is with the two dogs on a couch", "cat", None),
    ("two dogs on a couch", "There is no cat, only two dogs on a couch", "cat", None),
    ("a wooden bench in a park", "an unoccupied wooden bench in a park", "person", None),
    ("a wooden bench in a park", "a wooden bench in a park empty of people", "person", None),
    ("a wooden bench in a park", "a wooden bench in a park devoid of people", "people", None),
    ("a wooden bench in a park", "a deserted wooden bench in a park", "people", None),
    ("a wooden bench in a park", "nobody is on a wooden bench in a park", "person", None),
    ("a wooden bench in a park", "a wooden bench in a park with no one in sight", "person", None),
    ("a street with tall buildings", "a treeless street with tall buildings", "tree", None),
    ("a boy on a beach", "a shirtless boy on a beach", "shirt", None),
    ("a boy on a beach", "a barefoot boy on a beach", "shoes", None),
    ("a kitchen with a stove", "a kitchen with a stove that doesn't have a microwave", "microwave", None),
    ("a kitchen with a stove", "a kitchen with a stove, lacking a microwave", "microwave", None),
    ("a kitchen with a stove", "a kitchen with a stove but missing a microwave", "microwave", None),
    ("a kitchen with a stove", "a kitchen with a stove; the microwave is absent", "microwave", None),
    ("a kitchen with a stove", "a kitchen with a stove and a microwave is nowhere to be seen", "microwave", None),
    ("a kitchen with a stove", "a kitchen with a stove, and no microwave is visible", "microwave", None),
    ("a kitchen with a stove", "a kitchen with a stove, microwaves are not present", "microwave", None),
    ("a kitchen with a stove", "a kitchen with a stove and not a single microwave", "microwave", None),
    ("a man on a couch", "a man on a couch without a television", "tv", None),
    ("a cat sleeps on a bed", "a cat sleeps on a bed with no sofa around", "couch", None),
    ("a cat sleeps on a bed", "a cat sleeps on a bed without any dogs", "dog", None),
    ("a man cooking in a kitchen", "a man cooking in a kitchen without wearing an apron", "apron", None),
    ("a man cooking in a kitchen", "a man who is not wearing an apron is cooking in a kitchen", "apron", None),
    ("a plate of food on a table", "a plate of food on a table, with no wine glass beside it", "wine glass", None),
    ("a grey dog runs", "a gray dog runs without a leash", "leash", None),
    ("three dogs run", "three dogs running with no leash", "leash", None),
    ("a street at night", "a car-free street at night", "car", None),
    ("a man riding a bike", "a man riding a bike with neither a helmet nor a cap", "helmet", "other_object_denied"),
    ("a man rides a horse", "a man rides a horse", "hat", "no_negation"),
    ("a man rides a horse", "a man in a hat rides a horse", "hat", "no_negation"),
    ("a man rides a horse", "a man not without a hat rides a horse", "hat", "no_negation"),
    ("a man rides a horse", "a man rides a horse near a no parking sign", "hat", "no_negation"),
    ("a man rides a horse", "without a doubt a man rides a horse", "hat", "no_negation"),
    ("a man rides a horse", "not only a man but also a hat rides a horse", "hat", "no_negation"),
    ("a man rides a horse", "nothing but a man rides a horse", "hat", "no_negation"),
    ("a shirtless man rides a horse", "a shirtless man rides a horse", "hat", "no_negation"),
    ("a bus with no. 5 on it", "a bus with no. 5 and a driver on it", "driver", "no_negation"),
    ("a man rides", "a man rides past a do not enter sign", "hat", "no_negation"),
    ("a man rides a horse", "a man without a saddle rides a horse", "hat", "object_not_in_scope"),
    ("a man rides a horse", "a barefoot man rides a horse", "hat", "object_not_in_scope"),
    ("a bench in a park", "a bench in a park, but not a swing", "person", "object_not_in_scope"),
    ("a bench in a park", "a leafless bench in a park", "person", "object_not_in_scope"),
    ("a man rides a horse", "a man in a hat, without a saddle, rides a horse", "hat", "object_asserted"),
    ("a man rides a horse", "a man with no saddle and a hat rides a horse", "hat", "object_asserted"),
    ("a man rides a horse", "a man without a hat rides a horse next to a hat", "hat", "object_asserted"),
    ("a man rides a horse", "not a dog but a hat on a man who rides a horse", "hat", "object_asserted"),
    ("a room", "a room empty except for a chair", "chair", "object_asserted"),
    ("a man rides a horse", "a man without a hat or a horse rides", "hat", "denies_caption_object"),
    ("a man and a dog on grass", "a man and no dog on grass, without a cat", "cat", "denies_caption_object"),
    ("a man rides a horse", "a man without a hat or a scarf rides a horse", "hat", "other_object_denied"),
    ("a man rides a horse", "a man without a hat rides a horse, but no saddle", "hat", "other_object_denied"),
    ("a man rides a brown horse", "a man without a hat rides a horse", "hat", "content_dropped"),
    ("a man rides a brown horse", "a man without a hat", "hat", "content_dropped"),
    ("sauce in the can", "sauce in the can with no lid", "lid", None),
    ("four men eat", "men eat without a hat", "hat", "content_dropped"),
    ("two men ride a horse", "men ride a horse without a hat", "hat", "content_dropped"),
    ("a herd of sheep on a hill", "a of sheep on a hill with no dog", "dog", "content_dropped"),
    ("a woman holding a cup", "a woman without a cup holding", "hat", "object_not_in_scope"),
    ("a man rides a horse", "a man without a hat rides a horse on a beach", "hat", "new_object_asserted"),
    ("a man rides a horse", "a man and a dog, without a hat, ride a horse", "hat", "new_object_asserted"),
    ("a man rides a horse", "a man rides a horse with no hat next to a fence", "hat", "new_object_asserted"),
    ("a man rides a horse", "a man rides a horse with no hat and a zebra", "hat", "new_object_asserted"),
    ("a man rides a horse", "", "hat", "empty"),
    ("a man rides a horse", " ... ", "hat", "empty"),
    ("a man rides a horse", "Sure, here is the caption: a man without a hat rides a horse", "hat", "not_a_caption"),
    ("a man rides a horse", "Here is a caption: a man without a hat rides a horse", "hat", "not_a_caption"),
    ("a man rides a horse", '"a man without a hat rides a horse"', "hat", "not_a_caption"),
    ("a man rides a horse", "a man without a hat\nrides a horse", "hat", "not_a_caption"),
    ("a man rides a horse", "- a man without a hat rides a horse", "hat", "not_a_caption"),
    ("a man rides a horse", "Caption: a man without a hat rides a horse", "hat", "not_a_caption"),
    ("a man rides a horse", "I'm sorry, I cannot add a hat", "hat", "not_a_caption"),
    ("a man rides a horse", '{"caption": "a man without a hat rides a horse"}', "hat", "not_a_caption"),
    ("a man rides a horse", "a man without a hat rides a horse (Note: the hat is absent)", "hat", "not_a_caption"),
    ("a man rides a horse", "a man\x00 without a hat rides a horse", "hat", "not_a_caption"),
    (
        "a man rides a horse",
        "a man without a hat rides a horse" + " and rides" * 30,
        "hat",
        "too_long",
    ),
    ("a man rides a horse", "a man without a hat rides a horse", "  ", "bad_object"),
    ("two dogs on a couch", "two dogs on a couch with neither a cat nor cats", "cat", None),
]

# Pairs whose negation takes back what the caption states (no object given).
FORM_CASES: list[tuple[str, str, str | None]] = [
    ("a man in a red helmet on a moped", "a man without a red helmet on a moped", None),
    ("a man holding a bat in a field", "a man without a bat in a field", None),
    ("a man holding a bat in a field", "a man not holding a bat in a field", None),
    ("a man holding a bat in a field", "a man not a bat in a field", "content_dropped"),
    ("a puppy on a rope beside a bike", "a puppy on a rope but the bike is missing", None),
    ("a puppy on a rope beside a bike", "a puppy on a rope beside a bike that does not exist", None),
    ("a bowl filled with apples", "a bowl without apples", None),
    ("a busy street at night", "a street that is not busy at night", None),
    ("a man looks into an empty fridge", "a man looks into a fridge that is not empty", None),
    ("a snowy hill with two skiers", "a hill without snow with two skiers", None),
    ("a burrito with rice, beans, and corn", "a burrito without any rice", None),
    ("a man holding a bat in a field", "a man holding a bat in a field", "no_negation"),
    ("a man holding a bat in a field", "a man without a bat in a", "content_dropped"),
    ("a man in a field holding a bat", "a man without a bat", "content_dropped"),
    ("a young man holding a bat in a field", "a man without a bat in a field", "content_dropped"),
    ("a cat asleep on a bed", "a cat asleep on a bed with no blanket", "object_not_in_scope"),
    ("a man holding a bat in a field", "a man without a bat in a field next to a zebra", "new_object_asserted"),
    ("a zebra in the snow", "a zebra without snow and a giraffe", "new_object_asserted"),
]

# (caption, negated caption, object, other captions of the image, expected reason)
OTHER_CAPTIONS: list[tuple[str, str, str, list[str], str | None]] = [
    ("a man on a bench", "a man on a bench without a dog", "dog", ["a man and his puppy"], "denies_caption_object"),
    ("a man on a bench", "a man on a bench without a dog", "dog", ["a man with no dog"], None),
    ("a man on a bench", "a man on a bench in a park without a dog", "dog", ["a man in a park"], None),
    ("a man on a bench", "a man on a bench in a park without a dog", "dog", [], "new_object_asserted"),
    ("a wooden bench", "an empty wooden bench", "person", ["a woman rests"], "denies_caption_object"),
    ("a man eats", "a man eats without a hat or a fork", "hat", ["a man with a fork"], "denies_caption_object"),
    ("a cat on a bed", "a cat on a sofa bed with no dog", "dog", ["a cat lies on a couch"], None),
]


@pytest.mark.parametrize(("caption", "negated", "absent_object", "reason"), CASES)
def test_reason(caption: str, negated: str, absent_object: str, reason: str | None) -> None:
    result = check_negated_caption(caption, negated, absent_object)
    assert result.reason == reason, result.detail
    assert result.accepted is (reason is None)


@pytest.mark.parametrize(("caption", "negated", "reason"), FORM_CASES)
def test_form_only(caption: str, negated: str, reason: str | None) -> None:
    result = check_negated_caption(caption, negated, None)
    assert result.reason == reason, result.detail


@pytest.mark.parametrize(("caption", "negated", "absent_object", "others", "reason"), OTHER_CAPTIONS)
def test_other_captions(caption: str, negated: str, absent_object: str, others: list[str], reason: str | None) -> None:
    result = check_negated_caption(caption, negated, absent_object, others)
    assert result.reason == reason, result.detail


def test_every_reason_has_a_case() -> None:
    seen = {reason for *_, reason in CASES} | {reason for *_, reason in OTHER_CAPTIONS}
    assert set(REASONS) <= seen


@pytest.mark.parametrize(
    ("negated", "form", "position", "cue"),
    [
        ("No hat is on the man who rides a horse", "no", "early", "no"),
        ("a man not wearing a hat rides a horse", "not", "early", "not"),
        ("a man rides a horse without a hat", "without", "middle", "without"),
        ("a man rides a horse, and his hat is missing", "lexical", "late", "missing"),
        ("a hatless man rides a horse", "lexical", "early", "hatless"),
        ("a man who is never in a hat rides a horse", "never", "middle", "never"),
    ],
)
def test_reports_the_covering_negation(negated: str, form: str, position: str, cue: str) -> None:
    result = check_negated_caption("a man rides a horse", negated, "hat")
    assert (result.accepted, result.form, result.position, result.cue) == (True, form, position, cue), result


def test_thresholds_are_options() -> None:
    caption, negated = "a brown horse on grass", "a horse on grass without a rider"
    assert check_negated_caption(caption, negated, "rider").reason == "content_dropped"
    assert check_negated_caption(caption, negated, "rider", options=CheckOptions(max_dropped_words=1)).accepted
    negated = "a brown horse on grass by a barn without a rider"
    assert check_negated_caption(caption, negated, "rider").reason == "new_object_asserted"
    assert check_negated_caption(caption, negated, "rider", options=CheckOptions(max_new_nouns=1)).accepted
    negated = "a brown horse on grass without a rider or a saddle"
    assert check_negated_caption(caption, negated, "rider").reason == "other_object_denied"
    assert check_negated_caption(caption, negated, "rider", options=CheckOptions(max_extra_denied=1)).accepted
    negated = "a brown horse on grass without a rider"
    assert check_negated_caption(caption, negated, "rider", options=CheckOptions(max_words=7)).reason == "too_long"
    assert (
        check_negated_caption(caption, negated, "rider", options=CheckOptions(max_added_words=2)).reason == "too_long"
    )


def test_stated_object_needs_the_option() -> None:
    caption, negated = "a man in a red helmet", "a man without a red helmet"
    assert check_negated_caption(caption, negated, "helmet").reason == "denies_caption_object"
    takes_back = CheckOptions(caption_may_state_object=True)
    assert check_negated_caption(caption, negated, "helmet", options=takes_back).accepted
    assert check_negated_caption(caption, negated, "scarf", options=takes_back).reason == "object_not_in_scope"


def test_negative_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="max_words is -1"):
        CheckOptions(max_words=-1)


_WORDS = st.sampled_from(
    sorted(
        word_set(
            "a the man no not without n't never missing absent empty of , . but and or with that is hat hats leafless un - '",
            '" nor neither nothing only pair some any 5 sign parking \u2019s \u00e9t\u00e9 \U0001f600 \u4e2d\u6587',
        )
    )
)
_TEXTS = st.one_of(st.text(max_size=80), st.lists(_WORDS, max_size=25).map(" ".join))


@settings(max_examples=400, deadline=None)
@given(_TEXTS, _TEXTS, st.one_of(st.none(), st.text(max_size=12), _WORDS), st.lists(_TEXTS, max_size=2))
def test_never_raises(caption: str, negated: str, absent_object: str | None, others: list[str]) -> None:
    result = check_negated_caption(caption, negated, absent_object, others)
    assert result.accepted is (result.reason is None)
    assert result.reason is None or result.reason in REASONS


@settings(max_examples=200, deadline=None)
@given(_TEXTS)
def test_unchanged_caption_is_never_accepted(caption: str) -> None:
    assert not check_negated_caption(caption, caption, "hat").accepted
    assert not check_negated_caption(caption, caption, None).accepted
