from __future__ import annotations

import json
from pathlib import Path

import pytest

from negscale.language.questions import KINDS, QuestionError, kind_of, parse_question
from negscale.language.visibility import invisible_reason


@pytest.mark.parametrize(
    ("question", "subject", "predicate", "tail", "kind", "denied"),
    [
        ("Is the man wearing a hat?", "the man", "wearing a hat", "", "attribute", ("hat",)),
        ("Is the man in the blue shirt holding a cup?", "the man in the blue shirt", "holding a cup", "", "action",
         ("holding", "cup")),
        ("Is the cat on the table sleeping?", "the cat on the table", "sleeping", "", "action", ("sleeping",)),
        ("Is the cat on the table?", "the cat", "on the table", "", "attribute", ("table",)),
        ("Is the bench next to the tree?", "the bench", "next to the tree", "", "attribute", ("next", "tree")),
        ("Is the black and white cat sleeping?", "the black and white cat", "sleeping", "", "action", ("sleeping",)),
        ("Is this person's hair long?", "the person's hair", "long", "", "attribute", ("long",)),
        ("Is this a kitchen?", "this", "a kitchen", "", "attribute", ("kitchen",)),
        ("Does the cat have stripes?", "the cat", "have stripes", "", "attribute", ("stripes",)),
        ("Does the fire truck have a ladder?", "the fire truck", "have a ladder", "", "attribute", ("ladder",)),
        ("Does the dog stand next to the tree?", "the dog", "stand next to the tree", "", "action", ("stand", "tree")),
        ("Are these people skiing?", "the people", "skiing", "", "action", ("skiing",)),
        ("Is anyone sitting on the bench?", "anyone", "sitting on the bench", "", "action", ("sitting", "bench")),
        ("Has the pizza been cut?", "the pizza", "been cut", "", "attribute", ("cut",)),
        ("Are there any people in the boat?", "", "people", "in the boat", "object", ("people", "boat")),
        ("Is there a remote in the image?", "", "remote", "", "object", ("remote",)),
        ("Is the remote black?", "the remote", "black", "", "attribute", ("black",)),
        ("Is there a dog in the picture?", "", "dog", "", "object", ("dog",)),
        ("Are there chairs around the table?", "", "chairs", "around the table", "object", ("chairs", "around", "table")),
        ("Is there a red car parked on the street?", "", "red car", "parked on the street", "object",
         ("red", "car", "parked", "street")),
    ],
)  # fmt: skip
def test_parts_of_questions(
    question: str, subject: str, predicate: str, tail: str, kind: str, denied: tuple[str, ...]
) -> None:
    found = parse_question(question)
    assert (found.subject, found.predicate, found.tail) == (subject, predicate, tail)
    assert (found.kind, found.denied) == (kind, denied)
    assert kind_of(question) == kind


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Are all the people wearing hats?", "question_quantified"),
        ("Is there more than one dog?", "question_quantified"),
        ("Are there two dogs?", "question_counts"),
        ("Isn't the man smiling?", "question_negated"),
        ("Is the man without a hat?", "question_negated"),
        ("Is the cat black or white?", "question_choice"),
        ("Is the man smiling and waving?", "question_conjoined"),
        ("Is the man who holds a cup smiling?", "question_complex"),
        ("What is on the table?", "question_not_parsed"),
        ("Is the man?", "question_not_parsed"),
        ("Is?", "question_not_parsed"),
        ("?", "question_not_parsed"),
        ("Is there any?", "question_not_parsed"),
        ("Is there a picture?", "question_not_parsed"),
    ],
)
def test_what_no_does_not_deny_is_refused_with_a_kind(question: str, kind: str) -> None:
    with pytest.raises(QuestionError) as caught:
        parse_question(question)
    assert caught.value.kind == kind
    assert kind_of(question) in KINDS


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What color is the cat?", "not_yes_no"),
        ("Can you see the dog?", "addresses_viewer"),
        ("Would you eat this?", "addresses_viewer"),
        ("Could the man fall?", "modal"),
        ("Why is he sad?", "not_yes_no"),
        ("Is this a black and white photo?", "image_quality"),
        ("Is the picture blurry?", "image_quality"),
        ("Was this taken indoors?", "image_quality"),
        ("Did the man catch the ball?", "past_or_future"),
        ("Is the bird about to fly?", "past_or_future"),
        ("Does the sign say stop?", "text_reading"),
        ("Is the woman enjoying her meal?", "mental_state"),
        ("Is the cake delicious?", "opinion"),
        ("Is this place in America?", "knowledge"),
        ("Is someone taking the photo?", "outside_picture"),
        ("Is the man wearing a hat?", None),
        ("Are there vegetables on the plate?", None),
        ("Is the hot dog on a plate?", None),
        ("Is the man reading a book?", None),
        ("Is it raining?", None),
    ],
)
def test_questions_that_no_picture_answers(question: str, reason: str | None) -> None:
    assert invisible_reason(question) == reason


@pytest.mark.real_data
def test_published_questions_are_understood(shared_data: Path) -> None:
    items = json.loads((shared_data / "text/spacevlm_t2i_prompts_with_questions.json").read_text())
    kinds = dict.fromkeys(KINDS, 0)
    refused = []
    for question in (item["Question2"] for item in items):
        try:
            kinds[parse_question(question).kind] += 1
        except QuestionError as error:
            refused.append((question, error.kind))
        assert invisible_reason(question) is None, question
    assert not refused
    assert min(kinds.values()) > 5, kinds
