"""The check of merged captions, on captions that are right and on what language models get wrong."""

from __future__ import annotations

import pytest

from negscale.language.merge_check import REASONS, MergeCheckOptions, check_merged_caption

RIDER = "A man riding a horse in a field."
HAT = "Is the man wearing a hat?"


@pytest.mark.parametrize(
    ("caption", "question", "merged", "form"),
    [
        (RIDER, HAT, "A man not wearing a hat riding a horse in a field.", "not"),
        (RIDER, HAT, "A man without a hat rides a horse in a field", "without"),
        (RIDER, HAT, "A man with no hat on is riding a horse in a field.", "no"),
        ("a small boat tied to a dock", "Are there any people in the boat?",
         "a small boat tied to a dock, with nobody in the boat", "none"),
        ("A bus drives down a street.", "Is the bus red?", "A bus that is not red drives down a street.", "not"),
        ("a man standing next to a horse", "Is the man riding the horse?",
         "a man standing next to a horse but not riding the horse", "not"),
        ("Dogs on a beach", "Are both dogs running?", "Dogs on a beach, and the dogs are not both running", "not"),
    ],
)  # fmt: skip
def test_right_captions_pass(caption: str, question: str, merged: str, form: str) -> None:
    result = check_merged_caption(caption, merged, question, [caption])
    assert result.accepted, f"{result.reason}: {result.detail}"
    assert result.form == form
    assert result.position in ("early", "middle", "late")


@pytest.mark.parametrize(
    ("merged", "reason"),
    [
        ("", "empty"),
        ("Sure! A man not wearing a hat riding a horse in a field.", "not_a_caption"),
        ("A man not wearing a hat\nriding a horse in a field.", "not_a_caption"),
        ("A man not wearing a hat " + "very " * 40 + "happily riding a horse in a field.", "too_long"),
        (RIDER, "no_negation"),
        ("A man wearing a hat riding a horse in a field.", "no_negation"),
        ("A man riding a horse in a field with no dog.", "question_not_in_scope"),
        ("A man not riding a horse in a field, wearing a hat.", "question_not_in_scope"),
        ("A man with a hat not wearing a hat riding a horse in a field.", "denied_content_asserted"),
        ("A man not wearing a hat or a coat riding a horse in a field.", "other_content_denied"),
        ("A man not wearing a hat riding a horse in a field with no dog.", "other_content_denied"),
        ("A man with no hat or horse riding in a field.", "other_content_denied"),
        ("A man not wearing a hat riding a horse.", "content_dropped"),
        ("A man not wearing a hat riding a horse in a field near a barn.", "new_content_asserted"),
        ("A man not wearing a hat riding a brown horse in a field.", "new_content_asserted"),
        ("A man not wearing a hat riding two horses in a field.", "new_content_asserted"),
    ],
)
def test_what_models_get_wrong(merged: str, reason: str) -> None:
    assert reason in REASONS
    result = check_merged_caption(RIDER, merged, HAT, [RIDER])
    assert result.reason == reason, result.detail


def test_captions_of_the_image_overrule_the_annotators() -> None:
    merged = "A man not wearing a hat riding a horse in a field."
    said = [RIDER, "A cowboy in a white hat on horseback", "a man in a hat on a horse"]
    assert check_merged_caption(RIDER, merged, HAT, said).reason == "denies_caption_content"
    # a hat that is not on the man affirms nothing
    assert check_merged_caption(RIDER, merged, HAT, [RIDER, "A hat lies beside a road"]).accepted
    dogs = check_merged_caption("A bench", "A bench, with no dog in sight", "Is there a dog?", ["A puppy on a bench"])
    assert dogs.reason == "denies_caption_content"


def test_not_holding_a_thing_is_one_way_to_say_that_there_is_none() -> None:
    merged = "A man not holding a cup riding a horse in a field."
    assert check_merged_caption(RIDER, merged, "Is there a cup in the picture?", [RIDER]).accepted
    wearing = check_merged_caption(RIDER, "A man not holding a hat riding a horse in a field.", HAT, [RIDER])
    assert wearing.reason == "other_content_denied"


def test_order_matters_in_relations() -> None:
    caption = "The clock is to the right of the cat."
    merged = "The clock is to the right of the cat, and the cat is not to the right of the clock."
    assert check_merged_caption(caption, merged, "Is the cat to the right of the clock?", [caption]).accepted
    wrong = "The clock is to the right of the cat, and the clock is not to the right of the cat."
    result = check_merged_caption(caption, wrong, "Is the clock to the right of the cat?", [caption])
    assert result.reason == "denies_caption_content"


def test_a_subject_that_no_caption_names() -> None:
    merged = "A horse in a field, and the man is not wearing a hat."
    assert check_merged_caption("A horse in a field.", merged, HAT, []).reason == "subject_not_in_captions"
    assert check_merged_caption("A horse in a field.", merged, HAT, ["a person on a horse"]).accepted
    loose = MergeCheckOptions(subject_must_be_captioned=False)
    assert check_merged_caption("A horse in a field.", merged, HAT, [], options=loose).accepted
    nameless = "A horse in a field, and not wearing a hat."
    assert check_merged_caption("A horse in a field.", nameless, HAT, ["a man"]).reason == "subject_missing"


def test_bad_options_are_named() -> None:
    with pytest.raises(ValueError, match="max_words"):
        MergeCheckOptions(max_words=-1)
