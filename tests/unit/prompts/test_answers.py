"""What models say when they do not answer, and captions that only look like it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from negscale.prompts.answers import parse_caption, parse_object, parse_yes_no
from negscale.prompts.negationclip import NEGATE, NEGATE_EXAMPLES, negate_prompt

CAPTION = "A dog riding a skateboard in the park."

NO_CAPTIONS = [
    "",
    "\ufffd\ufffd {{[[",
    "I’m sorry, but I can’t help with that.",
    "I cannot add the absence of an object to this caption.",
    "Sorry, a dog in the park with no ball",
    "As an AI language model, I have no eyes.",
    "Unfortunately there is no ball.",
    '```json\n{"caption": "A dog with no ball"}\n```',
    '```{"caption": "A dog with no ball"}```',
    '{"caption": "A dog with no ball"}',
    "{'caption': 'A dog with no ball'}",
    '["A dog with no ball"]',
    "<caption>A dog with no ball</caption>",
    "A dog with no ball<|eot_id|>",
    "A dog with no ball, no ball, no ball, no ball, no ball",
    "A dog in the park with no ball in the park with no ball in the park with no ball",
    "A dog no no no no no no no",
    "A dog with no baaaaaaaaaaall",
    "A dog riding a skateboard in the park without",
    "A dog riding a skateboard in the park, with no ball and a",
    "A dog riding a skateboard in the park,",
    "公园里一只狗没有球。",
    "A dog riding a skateboard in the park 没有球.",
    "Собака в парке без мяча",
    "كلب في الحديقة بدون كرة",
    negate_prompt(CAPTION, "ball"),
    "Add the absence of the ball to a dog riding a skateboard.",
    "<think>The user wants a caption with no ball. I should",
    "A dog with no ball.\nThis caption states the absence of the ball.",
    "1. A dog with no ball\n2. A dog without a ball",
    "no ball " * 200,
]


@pytest.mark.parametrize("answer", NO_CAPTIONS)
def test_what_is_no_caption(answer: str) -> None:
    assert parse_caption(answer, CAPTION, NEGATE) is None


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("A dog riding a skateboard with no ball in the park.", "A dog riding a skateboard with no ball in the park."),
        ("“A dog with no ball”", "A dog with no ball"),
        ("Sure! Here is the caption: A dog with no ball", "A dog with no ball"),
        ("<think>\nno ball, then\n</think>\n\nA dog with no ball", "A dog with no ball"),
        (
            "Ein Hund läuft über die Straße ohne Ball — naïve café",
            "Ein Hund läuft über die Straße ohne Ball — naïve café",
        ),
        ("A sign that reads 'no, no, no' and no dog", "A sign that reads 'no, no, no' and no dog"),
        ("There is no dog, no cat and no bird in the park", "There is no dog, no cat and no bird in the park"),
        ("A dog that has no ball to play with.", "A dog that has no ball to play with."),
        ("A man, unable to swim, with no boat", "A man, unable to swim, with no boat"),
    ],
)
def test_what_is_a_caption(answer: str, caption: str) -> None:
    assert parse_caption(answer, CAPTION, NEGATE) == caption


def test_an_oddity_of_the_caption_is_no_fault_of_the_answer() -> None:
    for caption in (
        "something I cannot quite make out",
        "a sign that says 猫",
        "a [blurred] plate",
        "a red hydrant on a sidewalk,",
    ):
        assert parse_caption(f"no dog, {caption}", caption) == f"no dog, {caption}"
    assert parse_caption("no dog, something I cannot quite make out", "a dog") is None
    assert parse_caption("no dog beside a sign that says 猫", "a sign") is None


def test_the_examples_of_the_prompt_are_captions() -> None:
    for caption, _, negated in NEGATE_EXAMPLES:
        assert parse_caption(negated, caption, NEGATE) == negated


@pytest.mark.parametrize(
    "answer",
    [
        "", "Sorry", "I’m sorry", "I cannot say", "None.", "no object", "Nothing", "帽子", "шляпа", "hat hat hat",
        "```json\nhat\n```", "{hat}", "A hat, a coat", "Object", "Not mentioned", "<think>hat", "A hat or something else",
            "The picture shows a",             "There is no", "a glass of", "It is a", "maybe a hat",
    ],
)  # fmt: skip
def test_what_is_no_object(answer: str) -> None:
    assert parse_object(answer) is None


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("Umbrella.", "umbrella"), ("a hot dog", "hot dog"), ("**Fire hydrant**", "fire hydrant"), ("jalapeño", "jalapeño"),
        ("yo yo", "yo yo"),
        ("A glass of water", "glass of water"), ("post-it note", "post-it note"), ("soda can", "soda can"),
        ("<think>a park has trees</think>Tree", "tree"), ("picture frame", "picture frame"),
    ],
)  # fmt: skip
def test_what_is_an_object(answer: str, name: str) -> None:
    assert parse_object(answer) == name


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", True), ("'Yes.'", True), ("**No**", False), ("No.", False), ("no, there is not", False), ("No there isn't", False),
        ("Yes, there is a cat in this image.", True), ("No, I don't see a cat.", False), ("<think>hm</think>no", False),
        ("No\n", False), ("", None), ("maybe", None), ("yes and no", None), ("Yes. No.", None), ("I see no eyes", None),
        ("no way", None), ("No, I'm sorry, I can’t help with that.", None), ("No puedo ver la imagen", None),
        ("No image was provided", None), ("No, I cannot see the image", None), ("not at all", None), ("```\nno\n```", None),
        ('["no"]', None), ('{"answer": "no"}', None), ("Is there a cat in this image? Answer only with 'yes' or 'no'.", None),
        ("没有", None),
    ],
)  # fmt: skip
def test_yes_and_no(answer: str, said: bool | None) -> None:
    assert parse_yes_no(answer) is said


def test_cut_off_long_loops_are_found_quickly() -> None:
    assert parse_caption("a b c d e f g h i j k l m n o p " * 60, CAPTION) is None
    assert parse_caption("ab " * 330, CAPTION) is None


@pytest.mark.real_data
def test_no_good_caption_is_lost(shared_data: Path) -> None:
    pairs: dict[str, str] = json.loads((shared_data / "text/negation_steering_train_data.json").read_text())
    assert len(pairs) == 3979
    assert [p for p, n in pairs.items() if parse_caption(n, p, NEGATE) is None] == []
    captions = [row["caption"] for row in csv.DictReader((shared_data / "flickr8k/captions.csv").open())]
    assert [c for c in captions if parse_caption(c, c, NEGATE) is None] == []
