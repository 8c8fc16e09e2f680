"""Every template's denial, as released and as we write it, gets its own affirmation."""

from __future__ import annotations

import pytest

from negscale.core.stage import Resources
from negscale.language.instructions import fill, released
from negscale.language.polarity import polarity
from negscale.prompts.nein import TEMPLATES
from negscale.stages.edit_controls import AffirmDenials, affirmation


@pytest.mark.parametrize("noun", ["dog", "hourglass", "wine glass", "scissors", "broccoli", "unicorn"])
def test_each_template_is_known_in_both_spellings(noun: str) -> None:
    for template in TEMPLATES:
        wanted = fill(template.affirmative, noun)
        assert affirmation(released(template.released, noun), noun) == wanted
        assert affirmation(fill(template.negative, noun), noun) == wanted
        assert polarity(wanted, noun) == "affirmed"


def test_other_sentences_have_none() -> None:
    rows = [
        {"id": "a", "negative_instruction": "No dog in the image.", "absent_object": "dog"},
        {"id": "b", "negative_instruction": "No dog in the image.", "absent_object": "cat"},
        {"id": "c", "negative_instruction": "Take the dog away.", "absent_object": "dog"},
    ]
    found = AffirmDenials(Resources()).process(rows)
    assert [outcome["affirmative_instruction"] for outcome in found] == ["There is a dog in the image.", None, None]  # type: ignore[index]
