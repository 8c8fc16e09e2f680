"""Names of objects in NeIn's sentences: a golden file of every template, and the way back from "Add a ..."."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from negscale.language.instructions import fill, object_added, released, released_article
from negscale.language.nouns import COCO_80
from negscale.prompts.nein import ADD, TEMPLATES, TWO_OBJECTS

GOLDEN = Path(__file__).parents[2] / "golden" / "nein.txt"
NAMES = (
    "dog", "hourglass", "unicorn", "umbrella", "scissors", "broccoli", "skis", "person", "wine glass", "tv", "hair drier",
    "ice cream", "sunglasses", "traffic light",
)  # fmt: skip


def test_golden_file() -> None:
    """Set NEGSCALE_UPDATE_GOLDEN=1 to write the file anew after a wanted change, then read it."""
    lines = ["# name, then for each template: negative / affirmative / as released"]
    for name in NAMES:
        lines += [
            f"{name}: {fill(ADD, name)} / {fill(TWO_OBJECTS, name, 'bench')} / Add {released_article(name)} {name}."
        ]
        lines += [
            f"  {fill(t.negative, name)} / {fill(t.affirmative, name)} / {released(t.released, name)}"
            for t in TEMPLATES
        ]  # fmt: skip
    fresh = "\n".join(lines) + "\n"
    if os.environ.get("NEGSCALE_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(fresh, encoding="utf-8")
    assert fresh == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COCO_80)
def test_the_object_is_read_back_from_the_instruction(name: str) -> None:
    assert object_added(fill(ADD, name)).lower() == name
    assert object_added(f"Add {released_article(name)} {name}.") == name


@pytest.mark.parametrize("name", COCO_80)
def test_no_sentence_has_a_bare_countable_noun_or_a_doubled_word(name: str) -> None:
    for template in TEMPLATES:
        for text in (fill(template.negative, name), fill(template.affirmative, name)):
            words = text.lower().rstrip(".").split()
            assert "{" not in text
            assert text[0].isupper()
            assert all(first != second for first, second in pairwise(words)), text


@pytest.mark.parametrize("text", ["Remove a dog.", "Add dog.", "", "Add the dog."])
def test_other_sentences_add_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="expected 'Add a"):
        object_added(text)


def test_names_with_braces_and_without_words() -> None:
    assert fill("The image lacks {a}.", "{is} sign") == "The image lacks a {is} sign."
    with pytest.raises(ValueError, match="expected a noun"):
        fill(ADD, "  ")
