"""Prompts of NegBench's data (Alhamoud et al., arXiv 2501.09425, sections 3 and D; m1k2zoo/negbench, synthetic_datasets/).

The paper's steps and decoding; the wording and the examples are ours, because the authors' prompts are raw completions
with a stop string, made for one model, while these are chat turns that any chat model reads. Lists are parsed strictly:
an answer with anything but names in it is None, where the authors split whatever came at its commas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from negscale.prompts.negationclip import quoted

MOST_OBJECTS = 20
PROPOSALS = 5  # negatives asked for, as in the paper

EXTRACT_SYSTEM = "You list the visible objects that a caption mentions, separated by commas, and nothing else."
EXTRACT = "List the objects in the caption '{caption}'."
EXTRACT_EXAMPLES = (
    ("A man in a red cap throws a frisbee to his dog on the beach.", "man, cap, frisbee, dog, beach"),
    ("Freshly baked bread next to a knife on a wooden board", "bread, knife, board"),
    ("two children asleep in the back of a car", "child, car"),
    ("View of the old town with its cathedral and the river at dusk", "town, cathedral, river"),
    ("the best day of my life so far", "none"),
)

PROPOSE_SYSTEM = "You list objects, separated by commas, and nothing else."
PROPOSE = (
    "Name five objects that are often seen together with {objects}, but are not mentioned in the caption '{caption}'."
)
PROPOSE_EXAMPLES = (
    ("a man throws a frisbee to his dog", ("man", "frisbee", "dog"), "ball, bench, leash, tree, bicycle"),
    ("a bowl of soup on a table", ("bowl", "soup", "table"), "spoon, glass, napkin, bread, chair"),
)

VALIDATE_SYSTEM = "You answer with Yes or No."
VALIDATE = "Does the following consist of names of objects, with no additional words? {objects}"
VALIDATE_EXAMPLES = (
    ("dog, frisbee, tennis racket", "Yes"),
    ("here are five objects: cup, fork", "No"),
    ("happiness, the, very", "No"),
    ("traffic light", "Yes"),
    ("car, I could not find any other objects", "No"),
)

NEGCAP_SYSTEM = (
    "You rewrite captions so that they also say which object is not in the image. You answer with the caption alone."
)
NEGCAP = {
    "affirmation_first": (
        "Rewrite the caption '{caption}' so that it first says what it says and then that there is no {object}."
    ),
    "negation_first": (
        "Rewrite the caption '{caption}' so that it first says that there is no {object} and then what it says."
    ),
}
NEGCAP_EXAMPLES = {
    "affirmation_first": (
        ("a man rides a horse on the beach", "hat", "A man rides a horse on the beach, but he is not wearing a hat."),
        ("two dogs asleep on a couch", "cat", "Two dogs are asleep on a couch and no cat is with them."),
        (
            "a kitchen with a wooden table",
            "microwave",
            "A kitchen with a wooden table, although a microwave is missing.",
        ),
        ("children playing in the snow", "sled", "Children playing in the snow without a sled."),
    ),
    "negation_first": (
        ("a man rides a horse on the beach", "hat", "Without a hat, a man rides a horse on the beach."),
        ("two dogs asleep on a couch", "cat", "No cat is present, but two dogs are asleep on a couch."),
        ("a kitchen with a wooden table", "microwave", "There is no microwave in this kitchen with a wooden table."),
        ("children playing in the snow", "sled", "With no sled around, children are playing in the snow."),
    ),
}

RETRIEVAL = {  # section D.4: the template that is then rephrased
    "affirmation_first": "{caption}. There is no {object} in the image.",
    "negation_first": "There is no {object} in the image. {caption}.",
}

REPHRASE_SYSTEM = (
    "You say sentences in other, natural words. Keep what is there and what is not there exactly as it is, and the order. "
    "You answer with the sentence alone."
)
REPHRASE = "Say this in other words: '{text}'"
REPHRASE_EXAMPLES = (
    ("This image features a knife, but not a car", "A knife can be seen here, though there is no car."),
    ("This image does not feature a dog", "There is no dog to be seen."),
    ("This image features a bench and a kite", "A bench and a kite are in the picture."),
    (
        "There is no fork in the image. A baker works in a kitchen.",
        "No fork is present, but a baker works in a kitchen.",
    ),
    ("This image features a cup", "You can see a cup in this picture."),
)

_NONE = re.compile(r"^\W*none\W*$", re.I)
_ITEM = re.compile(r"^[^\W\d_][\w'’-]*(?: [\w'’-]+){0,2}$")
_LEAD = re.compile(r"^(?:and\s+)?(?:(?:an?|the|some|any)\s+)?", re.I)


def parse_object_list(answer: str) -> list[str] | None:
    """Names of one to three words, in lower case, each once, in their order; [] for "none"; None for anything else.

    >>> parse_object_list("Man, a red cap, dog and the dog.")
    >>> parse_object_list("man, Cap, the dog, dog."), parse_object_list("none"), parse_object_list("Sure! man, dog")
    (['man', 'cap', 'dog'], [], None)
    """
    text = answer.strip().strip("\"'`").rstrip(". ").strip()
    if _NONE.match(text):
        return []
    if "\n" in text or ":" in text:
        return None
    items = [_LEAD.sub("", item.strip()).strip().lower() for item in text.split(",")]
    if not items or len(items) > MOST_OBJECTS or not all(_ITEM.match(item) for item in items):
        return None
    if any(" and " in item or " or " in item for item in items):
        return None
    return list(dict.fromkeys(items))


def extract_prompt(caption: str) -> str:
    """The user turn that asks for a caption's objects."""
    return EXTRACT.format(caption=quoted(caption))


def propose_prompt(caption: str, objects: Sequence[str]) -> str:
    """The user turn that asks for five related objects; without known objects, for five likely ones."""
    known = ", ".join(quoted(name) for name in objects) or "what the caption describes"
    return PROPOSE.format(objects=known, caption=quoted(caption))


def validate_prompt(objects: Sequence[str]) -> str:
    """The user turn that asks whether a list is a list of objects."""
    return VALIDATE.format(objects=quoted(", ".join(objects)))


def negcap_prompt(caption: str, absent_object: str, order: str) -> str:
    """The user turn that asks for a negated caption. `order`: affirmation_first or negation_first."""
    return NEGCAP[order].format(caption=quoted(caption.rstrip(". ")), object=quoted(absent_object))


def retrieval_template(caption: str, absent_object: str, order: str) -> str:
    """NegBench's templated retrieval caption."""
    text = caption.strip().rstrip(".").strip()
    return RETRIEVAL[order].format(caption=text[:1].upper() + text[1:], object=absent_object)


def rephrase_prompt(text: str) -> str:
    """The user turn that asks for other words."""
    return REPHRASE.format(text=quoted(text))


def texts() -> dict[str, object]:
    """Every prompt by name, for fingerprints."""
    return {
        "extract": (EXTRACT_SYSTEM, EXTRACT, EXTRACT_EXAMPLES),
        "propose": (PROPOSE_SYSTEM, PROPOSE, PROPOSE_EXAMPLES),
        "validate": (VALIDATE_SYSTEM, VALIDATE, VALIDATE_EXAMPLES),
        "negcap": (NEGCAP_SYSTEM, NEGCAP, NEGCAP_EXAMPLES),
        "retrieval": RETRIEVAL,
        "rephrase": (REPHRASE_SYSTEM, REPHRASE, REPHRASE_EXAMPLES),
    }
