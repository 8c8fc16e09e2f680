from __future__ import annotations

import re

import pytest

from negscale.core.rng import rng_for
from negscale.language.nouns import mentions
from negscale.language.polarity import polarity
from negscale.training.hard_negatives import asserted_absent, denied_present, swap_object
from negscale.training.made_statements import FORMS
from negscale.training.objectives import made_text

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


def test_statements_are_true_and_false_in_the_same_words() -> None:
    absent = ["hat", "car", "umbrella"]
    row = {**ROW, "id": "r", "negative_objects": absent}
    objects = [*ROW["positive_objects"], *absent]

    def claims(text: str) -> dict[str, str]:
        return {name: said for name in objects if (said := polarity(text, name)) is not None}

    def words(text: str) -> list[str]:
        return sorted(word for word in re.findall(r"\w+", text.lower()) if word not in {"a", "an", "no", *objects})

    frames = set()
    for epoch in range(40):
        for form in FORMS:
            true, false = (made_text(f"{truth}_{form}", row, 0, epoch) for truth in ("true", "false"))
            assert true and false  # noqa: PT018
            for text, here in ((true, ROW["positive_objects"]), (false, absent)):
                said = claims(text)
                kinds = {"affirmed": ["affirmed"], "denied": ["denied"], "both": ["affirmed", "denied"]}[form]
                assert sorted(said.values()) == kinds, text
                assert all((name in here) == (what == "affirmed") for name, what in said.items()), text
            assert words(true) == words(false)
            frames.add(re.sub("|".join(objects), "X", true))
        beside = made_text("false_beside", row, 0, epoch)
        assert beside
        said = claims(beside)
        assert sorted(said.values()) == ["affirmed", "denied"]
        assert set(said) <= {*ROW["positive_objects"]}, "both are there"
    assert len(frames) > 30, "drawn anew each epoch"
    alone = {**row, "positive_objects": ROW["positive_objects"][:1]}
    assert made_text("false_beside", alone, 0, 0) is None
    assert made_text("false_both", alone, 0, 0)
    assert made_text("true_both", {"id": "r", "caption": "so nice"}, 0, 0) is None
