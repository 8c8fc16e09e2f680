"""What a rewriting of a caption is made of: the caption's shape, the object's words, and marked candidate sentences."""

from dataclasses import dataclass
from typing import Literal

from negscale.language.attach import Shape
from negscale.language.noun_forms import ObjectWords

Form = Literal["no", "not", "without", "none", "lexical"]
"""Label of the negation cue: "nowhere to be seen" is ``none``; "lacks", "devoid of" and "absent" are ``lexical``."""
Position = Literal["early", "middle", "late"]
Attachment = Literal["verb_phrase", "prepositional_phrase", "clause"]

MARK = "\ue000"
"""Stands before the negation cue in a candidate's text."""

CARRIED = frozenset(
    {
        "umbrella",
        "handbag",
        "purse",
        "suitcase",
        "bag",
        "backpack",
        "briefcase",
        "surfboard",
        "snowboard",
        "skateboard",
        "basket",
        "ski",
    }
)
"""Objects one carries rather than holds."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One marked sentence without its closing punctuation."""

    text: str
    form: Form
    attachment: Attachment
    weight: float


@dataclass(frozen=True, slots=True)
class Job:
    """One caption and one object, with what all wordings share."""

    shape: Shape
    noun: str
    words: ObjectWords
    on_person: ObjectWords  # one hat for one man, hats for two
    several: ObjectWords  # plural where the noun allows it: what a place is without
    where: str
    nearby: str  # the same after "without", which does not go with "visible"
    photo: str
    lower: str  # the caption with its first letter lowered where that is right
    worn: bool
    held: bool
