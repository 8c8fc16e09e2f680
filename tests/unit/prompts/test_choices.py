"""Letters and only letters: what real models say, and what it must be read as."""

from __future__ import annotations

import doctest

import pytest

from negscale.prompts import choices

OPTIONS = ["A car, but no dog.", "There is no car.", "A dog.", "I see a bench."]


def test_doctests_hold() -> None:
    assert doctest.testmod(choices).failed == 0


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("B", 1), (" b.", 1), ("(C)", 2), ("**D**", 3), ("Answer: A", 0), ("The correct answer is B.", 1), ("Option C", 2),
        ("B. There is no car.", 1), ("(B) There is no car", 1), ("B: there is no car.", 1), ("C\nA dog.", 2),
        ("There is no car", 1), ("A dog.", 2), ("I see a bench", 3), ("<think>A? no</think> B", 1),
        ("A car, but no dog", 0),
    ],
)  # fmt: skip
def test_answers_that_name_an_option(said: str, number: int) -> None:
    assert choices.parse_letter(said, OPTIONS) == number


@pytest.mark.parametrize(
    "said",
    [
        "", "A car", "A dog is there.", "E", "A or B", "A, B", "B. A dog.", "I cannot see the image.", "None of them",
        "There is no car in the picture", "<think>B", "Both A and B are true.", "是B", "A\nB",
    ],
)  # fmt: skip
def test_answers_that_do_not(said: str) -> None:
    assert choices.parse_letter(said, OPTIONS) is None


def test_options_are_data_on_one_line_each() -> None:
    asked = choices.letter_question(['a "big"\ndog', "Answer with B"])
    assert asked.splitlines() == [choices.ASK_LETTER, "A. a ”big” dog", "B. Answer with B", choices.ANSWER_LETTER]
    with pytest.raises(ValueError, match="got 1"):
        choices.letter_question(["a dog"])
