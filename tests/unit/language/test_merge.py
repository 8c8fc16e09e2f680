"""The merger: golden captions, what it must and must not write, and that its own check accepts it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from negscale.language.attach import tidy
from negscale.language.merge import CannotMerge, Merged, merge_no, same_kind
from negscale.language.merge_check import check_merged_caption
from negscale.language.questions import QuestionError
from tests.toy_truth import words_in_order

GOLDEN = Path(__file__).parents[2] / "golden" / "merge.txt"
PAIRS = [
    tuple(part.strip() for part in line.split("|"))
    for line in GOLDEN.read_text().splitlines()
    if line and line[0] not in ">#"
]


def texts(question: str, caption: str, count: int = 80, **more: object) -> dict[str, Merged]:
    found = [merge_no(question, caption, np.random.default_rng(seed), **more) for seed in range(count)]  # pyright: ignore
    return {item.text: item for item in found}


def test_golden_captions() -> None:
    lines = [line for line in GOLDEN.read_text().splitlines() if line.startswith("#")]
    for number, (caption, question) in enumerate(PAIRS):
        merged = merge_no(question, caption, np.random.default_rng(number))
        lines += [f"{caption} | {question}", f"> {merged.form}, {merged.position}: {merged.text}"]
    if os.environ.get("NEGSCALE_WRITE_GOLDEN"):
        GOLDEN.write_text("\n".join(lines) + "\n")
    assert GOLDEN.read_text().splitlines() == lines


def test_the_task_s_own_examples() -> None:
    riding = texts("Is the man wearing a hat?", "A man riding a horse in a field.")
    assert "A man not wearing a hat riding a horse in a field." in riding
    assert "A man riding a horse in a field, and the man is not wearing a hat." in riding
    assert {item.form for item in riding.values()} == {"no", "not", "without"}
    boat = texts("Are there any people in the boat?", "A small boat on the water")
    assert "A small boat on the water, with no people in the boat" in boat
    assert "A small boat on the water, and there aren't any people in the boat" in boat
    assert any("without stripes" in text for text in texts("Does the cat have stripes?", "A cat sleeps on a couch"))


def test_a_subject_that_is_described_otherwise_is_not_the_caption_s() -> None:
    for text in texts("Is the man in the blue shirt wearing a hat?", "A man riding a horse"):
        assert "man in the blue shirt" in text
    for text in texts("Is the man wearing a hat?", "Two men riding horses"):
        assert text.startswith(("Two men riding horses", "The man"))


@pytest.mark.parametrize(("caption", "question"), PAIRS)
def test_every_wording_keeps_the_caption_and_passes_the_check(caption: str, question: str) -> None:
    for text in texts(question, caption):
        assert words_in_order(tidy(caption)[0], text), text
        result = check_merged_caption(caption, text, question, [caption])
        assert result.accepted, f"{result.reason} {result.detail}: {text}"


def test_forms_can_be_chosen() -> None:
    for form in ("no", "not", "without"):
        found = texts("Does the cat have stripes?", "A cat sleeps on a couch", forms=[form])
        assert {item.form for item in found.values()} == {form}
    with pytest.raises(CannotMerge) as caught:
        merge_no("Is the dog black?", "A dog in a park", np.random.default_rng(0), forms=["without"])
    assert caught.value.kind == "no_such_form"
    with pytest.raises(ValueError, match="never"):
        merge_no("Is the dog black?", "A dog in a park", np.random.default_rng(0), forms=["never"])


@pytest.mark.parametrize(
    ("question", "caption", "kind"),
    [
        ("Is he wearing a hat?", "A dog in a park", "no_referent"),
        ("Is it black?", "A dog in a park", "no_referent"),
        ("Are all the dogs black?", "Two dogs", "question_quantified"),
        ("Is the dog black?", "...", "caption_not_parsed"),
    ],
)
def test_refusals(question: str, caption: str, kind: str) -> None:
    with pytest.raises(CannotMerge) as caught:
        merge_no(question, caption, np.random.default_rng(0))
    assert caught.value.kind == kind


def test_same_kind() -> None:
    assert same_kind("man", "person")
    assert same_kind("people", "woman")
    assert same_kind("couch", "sofa")
    assert not same_kind("man", "woman")
    assert not same_kind("dog", "cat")


@pytest.mark.real_data
def test_real_captions_take_predicates(shared_data: Path) -> None:
    """Denials of what no caption says: nearly all must pass; what is refused is the check's caution, not a crash."""
    notes = json.loads((shared_data / "coco/annotations/captions_val2017.json").read_text())["annotations"][::7]
    asked = ["Is the {} foggy?", "Does the {} have stickers?", "Is the {} swimming?", "Is the {} next to a statue?"]
    accepted = total = 0
    for number, note in enumerate(notes):
        caption, question = note["caption"].strip(), asked[number % 4].format("cat")
        try:
            merged = merge_no(question, caption, np.random.default_rng(number))
        except (CannotMerge, QuestionError) as error:
            pytest.fail(f"{error}")
        total += 1
        accepted += check_merged_caption(caption, merged.text, question, [caption, "a cat"]).accepted
    assert total > 100
    assert accepted / total > 0.97, accepted / total
